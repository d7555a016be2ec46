"""The suite forgetting with a tiny model. Run: pytest tests/eval/test_forgetting.py"""

from types import SimpleNamespace

import pytest

from c3 import C3Processor
from c3.eval.page_data import Page
from c3.eval.suites import forgetting
from c3.training.data.tokenizer import train_tokenizer
from eval_files import PAGES, load, main


def test_forgetting(arguments, tmp_path, capsys):
    options = ["--ratios", "2", "4", "--lengths", "1", "4", "--samples", "2", "--window", "16"]
    main(["forgetting", *arguments, *options, "--output", str(tmp_path)])
    rows = load(tmp_path / "forgetting.json")["examples"]
    assert [(row["setting"], row["group"]) for row in rows[::2]] == [
        ("2x", "en, 1 window"),
        ("4x", "en, 1 window"),
        ("2x", "en, 4 windows"),
        ("4x", "en, 4 windows"),
    ]
    for row in rows:
        assert row["min_windows"] == int(row["group"].split()[1])
        assert len(row["accuracy_by_position"]) == 20
    out = capsys.readouterr().out
    assert "| c3 | en, 4 windows | 2x | 2 |" in out
    assert (tmp_path / "forgetting.png").is_file() and (tmp_path / "forgetting.svg").is_file()
    with pytest.raises((OSError, ValueError), match="the pages hold no text of 900 windows"):
        main(["forgetting", *arguments, "--lengths", "900"])


def test_forgetting_sees_where_truncation_ends(arguments, tmp_path):
    options = ["--methods", "truncation", "--ratios", "2", "--lengths", "8", "--samples", "1", "--window", "8"]
    main(["forgetting", *arguments, *options, "--output", str(tmp_path)])
    (row,) = load(tmp_path / "forgetting.json")["examples"]
    accuracy = row["accuracy_by_position"]
    assert accuracy[:8] == [1] * 8 and accuracy[-7:] == [0] * 7


def test_texts_are_windows_long_in_the_decoders_tokens(make_model, tokenizer):
    """Whatever the encoder reads: windows count these."""
    model = make_model()
    longer = train_tokenizer([PAGES[0] * 9] * 9, vocab_size=500)
    model.processor = C3Processor.from_config(model.config, tokenizer, longer)
    page = Page("p", "a book", PAGES[0] * 9)
    assert len(model.processor.encode_context(page.text)) < 0.8 * len(model.processor.encode(page.text))
    args = SimpleNamespace(ratios=[4.0], lengths=[1, 2], samples=1)
    examples, left_out = forgetting.prepare(args, [page], model, None, 16)
    assert [each.page.own_tokens for each in examples] == [16, 32] and not left_out
