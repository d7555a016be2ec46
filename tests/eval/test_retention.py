"""The suite retention with a tiny model: losses by hand, report, errors. Run: pytest tests/eval/test_retention.py"""

import math

import pytest
import torch

from c3 import C3Model
from c3.eval.suites import retention
from c3.eval.text_kinds import cut_tokens
from c3.training.data.tokenizer import train_tokenizer
from eval_files import PAGES, load, main, write_lines

OPTIONS = ["--ratios", "2", "4", "--lengths", "1", "2", "--continuation", "12", "--window", "16"]


@pytest.fixture
def arguments(checkpoint, tmp_path):
    rows = [{"id": f"p{i}", "source": "a book", "text": text * 3} for i, text in enumerate(PAGES)]
    data = write_lines(tmp_path / "pages.jsonl", [*rows, {"id": "short", "text": "one"}])
    return ["retention", "--model", str(checkpoint), "--data", str(data), "--device", "cpu", *OPTIONS]


@pytest.fixture
def result(arguments, tmp_path):
    main([*arguments, "--output", str(tmp_path / "out")])
    return load(tmp_path / "out" / "retention.json")


def losses(result, method, setting="4x", group="en, 2 windows"):
    rows = result["examples"]
    return {
        row["id"]: row["loss"]
        for row in rows
        if (row["method"], row["setting"], row["group"]) == (method, setting, group)
    }


def test_every_condition_scores_the_same_tokens(result):
    rows = result["examples"]
    assert len(rows) == result["n_examples"] == 4 * 2 * 2 * 3
    assert {row["method"] for row in rows} == {"raw prefix", "latents", "truncated prefix", "no prefix"}
    assert all(row["scored_tokens"] == 11 and math.isfinite(row["loss"]) for row in rows)
    for row in rows:
        wanted = {"raw prefix": row["own_tokens"], "no prefix": 0}.get(row["method"], row["latents"])
        assert row["vectors_before"] == wanted
        assert row["latents"] == row["own_tokens"] // int(row["setting"].removesuffix("x"))
    for line in result["left_out"]:
        assert "1 pages too short for a prefix of" in line and "(short)" in line
    # What does not depend on the ratio is the same at every ratio.
    for method in ("raw prefix", "no prefix"):
        assert losses(result, method, "2x") == losses(result, method, "4x")


def test_losses_by_hand(result, checkpoint):
    model = C3Model.from_pretrained(checkpoint)
    text = PAGES[1] * 3
    prefix = cut_tokens(model.processor.tokenizer, text, 32)
    ids, following = model.processor.encode(prefix), model.processor.encode(text[len(prefix) :])[:12]

    def after(tokens):
        labels = torch.tensor([[-100] * (len(tokens) + 1) + following[1:]])
        with torch.no_grad():
            return float(model.decoder(input_ids=torch.tensor([tokens + following]), labels=labels).loss)

    latents = model.compress(prefix, ratio=4, window=16)
    count = latents.num_latents
    for method, tokens in (("raw prefix", ids), ("truncated prefix", ids[-count:]), ("no prefix", [])):
        assert losses(result, method)["p1"] == pytest.approx(after(tokens), rel=1e-4), method
    batch = model.processor.decoder_inputs([model.processor.row(latents.spans[0], "", target=following)])
    assert batch["position_ids"][0, -12:].tolist() == list(range(count, count + 12))
    batch["labels"][0, -12] = -100
    with torch.no_grad():
        wanted = float(model(**batch, latents=latents.values).loss)
    assert losses(result, "latents")["p1"] == pytest.approx(wanted, rel=1e-4)
    # A check of the check: what is read before a continuation matters.
    assert len({round(losses(result, method)["p1"], 4) for method in ("raw prefix", "latents", "no prefix")}) == 3


def test_the_same_again_whatever_the_batch(result, arguments, tmp_path):
    before = (tmp_path / "out" / "retention.json").read_bytes()
    main([*arguments, "--output", str(tmp_path / "out")])  # nothing is left to do
    assert (tmp_path / "out" / "retention.json").read_bytes() == before
    main([*arguments, "--batch-size", "1", "--output", str(tmp_path / "one")])
    again = load(tmp_path / "one" / "retention.json")
    for ours, theirs in zip(result["examples"], again["examples"], strict=True):
        assert ours["id"] == theirs["id"] and ours["loss"] == pytest.approx(theirs["loss"], rel=1e-4)


