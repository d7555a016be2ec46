"""The README's example runs as it stands and prints the text that it compressed."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.skipif(not (ROOT / "model.safetensors").is_file(), reason="the checkout has no weights")
def test_python_example(tmp_path):
    example = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)[1]
    assert len([line for line in example.splitlines() if line.strip()]) <= 10
    for entry in ROOT.iterdir():
        if not entry.name.startswith("."):
            (tmp_path / entry.name).symlink_to(entry)
    result = subprocess.run(
        [sys.executable, "-c", example],
        cwd=tmp_path,
        env=os.environ | {"HF_HUB_OFFLINE": "1"},
        capture_output=True,
        encoding="utf-8",
        timeout=300,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("C3Latents(texts=1")
    assert (tmp_path / "text.c3").is_file()
    from c3.eval.metrics import precision

    text = (ROOT / "examples/jefferson_1805.txt").read_text(encoding="utf-8")
    assert precision(text, result.stdout.split("\n", 1)[1].removesuffix("\n")) > 0.9


def test_says_where_things_are():
    said = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [each.name for each in ROOT.glob("*_c3.py") if f"`{each.name}`" not in said] == []
