"""The suite of global compression with a tiny model. Run: pytest tests/eval/test_global_compression.py"""

import argparse
import math

import pytest
import torch

from c3 import C3Model
from c3.chunked_rows_c3 import Chunking
from c3.context_modalities_c3 import CONTEXT_MODALITIES
from c3.decoder_rows_c3 import LatentSpan, TextSegment
from c3.eval.harness import Options
from c3.eval.page_data import Page
from c3.eval.suites import global_compression as suite
from c3.eval.text_kinds import cut_tokens
from eval_files import PAGES, load, main, write_lines
from image_models import PixelsContext, model_of, pixels_model

CHUNK, LENGTH = 8, 40
METHODS = ("full text", "global compression", "current chunk", "sliding window")
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


def by_hand(model, chunks):
    """Each chunk's loss by itself, after exactly what a condition says: `dict[str, list[float]]`."""
    chunking, expected = Chunking(model.processor, CHUNK, 4), {method: [] for method in METHODS}
    plans = list(map(chunking.plan, chunks[:-1]))
    counts = [sum(plan.num_latents) for plan in plans]

    @torch.no_grad()
    def after(before, chunk, latents=None):
        batch = model.processor.decoder_inputs([[*before, TextSegment(chunk, [-100, *chunk[1:]], chunk=99)]])
        return float(model(**batch, latents=latents).loss)

    for number, chunk in enumerate(chunks):
        text, held = sum(chunks[:number], []), sum(counts[:number])
        expected["full text"].append(after([TextSegment(text)], chunk))
        expected["current chunk"].append(after([], chunk))
        expected["sliding window"].append(after([TextSegment(text[len(text) - held :])], chunk))
        before, values = [], chunking.encode(model, plans[:number])
        for place, (each, count) in enumerate(zip(chunks[:number], counts, strict=False), start=1):
            before += [TextSegment(each, chunk=place), LatentSpan(count, len(each), place)]
        latents = torch.cat(values) if values else None
        expected["global compression"].append(after(before, chunk, latents))
    return expected


def test_losses_by_hand(result, checkpoint):
    model = C3Model.from_pretrained(checkpoint)
    ids = model.processor.encode(cut_tokens(model.processor.tokenizer, PAGES[1] * 3, LENGTH))[:LENGTH]
    chunks = [ids[start : start + CHUNK] for start in range(0, LENGTH, CHUNK)]
    found = {method: losses(result, method)["p1"] for method in METHODS}
    for method, expected in by_hand(model, chunks).items():
        assert found[method] == pytest.approx(expected, rel=1e-3) and len(expected) == 5, method
    # In the first chunk there is nothing to differ in; a check of the check.
    assert len({round(each[0], 4) for each in found.values()}) == 1
    assert len({round(each[-1], 4) for each in found.values()}) == 4


def test_no_character_is_cut_where_the_encoder_reads_no_ids(tokenizer):
    """Chunks are those of a prompt, and of texts of a batch not alike; those before are held by as many latents."""
    model = model_of(tokenizer)
    args = argparse.Namespace(chunks=5, ratios=[4.0], generated=100)
    texts = {
        name: text * 4 for name, text in (("multi-byte", "短い文章です。🔥 é"), ("plain", PAGES[0]), ("both", "é👍 "))
    }
    pages = [Page(name, "", text) for name, text in texts.items()]
    examples, _ = suite.prepare(args, pages, model, None, CHUNK)
    ways, _ = suite.conditions(args, model, examples)
    found = {method: way(model, examples, Options(CHUNK, 2, None)) for method, way in ways.items()}
    for place, example in enumerate(examples):
        chunks = list(map(list, example.chunks))
        assert "".join(map(model.processor.decode, chunks[:-1])) in texts[example.page.id]
        assert (set(map(len, chunks)) == {CHUNK}) is (example.page.id == "plain")
        for method, expected in by_hand(model, chunks).items():
            assert found[method][place] == pytest.approx(expected, rel=1e-3), (method, example.page.id)
    with pytest.raises(ValueError, match="--window must be 5 or more"):
        suite.prepare(args, pages, model, None, 4)


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
    assert "with the encoder |" in report and "The encoder's are left out" not in report
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


def test_an_encoder_whose_operations_are_not_known(arguments, tokenizer, tmp_path, monkeypatch):
    """A kind of context of one's own is measured, and what its encoder takes is left out."""
    monkeypatch.setitem(CONTEXT_MODALITIES, "pixels", PixelsContext())
    pixels_model(tokenizer).save_pretrained(tmp_path / "pixels")
    main([*arguments, "--model", str(tmp_path / "pixels"), "--output", str(tmp_path / "out")])
    result = load(tmp_path / "out" / "global.json")
    assert len(losses(result, "global compression")) == 3
    cost = result["costs"]["4x"]["chunked"]
    assert cost["encoder_flops"] is None and cost["decoder_flops"] > 0
    report = (tmp_path / "out" / "global.md").read_text(encoding="utf-8")
    assert "| 4x | decoder, GFLOP |" in report and "with the encoder |" not in report
    assert "The encoder's are left out" in report


def test_errors(arguments):
    for options, message in (
        (["--window", "1"], "--window must be 2 or more"),
        (["--chunks", "900"], "no page has 7200 tokens: give fewer --chunks"),
    ):
        with pytest.raises((OSError, ValueError), match=message):
            main([*arguments, *options])