def test_the_base_of_a_decoder_that_did_not_change(arguments, checkpoint, tmp_path, capsys):
    model = C3Model.from_pretrained(checkpoint)
    model.decoder.save_pretrained(tmp_path / "base")
    model.processor.tokenizer.save_pretrained(tmp_path / "base")
    main([*arguments, "--base-decoder", str(tmp_path / "base"), "--output", str(tmp_path / "out")])
    result = load(tmp_path / "out" / "retention.json")
    assert losses(result, "base decoder, raw prefix") == losses(result, "raw prefix")
    assert losses(result, "base decoder, no prefix") == losses(result, "no prefix")
    assert result["base_decoder"]["fingerprint"]
    out = capsys.readouterr().out
    assert "not measured" not in out and "base decoder, no prefix" in out
    # Another base is another run.
    with pytest.raises((OSError, ValueError), match=r"another run \(.*base_decoder.* differ\)"):
        main([*arguments, "--output", str(tmp_path / "out")])


def test_a_base_with_other_tokens(arguments, checkpoint, tmp_path):
    C3Model.from_pretrained(checkpoint).decoder.save_pretrained(tmp_path / "base")
    train_tokenizer(["other words altogether"] * 4, vocab_size=270).save_pretrained(tmp_path / "base")
    with pytest.raises((OSError, ValueError), match="makes other tokens of page 'p0' than the model's decoder"):
        main([*arguments, "--base-decoder", str(tmp_path / "base")])


def test_report_and_figure(result, tmp_path):
    report = (tmp_path / "out" / "retention.md").read_text(encoding="utf-8")
    assert "**Before training: not measured**" in report and "teacher-forced" in report and "Precision" not in report
    assert "### en, 1 window\n" in report and "### en, 2 windows\n" in report
    row = [row for row in result["examples"] if row["group"] == "en, 1 window" and row["setting"] == "2x"]
    raw = [each["loss"] for each in row if each["method"] == "raw prefix"]
    assert f"{math.exp(sum(raw) / 3):.1f} [" in report or f"{math.exp(sum(raw) / 3):.3g} [" in report
    assert (tmp_path / "out" / "retention.png").stat().st_size > 5000
    assert b"<svg" in (tmp_path / "out" / "retention.svg").read_bytes()


def rows_of(**losses_by_method):
    """Two texts each, at one ratio."""
    return [
        {"method": method.replace("_", " "), "setting": "4x", "group": "en", "id": str(number), "loss": loss + number}
        for method, loss in losses_by_method.items()
        for number in range(2)
    ]


def test_perplexity_and_gain_by_hand():
    rows = rows_of(latents=1.0, no_prefix=3.0)
    latents, nothing = rows[:2], rows[2:]
    assert retention.perplexity(latents)[0] == pytest.approx(math.exp(1.5))
    assert retention.gain(latents, nothing) == pytest.approx((2, 2, 2))


def test_what_is_bad_is_said():
    good = rows_of(raw_prefix=1.0, latents=2.0, truncated_prefix=2.0, no_prefix=3.0)
    assert retention._remarks(good, vocabulary=1000) == []
    bad = rows_of(raw_prefix=1.0, latents=9.0, truncated_prefix=2.0, no_prefix=3.0)
    (said,) = retention._remarks(bad, vocabulary=1000)
    assert "**After latents worse than a uniform guess** at 4x" in said
    assert "**After latents worse than after nothing** at 4x" in said and "After raw prefix" not in said
    assert "trained for reconstruction alone" in said


@pytest.mark.parametrize(
    "options, message",
    [
        (["--continuation", "1"], "--continuation must be 2 or more"),
        (["--lengths", "900"], "no page is long enough: 4 pages too short for a prefix of 900 windows"),
    ],
)
def test_errors(options, message, arguments):
    with pytest.raises((OSError, ValueError), match=message):
        main([*arguments, *options])


def test_has_methods_of_its_own(arguments, capsys):
    with pytest.raises(SystemExit):
        main([*arguments, "--methods", "c3"])
    assert "unrecognized arguments: --methods c3" in capsys.readouterr().err
