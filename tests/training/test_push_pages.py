"""Pages for evaluation on a stand-in for the Hub. Run: pytest tests/training/test_push_pages.py"""

import pyarrow
import pyarrow.parquet
import pytest

from c3.cli.main import main

ROW = {"id": "en_1", "text": "A page.", "source": "a book", "license": "CC0", "lang": "en"}


@pytest.fixture
def folder(tmp_path):
    """Of two files of pages, and of a README.md that is not theirs."""
    for name in ("pages_en", "pages_zh"):
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist([ROW]), tmp_path / f"{name}.parquet")
    (tmp_path / "README.md").write_text("A note to myself.")
    return tmp_path


def test_files_and_card_are_pushed(client, folder, capsys):
    assert main(["publish", "--dataset", str(folder), "org/pages", "--dry-run"]) == 0
    card = capsys.readouterr().out.removesuffix("\n")
    assert card.startswith("---\n") and "# pages\n" in card and "datasets/org/pages" not in client.repositories
    assert main(["publish", "--dataset", str(folder), "org/pages", "--private"]) == 0
    repository = client.repositories["datasets/org/pages"]
    assert repository.private and repository.titles == ["initial commit", "Upload the pages"]
    assert capsys.readouterr().out.endswith(f"/datasets/org/pages/commit/{repository.branches['main']}\n")
    files = {name: blob.content for name, blob in repository.files().items() if name != ".gitattributes"}
    assert files.pop("README.md").decode() == card
    assert files == {path.name: path.read_bytes() for path in folder.glob("*.parquet")}
    assert (folder / "README.md").read_text() == "A note to myself."


def test_what_cannot_be_pushed(client, folder, capsys):
    pyarrow.parquet.write_table(
        pyarrow.Table.from_pylist([ROW | {"license": "all rights reserved"}]), folder / "pages_en.parquet"
    )
    (folder / "empty").mkdir()
    for arguments, code, said in (
        (
            ["--dataset", folder, "org/pages"],
            2,
            "pages_en.parquet: not known as licences that let anyone pass a text on",
        ),
        (["--dataset", folder / "empty", "org/never"], 2, "no .parquet files of pages"),
        (["--dataset", folder / "missing.parquet", "org/never"], 2, "no .parquet files of pages"),
        (["--dataset", folder / "pages_zh.parquet", "other/pages"], 1, "You don't have the rights to create a "),
        ([folder, "org/never", "--dry-run"], 2, "--dry-run is for --dataset"),
    ):
        assert main(["publish", *map(str, arguments)]) == code
        error = capsys.readouterr().err
        assert said in error and error.count("\n") == 1
    assert not [name for name in client.repositories if name.endswith("never")]
