"""Pushes pages for evaluation to a dataset repository of the Hub, with the card that is written from them."""

from huggingface_hub import CommitOperationAdd, HfApi

from c3.eval.page_set_card import page_set_card

from .push import check_can_publish, explained

MESSAGE = "Upload the pages"


def publish_pages(pages, settings, dry_run=False):
    """
    Pushes files of pages and their card, README.md, in one commit. Nothing is created before the card is written.

    Args:
        pages (`Path`): a .parquet file, or a folder of such; other files in it stay where they are.
        settings ([`HubSettings`]): where to.
        dry_run (`bool`): only write the card.

    Returns: `str`, the commit's address; the card with `dry_run`.

    Raises:
        OSError, ValueError: no files, or pages that `page_set_card` refuses.
        PublishError: the push would fail, or failed.
    """
    files = sorted(pages.glob("*.parquet")) if pages.is_dir() else [pages]
    if not files or not files[0].is_file():
        raise FileNotFoundError(f"no .parquet files of pages: {pages}")
    card = page_set_card(files, settings.repo_id)
    if dry_run:
        return card
    check_can_publish(settings, repo_type="dataset")
    api = HfApi()
    with explained(f"hub: the push to {settings.repo_id} failed", api.endpoint):
        commit = api.create_commit(
            settings.repo_id,
            [CommitOperationAdd("README.md", card.encode()), *(CommitOperationAdd(each.name, each) for each in files)],
            repo_type="dataset",
            revision=settings.revision,
            commit_message=settings.commit_message,
        )
    return commit.commit_url
