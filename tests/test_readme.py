"""The README's example and tree, and the links of all texts, are right. Run: pytest tests/test_readme.py"""

import os
import re
from pathlib import Path

import pytest

from fresh_processes import run_fresh
from module_graph import find_files

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.skipif(not (ROOT / "model.safetensors").is_file(), reason="the checkout has no weights")
def test_python_example(tmp_path):
    example = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)[1]
    assert len([line for line in example.splitlines() if line.strip()]) <= 10
    # From another folder: the example needs no checkout.
    result = run_fresh(example, variables=os.environ | {"HF_HUB_OFFLINE": "1"}, folder=tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("C3Latents(texts=1")
    assert (tmp_path / "text.c3").is_file()
    from c3.eval.metrics import precision

    text = (ROOT / "examples/jefferson_1805.txt").read_text(encoding="utf-8")
    assert precision(text, result.stdout.split("\n", 1)[1].removesuffix("\n")) > 0.9


def find_tree():
    """The paths of the README's tree, `set[str]`: a line is a name and what is there, inner ones are indented."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    tree = re.search(r"## Where things are\n.*?```text\n(.*?)```", text, re.DOTALL)[1]
    paths, folders = set(), []
    for line in tree.splitlines():
        indent, name, said = re.fullmatch(r"((?:  )*)(\S+) +(\S.*)", line).groups()
        del folders[len(indent) // 2 :]
        assert len(folders) == len(indent) // 2 and said, line
        paths.add("".join(folders) + name)
        if name.endswith("/"):
            folders.append(name)
    return paths


def test_says_where_things_are():
    """All that the tree names is there, and it names every module of the root and every package."""
    tree = find_tree()
    assert [path for path in tree if not (ROOT / path).exists() or path.endswith("/") != (ROOT / path).is_dir()] == []
    packages = {f"{file.parent.as_posix()}/" for file in find_files(ROOT) if file.name == "__init__.py"} - {"./"}
    assert ({path.name for path in ROOT.glob("*_c3.py")} | packages) - tree == set()


CARDS = ["README.md", "model_card.md", "CHANGELOG.md", "examples/README.md"]
TEXTS = [*CARDS, *(f"docs/{each.name}" for each in ROOT.glob("docs/*.md"))]


def find_anchors(text):
    """What `#…` in a link to a Markdown text can be, as GitHub makes it of the headings."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", sorted(TEXTS))
def test_links_point_to_what_is_there(name):
    """A relative link's file, and its heading if it names one."""
    text = (ROOT / name).read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!\w+:)([^)\s]+)\)", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE))
    for path, _, heading in (link.partition("#") for link in links):
        file = (ROOT / name).parent / path if path else ROOT / name
        assert file.exists(), path
        assert not heading or heading in find_anchors(file.read_text(encoding="utf-8")), f"{path}#{heading}"
