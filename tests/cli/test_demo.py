"""`c3 demo`, and the difference of texts that it shows."""

import re
from pathlib import Path

import pytest

from c3 import ExpandedText, ExpandedWindow
from c3.cli import demo as demo_c3
from c3.cli.text_difference import COLOUR_MARKS, COLOUR_UNCERTAIN, mark_difference
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
    latents = model.compress(text, ratio=5, batch_size=200)
    expanded = model.expand(latents, batch_size=200, show_progress=False, return_scores=True)
    assert demo_c3._marked(text, expanded) in out and "<?unsure?>: tokens whose logit led" in out
    assert float(rows[1][5]) == pytest.approx(100 * precision(text, expanded.text), abs=0.006)


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


def test_uncertain_characters():
    """In what is right and in what is wrong; a mark for each part of a span that an edit cuts."""
    assert mark_difference("the cat", "the cat", uncertain=[(4, 7)]) == "the <?cat?>"
    assert mark_difference("the cat", "the cut!", uncertain=[(0, 1), (4, 8)]) == (
        "<?t?>he <?c?>[-a-]{+<?u?>+}<?t?>{+<?!?>+}"
    )
    assert mark_difference("abcd", "axyd", uncertain=[(2, 3)]) == "a[-bc-]{+x<?y?>+}d"
    start, end = COLOUR_UNCERTAIN
    assert mark_difference("cat", "cat", colour=True, uncertain=[(1, 3)]) == f"c{start}at{end}"
    for text in ("some text\n", "\x1b[2J\u202eabc é"):
        ids = [5] * len(text)
        spans = [(place, place + 1) for place in range(len(text))]
        margins = [9.0 - 8 * (place % 3 == 0) for place in range(len(text))]
        shown = demo_c3._marked(text, ExpandedText([ExpandedWindow(ids, margins, text, spans)]))
        assert shown == "".join(
            f"<?{printable_lines(each)}?>" if place % 3 == 0 else printable_lines(each)
            for place, each in enumerate(text)
        )
