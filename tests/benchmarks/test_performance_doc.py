"""docs/performance.md says what the committed measurements say. Run: pytest tests/benchmarks"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from c3.benchmarks.report import draw, find_markers, render
from figure_files import drawn

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def result():
    return json.loads((ROOT / "benchmarks" / "results" / "mini_cpu" / "results.json").read_text(encoding="utf-8"))


def test_the_table_is_the_committed_result(result):
    """If this fails: c3 bench --output benchmarks/results/mini_cpu --write-into docs/performance.md"""
    _, section, _ = find_markers(ROOT / "docs" / "performance.md")
    assert section.strip() == render(result).strip()


def test_what_serving_says_of_load_is_the_committed_result():
    """If this fails: the last command of docs/serving.md."""
    _, section, _ = find_markers(ROOT / "docs" / "serving.md")
    path = ROOT / "benchmarks" / "results" / "serve_load" / "results.json"
    if path.is_file():
        assert section.strip() == render(json.loads(path.read_text(encoding="utf-8"))).strip()
    else:  # what was measured before results were kept, in words
        assert "|" not in section and "tokens a second" in section


def test_the_readme_says_the_committed_result(result):
    def measured(benchmark, case):
        rows = result["benchmarks"][benchmark]["rows"]
        return f"{next(row['value'] for row in rows if row['case'].startswith(case)):.2g}"

    said = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    first = [measured("first-token", f"{length} tokens") for length in (1024, 4096, 16384)]
    for figure in (
        f"at {measured('compress-text', '50 kB')} times the speed of the encoder's bare forward pass",
        f"64 windows at {measured('expand-windows', '64 windows')} times",
        f"one window back at {measured('expand-parallel', '1 window at 4x')} times",
        f"(4x) and {measured('expand-parallel', '1 window at 8x')} times (8x)",
        f"comes {first[0]}, {first[1]} and {first[2]} times sooner",
    ):
        assert figure in said
    (words,) = re.findall(r"!\[([^]]+)\]\(benchmarks/results/mini_cpu/first-token.svg\)", said)
    rows = [row for row in result["benchmarks"]["first-token"]["rows"] if "predicted" in row]
    shortest, longest = (float(f"{row['baseline']['median']:.2g}") for row in (rows[0], rows[-1]))
    assert f"from raw text it grows from {shortest:g} to {longest:g} seconds" in words
    assert 0.2 < rows[-1]["ours"]["median"] < 0.3 and words.endswith("from latents at 16x to a quarter of a second")


@pytest.mark.parametrize("name", ["mini_cpu", pytest.param("mini_cuda", marks=pytest.mark.slow)])
def test_the_figures_show_the_committed_result(name, tmp_path):
    """If this fails: c3 bench --output benchmarks/results/NAME, or `draw` of benchmarks/report.py for figures alone."""
    folder = ROOT / "benchmarks" / "results" / name
    draw(json.loads((folder / "results.json").read_text(encoding="utf-8")), tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert "first-token.svg" in names and names == {each.name for each in folder.iterdir() if each.stem != "results"}
    for figure in tmp_path.glob("*.svg"):
        assert drawn(figure) == drawn(folder / figure.name), figure.name


PAGE_FAULTS = """
import resource, torch
torch.set_num_threads(1)
def additions():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        torch.ones(4096, 2048) + 1
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
additions()
# The least of three: a busy machine's kernel may take pages back meanwhile.
print(min(additions() for _ in range(3)))
"""


@pytest.mark.skipif(sys.platform != "linux" or not os.confstr("CS_GNU_LIBC_VERSION"), reason="needs glibc")
def test_the_allocators_environment_variables():
    """As they are in the document: large tensors, once made, take no page that the kernel has to zero."""
    said = re.search(r"^export (MALLOC_.*)$", (ROOT / "docs" / "performance.md").read_text(encoding="utf-8"), re.M)
    variables = dict(each.split("=") for each in said[1].split())
    plain = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    faults = [
        int(subprocess.run([sys.executable, "-c", PAGE_FAULTS], env=env, capture_output=True, check=True).stdout)
        for env in (plain, plain | variables)
    ]
    assert faults[0] > 10_000 and faults[1] < 100
