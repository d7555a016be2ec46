"""`c3 demo`, and the difference of texts that it shows."""

import re
from pathlib import Path

import pytest

from c3.cli import demo as demo_c3
from c3.cli.text_difference import COLOUR_MARKS, mark_difference
from c3.eval.metrics import precision
from c3.quoting_c3 import printable_lines


def test_demo_of_the_example(run, model, checkpoint):
    code, out, _ = run("demo", "--model", checkpoint, "--batch-size", "200", "--ratio", "5", "--count-with", checkpoint)
    assert code == 0
    rows = re.findall(r"^ *([\d.]+)x +([\d.]+)x +1, (\d+), (\d+) x 32 +(\d+) +([\d.]+)% +[\d.]+ +[\d.]+$", out, re.M)
    text = demo_c3.EXAMPLE.read_bytes().decode()
    assert len(text) > 2500 and f"{len(text)} characters" in out
    assert [round(float(row[0])) for row in rows] == [4, 5, 8, 16]
    for own, other, _, latents, size, _ in rows:
        assert own == other and int(size) == int(latents) * 32 * 2
    read_back = model.expand(model.compress(text, ratio=5, batch_size=200), batch_size=200, show_progress=False)
    assert mark_difference(text, printable_lines(read_back)) in out
    assert float(rows[1][5]) == pytest.approx(100 * precision(text, read_back), abs=0.006)


def test_demo_without_examples(run, checkpoint, texts, monkeypatch):
    monkeypatch.setattr(demo_c3, "EXAMPLE", Path("missing.txt"))
    code, _, err = run("demo", "--model", checkpoint)
    assert code == 2 and "give a text, as in c3 demo FILE" in err
    code, out, _ = run("demo", texts[1], "--model", checkpoint)
    assert code == 0 and "other tokens" not in out and "[-lost-]{+added+}" in out
    code, _, err = run("demo", texts[1], "--model", checkpoint, "--count-with", "nowhere/")
    assert code == 2 and "cannot load a tokenizer: there is no folder nowhere/" in err


def test_difference():
    assert mark_difference("same", "same") == "same"
    assert mark_difference("the cat sat", "the cut sat!") == "the c[-a-]{+u+}t sat{+!+}"
    assert mark_difference("abc", "") == "[-abc-]" and mark_difference("", "abc") == "{+abc+}"
    lost_start, lost_end, added_start, added_end = COLOUR_MARKS
    coloured = mark_difference("cat", "cut", colour=True)
    assert coloured == f"c{lost_start}a{lost_end}{added_start}u{added_end}t"
