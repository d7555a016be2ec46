"""The suite of global compression with a tiny model. Run: pytest tests/eval/test_global_compression.py"""

import math

import pytest
import torch

from c3 import C3Model
from c3.chunked_rows_c3 import Chunking
from c3.decoder_rows_c3 import LatentSpan, TextSegment
from c3.eval.suites import global_compression as suite
from c3.eval.text_kinds import cut_tokens
from eval_files import PAGES, load, main, write_lines
from image_models import model_of

CHUNK, LENGTH = 8, 40
OPTIONS = ["--ratios", "2", "4", "--window", str(CHUNK), "--chunks", "5", "--generated", "100"]


@pytest.fixture
def arguments(checkpoint, tmp_path):
    rows = [{"id": f"p{i}", "source": "a book", "text": text * 3} for i, text in enumerate(PAGES)]
    data = write_lines(tmp_path / "pages.jsonl", [*rows, {"id": "short", "text": "one"}])
    return ["global", "--model", str(checkpoint), "--data", str(data), "--device", "cpu", *OPTIONS]


@pytest.fixture
def result(arguments, tmp_path):
    main([*arguments, "--output", str(tmp_path / "out")])
    return load(tmp_path / "out" / "global.json")


def losses(result, method, setting="4x"):
    rows = result["examples"]
    return {row["id"]: row["losses"] for row in rows if (row["method"], row["setting"]) == (method, setting)}


def test_losses_by_hand(result, checkpoint):
    """Each chunk by itself, after exactly what the condition says."""
    model = C3Model.from_pretrained(checkpoint)
    ids = model.processor.encode(cut_tokens(model.processor.tokenizer, PAGES[1] * 3, LENGTH))[:LENGTH]
    chunks = [ids[start : start + CHUNK] for start in range(0, LENGTH, CHUNK)]
    chunking, found = Chunking(model.processor, CHUNK, 4), {method: losses(result, method)["p1"] for method in METHODS}
    assert chunking.num_latents == 2 and all(len(each) == len(chunks) == 5 for each in found.values())

    @torch.no_grad()
    def after(before, chunk, latents=None):
        batch = model.processor.decoder_inputs([[*before, TextSegment(chunk, [-100, *chunk[1:]], chunk=99)]])
        return float(model(**batch, latents=latents).loss)

    for number, chunk in enumerate(chunks):
        start = number * CHUNK
        held = 2 * number
        expected = {
            "full text": after([TextSegment(ids[:start])], chunk),
            "current chunk": after([], chunk),
            "sliding window": after([TextSegment(ids[start - held : start])], chunk),
        }
        before, values = [], chunking.encode(model, [chunking.plan(each) for each in chunks[:number]])
        for place, each in enumerate(chunks[:number], start=1):
            before += [TextSegment(each, chunk=place), LatentSpan(2, CHUNK, place)]
        expected["global compression"] = after(before, chunk, torch.cat(values) if values else None)
        for method, loss in expected.items():
            assert found[method][number] == pytest.approx(loss, rel=1e-3), (method, number)
    # In the first chunk there is nothing to differ in; a check of the check.
    assert len({round(each[0], 4) for each in found.values()}) == 1
    assert len({round(each[-1], 4) for each in found.values()}) == 4


METHODS = ("full text", "global compression", "current chunk", "sliding window")


def test_the_same_whatever_the_batch(result, arguments, tmp_path):
    assert {row["method"] for row in result["examples"]} == set(METHODS)
    assert len(result["examples"]) == result["n_examples"] == 4 * 2 * 3
    assert result["left_out"] == [f"1 pages below {LENGTH} tokens (short)"]
    main([*arguments, "--batch-size", "1", "--output", str(tmp_path / "one")])
    for ours, theirs in zip(result["examples"], load(tmp_path / "one" / "global.json")["examples"], strict=True):
        assert ours["id"] == theirs["id"] and ours["losses"] == pytest.approx(theirs["losses"], rel=1e-3)
    for method in ("full text", "current chunk"):
        assert losses(result, method, "2x") == losses(result, method, "4x")


def test_report_and_figure(result, tmp_path):
    report = (tmp_path / "out" / "global.md").read_text(encoding="utf-8")
    assert "### en, 2x\n" in report and "### en, 4x\n" in report and "latents see their chunk: yes" in report
    for name in ("0 to 8", "8 to 16", "16 to 32", "32 to 40"):
        assert f"| {name} |" in report
    rows = [row["losses"] for row in result["examples"] if (row["method"], row["setting"]) == ("full text", "4x")]
    value = math.exp(sum((row[2] + row[3]) / 2 for row in rows) / 3)
    assert f"| 16 to 32 | {suite.short(value)} [" in report
    saved = result["costs"]["4x"]["chunked"]["cache_bytes"] / result["costs"]["4x"]["plain"]["cache_bytes"] - 1
    assert f"| {saved:+.0%} | -77% |" in report and saved < -0.4
    assert (tmp_path / "out" / "global.png").stat().st_size > 5000


def test_a_model_that_reads_pictures(arguments, tokenizer, tmp_path, monkeypatch):
    """Its costs count the tower; letters that do not fit in a chunk's latents are refused before anything is read."""
    for folder, patch in (("pictures", 16), ("small", 4)):
        model_of(tokenizer, tower_options={"patch_size": patch}).save_pretrained(tmp_path / folder)
    asked = [*arguments, "--model", str(tmp_path / "pictures"), "--output", str(tmp_path / "out"), "--ratios", "4"]
    main(asked)
    result = load(tmp_path / "out" / "global.json")
    assert len(losses(result, "global compression")) == 3 and result["costs"]["4x"]["chunked"]["encoder_flops"] > 0
    monkeypatch.setattr(suite, "losses_after_tokens", None)
    with pytest.raises(ValueError, match="^page p0, a chunk of 8 tokens at 4x: Pictures of 2 latents .* do not show"):
        main([*asked, "--model", str(tmp_path / "small"), "--output", str(tmp_path / "other")])


def test_errors(arguments):
    for options, message in (
        (["--window", "1"], "--window must be 2 or more"),
        (["--chunks", "900"], "no page has 7200 tokens: give fewer --chunks"),
    ):
        with pytest.raises((OSError, ValueError), match=message):
            main([*arguments, *options])
