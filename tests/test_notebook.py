"""The notebook of the examples runs and shows what it stores. Run: pytest tests/test_notebook.py [-m slow]"""

import re
from pathlib import Path

import pytest

from c3 import DEFAULT_CHECKPOINT
from notebook_runs import PATH, code_cells, printed, read_notebook, run_notebook

NUMBER = re.compile(r"\d+(?:\.\d+)?")
# Latents name their model after its folder, which for the default one is the checkout's: `c3` in what is stored.
CHECKOUT = Path(DEFAULT_CHECKPOINT).resolve().name


def test_stored_outputs_are_whole_and_of_no_machine():
    """If this fails: python tests/notebook_runs.py"""
    pytest.importorskip("nbformat")
    notebook = read_notebook()
    cells = code_cells(notebook)
    assert len(cells) > 10 and [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    assert [cell["source"] for cell in cells if not printed(cell)] == []
    kinds = {(output["output_type"], output.get("name")) for cell in cells for output in cell["outputs"]}
    assert kinds == {("stream", "stdout")}
    assert not re.search(r"/(?:home|Users|root|tmp|work|usr)/|\\\\Users", PATH.read_text(encoding="utf-8"))


@pytest.mark.slow
@pytest.mark.skipif(not Path(DEFAULT_CHECKPOINT, "model.safetensors").is_file(), reason="the checkout has no weights")
def test_it_runs_from_any_folder_and_says_the_same(tmp_path):
    """What rounding may change is in cells with the tag `varies`. If this fails: python tests/notebook_runs.py"""
    pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    before, after = code_cells(read_notebook()), code_cells(run_notebook(tmp_path))
    varying = [cell for cell in before if "varies" in cell["metadata"].get("tags", [])]
    assert 0 < len(varying) < len(before) / 2
    for old, new in zip(before, after, strict=True):
        assert printed(new), new["source"]
        if old not in varying:
            said = [printed(old), printed(new).replace(f"'{CHECKOUT}'", "'c3'")]
            assert NUMBER.sub("0", said[1]) == NUMBER.sub("0", said[0])
            numbers = ([float(each) for each in NUMBER.findall(each)] for each in said)
            assert next(numbers) == pytest.approx(next(numbers), rel=0.02)
    assert list(tmp_path.iterdir()) == []
