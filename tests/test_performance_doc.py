"""docs/performance.md says what the committed measurements say. Run: pytest tests/test_performance_doc.py"""

import json
from pathlib import Path

from c3.benchmarks.report import find_markers, render

ROOT = Path(__file__).resolve().parents[1]


def test_the_table_is_the_committed_result():
    """If this fails: c3 bench --output benchmarks/results/mini_cpu --write-into docs/performance.md"""
    _, section, _ = find_markers(ROOT / "docs" / "performance.md")
    result = json.loads((ROOT / "benchmarks" / "results" / "mini_cpu" / "results.json").read_text(encoding="utf-8"))
    assert section.strip() == render(result).strip()
