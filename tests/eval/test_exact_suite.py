"""The suites exact, search and adaptive: what they measure of a tiny model, and tables of numbers known by hand."""

import numpy as np
import pytest

from c3.eval.suites import adaptive, exact, search
from c3.eval.uncertainty import area_under_curve
from eval_files import load, main


@pytest.fixture
def measured(arguments, tmp_path):
    """Runs a suite and gives its result."""

    def run(suite, *options):
        main([suite, *arguments, *options, "--output", str(tmp_path / "out")])
        assert (tmp_path / "out" / f"{suite}.md").read_text().startswith("## ")
        return load(tmp_path / "out" / f"{suite}.json")

    return run


def cells(table, row=0):
    return [cell.strip() for cell in table.splitlines()[2 + row].strip("| ").split("|")]


def test_exact_texts_of_a_model_that_knows_nothing(measured):
    result = measured("exact", "--ratios", "2", "4")
    assert len(result["examples"]) == result["n_examples"] == 6
    for row in result["examples"]:
        assert row["exact"] and row["num_windows"] == len(row["windows"]) == row["windows_as_ids"]
        assert row["stored_tokens"] == row["own_tokens"] and row["fidelity"] == 0 and row["correction_bytes"] > 0
        assert set(row["seconds"]) == {"compress", "compress_exact", "expand", "expand_exact"}


def exact_row(fidelity, precision, windows, stored):
    return {
        "setting": "8x",
        "own_ratio": 10.0,
        "own_tokens": 500,
        "exact": True,
        "stored_tokens": stored,
        "correction_bytes": 20,
        "latent_bytes": 1000,
        "windows_as_ids": 1,
        "num_windows": len(windows),
        "fidelity": fidelity,
        "free_precision": precision,
        "windows": windows,
        "seconds": {"compress": 1.0, "compress_exact": 2.0, "expand": 4.0, "expand_exact": 3.0},
    }


def test_tables_of_exactness():
    rows = [
        exact_row(1.0, 1.0, [[1, True], [1, True]], 0),
        exact_row(0.9, 0.8, [[1, True], [0.8, False]], 3),
        exact_row(0.8, 0.6, [[0.6, False], [0.9, True]], 6),
    ]
    assert cells(exact.cost_table(rows)) == ["8x", "10.0", "3", "100.0%", "6.0", "20", "2.00%", "50.0%", "80.00%"]
    assert cells(exact.time_table(rows)) == ["8x", "1.00", "2.00", "2.00", "4.00", "3.00", "0.75"]
    assert cells(exact.fidelity_table(rows)) == ["8x", "90.00%", "80.00%", "1.00", "3", "100.0%", "3", "33.3%"]
    rows[0]["exact"] = False
    assert cells(exact.cost_table(rows))[3] == "66.7%"


def test_ways_to_read_latents(measured):
    result = measured("search", "--ratios", "4", "--beams", "2", "--limit", "1")
    assert [row["method"] for row in result["examples"]] == [search.GREEDY, search.BEAMS, search.SEARCH]
    for row in result["examples"]:
        assert row["windows"] and all(right is False for right, *_ in row["windows"])
        verdicts = {comes_back for _, comes_back, _ in row["windows"]}
        assert verdicts == ({None} if row["method"] == search.BEAMS else {False})
    greedy, _, found = result["examples"]
    assert all(after[2] <= before[2] for before, after in zip(greedy["windows"], found["windows"], strict=True))
    assert sum(sum(each.values()) for each in greedy["margins"]) == len(greedy["output"]) and found["margins"] is None


def test_tables_of_the_search():
    windows = [[True, True, 0.001], [True, False, 0.03], [False, False, 0.2], [False, True, 0.01]]
    row = {
        "method": search.GREEDY,
        "setting": "20x",
        "counted_ratio": 20.4,
        "scores": {"precision": 0.9, "exact_match": 0.0},
        "windows": windows,
        "seconds": 2.0,
    }
    margins, is_wrong = np.array([0.01, 0.3, 2.0, 2.01, 99.0, np.inf]), np.array([1, 0, 1, 0, 0, 0], dtype=bool)
    rows = [row | {"margins": search.count_margins(margins, is_wrong)}]
    published = "98.4% at 19.7x"
    assert cells(search.method_table(rows))[2:] == [
        "greedy",
        "90.0% [90.0%, 90.0%]",
        "0.0%",
        "50.0%",
        "2.0",
        published,
    ]
    rows += [row | {"method": search.BEAMS}, row | {"method": search.SEARCH, "windows": windows[:1]}]
    checked = [cells(search.check_table(rows), line) for line in range(4)]
    assert checked[0] == ["20x", "greedy", "4", "2", "1", "1", "0.0300", "0.0100"]
    assert checked[3] == ["all", "search", "1", "1", "0", "0", "0.0010"]
    assert [each[1:] for each in checked[:2]] == [each[1:] for each in checked[2:]]
    area = area_under_curve(-np.array([0, 6, 40, 40, 400, 400]), is_wrong)
    assert cells(search.margin_table(rows)) == ["20x", "6", "2", f"{area:.3f}"]


def test_an_adaptive_ratio(measured):
    options = ("--kinds", "code", "UUIDs", "--samples", "2", "--length", "80", "--ratio", "6", "--fidelities", "0.5")
    result = measured("adaptive", *options)
    assert len(result["examples"]) == 2 * 2 * 2
    steps = adaptive.fixed_steps(result, "code")
    ratios = [step["ratio"] for step in steps]
    assert ratios == sorted(ratios, reverse=True) and len(ratios) == len(adaptive.ratios_below(6))
    rows = [cells(adaptive.adaptive_table(result), row) for row in (0, 1)]
    assert [row[:2] for row in rows] == [["code", "0.5"], ["UUIDs", "0.5"]]


def test_one_ratio_of_equal_fidelity():
    steps = [{"ratio": 40, "fidelity": 0.5}, {"ratio": 30, "fidelity": 0.7}, {"ratio": 20, "fidelity": 0.9}]
    assert adaptive.highest_ratio(steps, "fidelity", 0.8) == pytest.approx(25)
    assert adaptive.highest_ratio(steps, "fidelity", 0.4) == 40
    # What no ratio reaches is not left to be read as the lowest.
    assert adaptive.highest_ratio(steps, "fidelity", 0.95) is None
    texts = [{"latents": n, "num_windows": n, "fidelity": n / 4, "holding": {"0.9": 1}} for n in (1, 3)]
    assert adaptive.together(texts, [30, 10]) == {"ratio": 10, "fidelity": 0.375, "0.9": 0.5}
