"""
The card of a dataset repository that holds pages for evaluation: README.md, written from the files themselves.

    print(page_set_card(["pages_en.parquet", "pages_zh.parquet"], "owner/name"))
"""

import hashlib
from pathlib import Path

from huggingface_hub import DatasetCardData

from .page_files import read_parquet
from .page_licenses import LICENSES, PUBLIC_DOMAIN, check_licenses
from .page_sources import find_source
from .report import markdown_table

NEEDED = ("id", "text", "source", "license", "lang")
COLUMNS = {
    "id": "its name, by which result files name it",
    "text": "the page, without mark-up",
    "tokens": "its tokens of Qwen2.5's tokenizer",
    "source": "the work, and where in it",
    "license": "under which that may be passed on",
    "lang": "of the text, ISO 639",
}
SIZES = {1_000: "n<1K", 10_000: "1K<n<10K", 100_000: "10K<n<100K"}
# What is known of the pages that this package is measured on, by the SHA-256 of their files.
KNOWN = {
    "06b685609b7f5309000347ac7d50ce531813f4dd41a4695bad04454058913ea0": (
        "pieces of 600 to 1300 tokens, without mark-up, of documents that the default checkpoint of C3 was not trained "
        "on: no 13 words in a row of them occur in its training text. It saw other texts of two publishers, OpenStax "
        "and 18F."
    ),
    "8460858fb5a17c44289d6e5918b6207b8f2b86cab61f9b6634412fd39ada66f6": (
        "pieces of 600 to 1300 tokens, without mark-up. The files of which the default checkpoint of C3 was trained on "
        "a part hold other laws from the collection of these regulations; of six pages 0.2 to 1.5 % of the stretches "
        "of 30 characters stand in them too, of the others none."
    ),
}


def page_set_card(paths, repo_id):
    """
    Counts, licences and credits are those of the rows.

    Args:
        paths (`list[Path]`): .parquet files with columns `id`, `text`, `source`, `license` and `lang`; each is a
            configuration of the dataset, named as the file.
        repo_id (`str`): owner/name of the dataset repository.

    Returns: `str`, the whole README.md.

    Raises: `OSError`, `ValueError` saying in one line what is wrong, such as pages that may not be passed on.
    """
    files = {Path(path).name: _read(Path(path)) for path in paths}
    rows = [row for each in files.values() for row in each]
    first = min(files)
    sections = [
        f"---\n{_metadata(files, repo_id).to_yaml()}\n---",
        f"# {repo_id.split('/')[-1]}",
        f"{len(rows)} pages of text, to measure what comes back from compressed contexts as "
        "[C3](https://arxiv.org/abs/2511.15244) makes them: a page becomes a few latent vectors, and these a page. "
        "They are **not the Fox benchmark**, which is for research only, and results on them are not results on Fox. "
        "**Measure with them; do not train on them.** They are few: intervals belong to every mean, and a language, a "
        "subject or a kind of text that is not among the sources is not measured.",
        "## Pages",
        markdown_table(
            ["file", "pages", "language", "characters", "tokens", "SHA-256"], map(_file_row, files.items(), paths)
        ),
        markdown_table(["column", "what it holds"], [[f"`{name}`", COLUMNS.get(name, "")] for name in rows[0]]),
        "## Sources, licences and credits",
        "Every page stays under its own licence, which its column `license` names, and is the work of whom this names, "
        "as far as that is known here. **Changes were made to all:** pages are pieces that were cut out of longer "
        "texts, without mark-up.",
        _sources(rows),
        "## How they were chosen, and overlap with training text",
        "\n".join(
            f"* `{name}`: {KNOWN.get(_sha256(path), 'not known.')}" for name, path in zip(files, paths, strict=True)
        ),
        "## Use",
        f"""```python
from datasets import load_dataset

pages = load_dataset("{repo_id}", "{Path(first).stem}", split="test")  # revision="<commit>" for the same pages tomorrow
```

```bash
hf download --repo-type dataset {repo_id} {first} --local-dir .
c3 eval pages --data {first} --count-with Qwen/Qwen2.5-1.5B --ratios 4 8 16 20 40 --output results
```""",
        "## Citation",
        "Credit the sources above. The method that the pages measure:",
        """```bibtex
@article{liu2025context,
  title={Context Cascade Compression: Exploring the Upper Limits of Text Compression},
  author={Liu, Fanfan and Qiu, Haibo},
  journal={arXiv preprint arXiv:2511.15244},
  year={2025}
}
```""",
    ]
    return "\n\n".join(sections) + "\n"


def _read(path):
    """The rows of a file, `list[dict]`, all of which may be passed on."""
    rows = read_parquet(path)
    if missing := [name for name in NEEDED if not rows or name not in rows[0]]:
        raise ValueError(
            f"{path} lacks what a card is written from: {'columns ' + ', '.join(missing) if rows else 'rows'}"
        )
    check_licenses(rows, path.name)
    return rows


def _metadata(files, repo_id):
    rows = [row for each in files.values() for row in each]
    licenses = sorted({each for row in rows for each in LICENSES[row["license"]].identifiers})
    return DatasetCardData(
        pretty_name=repo_id.split("/")[-1],
        language=_languages(rows),
        license=licenses,
        license_name="public-domain" if PUBLIC_DOMAIN in licenses else None,
        annotations_creators=["no-annotation"],
        language_creators=["found"],
        size_categories=[next((size for most, size in SIZES.items() if len(rows) < most), "n>100K")],
        task_categories=["text-generation"],
        tags=["context-compression", "text-reconstruction", "c3"],
        configs=[{"config_name": Path(name).stem, "data_files": [{"split": "test", "path": name}]} for name in files],
    )


def _file_row(file, path):
    name, rows = file
    tokens = [row["tokens"] for row in rows if row.get("tokens")]
    return [
        f"`{name}`",
        len(rows),
        ", ".join(_languages(rows)),
        f"{sum(len(row['text']) for row in rows):,}",
        f"{min(tokens)}-{max(tokens)} a page" if tokens else "not counted",
        f"`{_sha256(path)}`",
    ]


def _sources(rows):
    """A table of sources by licence, most pages first."""
    groups = {}
    for row in rows:
        source, page = find_source(row["source"])
        groups.setdefault((source, row["license"]), []).append(page)
    table = [
        [
            source.name,
            len(pages),
            LICENSES[license].terms,
            "; ".join([source.credit, *sorted({each for each in pages if each})]),
        ]
        for (source, license), pages in sorted(groups.items(), key=lambda group: -len(group[1]))
    ]
    return markdown_table(
        ["source", "pages", "licence", "credit"], [[str(cell).replace("|", "\\|") for cell in line] for line in table]
    )


def _languages(rows):
    return sorted({row["lang"] for row in rows if row["lang"]})


def _sha256(path):
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()
