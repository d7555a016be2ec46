"""Evaluation on pages: metrics, pages, and the result file. Run: pytest tests/test_eval.py"""

import json
import math
import os

import numpy as np
import pytest
from transformers import AutoConfig

from c3 import C3Model
from c3.eval import pages as pages_module
from c3.eval import result_file
from c3.eval.metrics import bootstrap_interval, exact_match, precision, token_f1
from c3.eval.page_data import Page, count_page, own_ratio, read_pages, wanted_latents
from c3.eval.pages import main
from c3.windows_c3 import even_windows

TEXTS = [
    "It was the best of times, it was the worst of times, it was the age of wisdom, it was the age of foolishness.",
    "短い文章です。 Émigré naïve café — 42 %",
    "def add(a, b):\n    return a + b\n" * 3,
]


@pytest.fixture(scope="module")
def coarse(tmp_path_factory):
    """Folder of a tokenizer that makes fewer tokens than the model's: whole words."""
    from c3.training.data.tokenizer import train_tokenizer

    folder = tmp_path_factory.mktemp("coarse")
    train_tokenizer(TEXTS * 4, vocab_size=340).save_pretrained(folder)
    return folder


@pytest.fixture
def data(tmp_path):
    rows = [{"id": f"p{i}", "source": "a book", "text": text} for i, text in enumerate(TEXTS)]
    return write_lines(tmp_path / "pages.jsonl", rows)


@pytest.fixture
def command(checkpoint, coarse, data):
    return ["--model", str(checkpoint), "--data", str(data), "--count-with", str(coarse), "--device", "cpu"]


def write_lines(path, rows):
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n", encoding="utf-8")
    return path


def load(path):
    return json.loads(path.read_text(encoding="utf-8"))


# Metrics


@pytest.mark.parametrize(
    "reference, output, wanted",
    [
        ("kitten", "sitting", 1 - 3 / 7),  # k→s, e→i, +g
        ("abcd", "abcd", 1),
        ("abcd", "", 0),
        ("", "", 1),
        ("文章です", "文草です", 3 / 4),
    ],
)
def test_precision_by_hand(reference, output, wanted):
    assert precision(reference, output) == pytest.approx(wanted)


def test_exact_match_is_exact():
    assert exact_match("A b.\n", "A b.\n")
    assert not any(exact_match("A b.\n", other) for other in ("A b.", "a b.\n", "A  b.\n", "A b\n", ""))


@pytest.mark.parametrize(
    "reference, output, wanted",
    [
        ("a b c d", "a b c d", 1),
        ("a b c d", "a c b d", 2 * 3 / 8),  # a c d, or a b d
        ("a b c", "c b a", 2 * 1 / 6),  # a bag of words would say 1
        ("the cat sat on the mat", "the cat the mat", 2 * 4 / 10),
        ("a b", "a b a b a b", 2 * 2 / 8),  # a loop costs precision
        ("a\tb\n\nc", " a b  c ", 1),
        ("Word", "word", 0),
        ("a", "", 0),
        ("", " \n", 1),
    ],
)
def test_token_f1_by_hand(reference, output, wanted):
    assert token_f1(reference, output) == pytest.approx(wanted)


def test_bootstrap_interval():
    assert bootstrap_interval([0.3]) == bootstrap_interval([0.3] * 5) == pytest.approx((0.3, 0.3))
    # The mean of two draws of 0 and 1 is 0, 1/2 or 1 with chances 1/4, 1/2 and 1/4.
    assert bootstrap_interval([0, 1]) == (0, 1)
    assert bootstrap_interval([0, 1], confidence=0.4) == (0.5, 0.5)
    values = np.random.default_rng(5).normal(size=400)
    low, high = bootstrap_interval(values)
    half = 1.96 * values.std() / 20
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.01)
    assert (low, high) == bootstrap_interval(values)


# The number of latents


def test_total_is_never_above_the_floor():
    """Over random pages and ratios: as many latents as floor(counted / ratio) allows, and not one more."""
    rng = np.random.default_rng(0)
    seen_floor = 0
    for _ in range(2000):
        window = int(rng.integers(1, 33))
        own = int(rng.integers(1, 3000))
        lengths = [window] * (own // window) + [own % window] * (own % window > 0)
        counted = max(1, round(own * rng.uniform(0.4, 1.5)))
        hundredths = int(rng.choice([rng.integers(100, 5000), 100 * rng.integers(1, 50)]))
        ratio, floor = hundredths / 100, counted * 100 // hundredths
        page = Page("", "", "", counted, own, len(lengths))
        total = wanted_latents(page, ratio)
        plan = even_windows(own, int(own / own_ratio(page, total)), window)
        assert sum(n for _, n in plan) == total
        if floor < len(lengths):
            assert total == len(lengths)
        else:
            assert total == min(floor, own) and counted / total >= ratio
            seen_floor += 1
    assert 500 < seen_floor < 2000


@pytest.mark.parametrize("own, total", [(49, 49), (1, 1), (93, 31), (2**31, 2**31 // 3), (10, 9)])
def test_own_ratio_survives_rounding(own, total):
    ratio = own_ratio(Page("", "", "", 0, own, 1), total)
    assert ratio >= 1 and int(own / ratio) == total


def test_ratio_is_read_as_typed():
    # 201 / 20.1 is 10, though the binary fraction next to 20.1 lies above it.
    assert wanted_latents(Page("", "", "", 201, 300, 1), 20.1) == 10


def test_count_page(make_model, tokenizer):
    model = make_model()
    page = count_page(Page("p", "", TEXTS[0] + "<|endoftext|>"), model, None, 16)
    ids = tokenizer(page.text, split_special_tokens=True)["input_ids"]
    assert page.own_tokens == page.counted_tokens == len(ids) and page.windows == math.ceil(len(ids) / 16)
    assert count_page(page, model, tokenizer, 16) == page
    with pytest.raises(ValueError, match="page 'p': text is not valid Unicode: a lone surrogate"):
        count_page(Page("p", "", "a\ud800"), model, None, 16)


# Pages


def test_read_pages(tmp_path):
    rows = [
        {"text": "one"},
        {"id": "b", "text": " \n"},
        {"id": 7, "text": None},
        {"id": 8, "text": "二\u2028", "tokens": 5},
    ]
    lines = write_lines(tmp_path / "a.jsonl", rows)
    pages, empty = read_pages(lines)
    assert pages == [Page("1", "", "one"), Page("8", "", "二\u2028")] and empty == ["b", "7"]
    assert read_pages(lines, limit=2) == ([Page("1", "", "one")], ["b"])


def test_read_parquet(tmp_path):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as parquet

    path = tmp_path / "a.parquet"
    parquet.write_table(pa.table({"n": [1, 2], "text": ["one", ""], "source": ["book", None]}), path)
    assert read_pages(path) == ([Page("1", "book", "one")], ["2"])
    parquet.write_table(pa.table({"id": [1], "body": ["one"]}), path)
    with pytest.raises(ValueError, match="a.parquet has no column 'text'; it has 'id', 'body'$"):
        read_pages(path)
    path.write_bytes(b"PAR1, or not")
    with pytest.raises(ValueError, match="a.parquet cannot be read as parquet"):
        read_pages(path)


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("a.csv", "text\none", "neither a .parquet nor a .jsonl"),
        ("a.jsonl", '{"text": "one"}\n\n{"te', r"line 3 is not a JSON object"),
        ("a.jsonl", '["text"]', r"line 1 is not a JSON object"),
        ("a.jsonl", '{"id": "x", "body": "one"}', r"no column 'text' \(row 1\); it has 'id', 'body'"),
        ("a.jsonl", '{"id": "x", "text": 5}', "the text of page 'x' is not a string but int"),
        ("a.jsonl", '{"text": ""}\n{"text": " "}', r"no page with text \(2 empty\)"),
        ("a.jsonl", "", r"no page with text \(0 empty\)"),
    ],
)
def test_bad_data(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(ValueError, match=message):
        read_pages(path)


def test_errors_are_one_line(command, tmp_path, make_model, capsys):
    def error(*options):
        with pytest.raises(SystemExit) as caught:
            main([*command, *options])
        assert "\n" not in caught.value.code
        return caught.value.code

    assert error("--data", "none.parquet") == "c3.eval.pages: error: no such data file: none.parquet"
    assert "the folder of" in error("--output", str(tmp_path / "no" / "x.json"))
    assert "window=33 is above this model's window of 32" in error("--window", "33")
    AutoConfig.for_model("qwen2").save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").touch()
    assert "it is a 'qwen2' model, not a C3 one" in error("--model", str(tmp_path))
    assert "c3.eval.pages: error: cannot load a C3 model: there is no folder" in error("--model", str(tmp_path / "no"))
    model = make_model("appended", num_latents=4)
    model.save_pretrained(tmp_path / "model")
    model.processor.save_pretrained(tmp_path / "model")
    assert "ratio 2, page 'p0': " in error("--model", str(tmp_path / "model"), "--ratios", "2")
    capsys.readouterr()
    for bad in ("0.5", "nan"):
        with pytest.raises(SystemExit):
            main([*command, "--ratios", bad])
        said = capsys.readouterr().err
        assert said.startswith("c3.eval.pages: error: argument --ratios: a ratio is") and said.count("\n") == 1


def test_a_checkpoint_without_all_weights(make_model, tmp_path):
    from safetensors.torch import load_file, save_file

    make_model().save_pretrained(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    del state["projector.linear_1.weight"]
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"its weights lack 1 tensor\(s\), first 'projector.linear_1.weight'"):
        pages_module.load_model(str(tmp_path), "cpu", "float32")


# A run


def test_run(command, checkpoint, coarse, data, tmp_path, capsys):
    output = tmp_path / "results.json"
    main([*command, "--ratios", "8", "3.3", "--output", str(output), "--batch-size", "4"])
    out, err = capsys.readouterr()
    result = load(output)
    model = C3Model.from_pretrained(checkpoint)
    assert result["model"] == vars(model.latent_provenance()) and result["model"]["weights_fingerprint"]
    assert result["counted_with"]["name"] == coarse.name and len(result["counted_with"]["fingerprint"]) == 16
    assert set(result["versions"]) == {"c3", "torch", "transformers"}
    assert result["options"] == {"window": 32, "batch_size": 4, "device": "cpu", "dtype": "float32"}
    assert list(result["ratios"]) == list(result["timing"]) == ["3.3", "8"]
    for ratio, each in result["ratios"].items():
        rows = each["pages"]
        assert [row["id"] for row in rows] == ["p0", "p1", "p2"] and each["n_pages"] == 3
        for row, text in zip(rows, TEXTS, strict=True):
            assert row["counted_tokens"] < row["own_tokens"]
            assert row["latents"] == max(row["windows"], math.floor(row["counted_tokens"] / float(ratio)))
            assert row["own_ratio"] > row["counted_ratio"] == row["counted_tokens"] / row["latents"]
            assert row["latent_bytes_bfloat16"] == row["latents"] * 32 * 2 and row["text_bytes"] == len(text.encode())
            # The same as by hand: the text that comes out, and its scores.
            latents = model.compress(text, ratio=row["own_tokens"] / (row["latents"] + 0.5))
            assert latents.num_latents == row["latents"] and model.expand(latents) == row["output"] != text
            assert row["precision"] == precision(text, row["output"]) and row["exact"] is False
        scores = [row["precision"] for row in rows]
        summary = each["precision"]
        assert summary["mean"] == pytest.approx(np.mean(scores)) and summary["min"] == min(scores)
        assert summary["median"] == np.median(scores)
        assert min(scores) <= summary["ci95"][0] <= summary["mean"] <= summary["ci95"][1] <= max(scores)
        assert each["counted_ratio"]["min"] == min(row["counted_ratio"] for row in rows)
        assert each["below_ratio"] == [row["id"] for row in rows if row["counted_ratio"] < float(ratio)]
        assert set(result["timing"][ratio]) == {"compress", "expand", "per_page"}
    assert "| 3.3x | " in out and "| 8x | " in out and f"tokens of {coarse.name}" in out
    assert "Compressing at 8x" in err and "Expanding" in err

    # The same command elsewhere: the same but for the seconds, whatever the order of the ratios.
    again = tmp_path / "again.json"
    main([*command, "--ratios", "3.3", "8", "--output", str(again), "--batch-size", "4"])
    first, second = (path.read_text(encoding="utf-8").split('"timing"')[0] for path in (output, again))
    assert first == second


def test_one_page_own_tokens_and_pages_left_out(checkpoint, tmp_path, capsys):
    rows = [{"id": "long", "text": TEXTS[0]}, {"id": "none", "text": ""}]
    data = write_lines(tmp_path / "one.jsonl", rows)
    main(["--model", str(checkpoint), "--data", str(data), "--ratios", "16", "--window", "8", "--device", "cpu"])
    out = capsys.readouterr().out
    assert "the model's OWN tokens (no --count-with)" in out
    assert "Left out, without text: 1 pages (none)." in out
    assert "Below 16x, as every window has a latent: 1 pages (long)." in out and "first" not in out


def test_pages_of_a_table_are_all_accounted_for(checkpoint, tmp_path, capsys):
    """Where all are below the ratio their names say nothing more; those without text are none of them."""
    rows = [{"id": f"p{number}", "text": text} for number, text in enumerate([TEXTS[0], TEXTS[0], "", " ", "unread"])]
    data = write_lines(tmp_path / "all.jsonl", rows)
    options = ["--ratios", "16", "--window", "8", "--device", "cpu", "--limit", "4"]
    main(["--model", str(checkpoint), "--data", str(data), *options])
    out = capsys.readouterr().out
    assert ", 2 pages of all.jsonl (its first 4 rows), free-running" in out
    assert "Below 16x, as every window has a latent: 2 pages (all of them)." in out
    assert "Left out, without text: 2 pages (p2, p3)." in out


def test_perfect_model_scores_one(command, tmp_path, monkeypatch):
    monkeypatch.setattr(C3Model, "expand", lambda self, latents, **options: TEXTS)
    output = tmp_path / "results.json"
    main([*command, "--ratios", "4", "--output", str(output)])
    each = load(output)["ratios"]["4"]
    assert each["precision"] == {"mean": 1, "ci95": [1, 1], "median": 1, "min": 1}
    assert each["exact_share"] == each["token_f1"] == 1


def test_texts_can_be_left_out(command, tmp_path):
    whole, lean = tmp_path / "whole.json", tmp_path / "lean.json"
    main([*command, "--ratios", "4", "--output", str(whole)])
    main([*command, "--ratios", "4", "--output", str(lean), "--leave-out-texts"])
    rows = [json.loads(each.read_text(encoding="utf-8"))["ratios"]["4"]["pages"] for each in (whole, lean)]
    assert [{name: row[name] for name in row if name != "output"} for row in rows[0]] == rows[1]


def test_interrupted_run_goes_on(command, tmp_path, monkeypatch):
    output, calls, expand = tmp_path / "results.json", [], C3Model.expand

    def interrupted(self, latents, **options):
        calls.append(latents.num_latents)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return expand(self, latents, **options)

    monkeypatch.setattr(C3Model, "expand", interrupted)
    options = [*command, "--ratios", "4", "8", "--output", str(output)]
    with pytest.raises(KeyboardInterrupt):
        main(options)
    before = load(output)
    assert list(before["ratios"]) == ["4"]
    main(options)
    after = load(output)
    assert len(calls) == 3 and calls[1] == calls[2]
    assert list(after["ratios"]) == ["4", "8"] and after["timing"]["4"] == before["timing"]["4"]
    content = output.read_bytes()
    main(options)  # nothing is left to do
    assert len(calls) == 3 and output.read_bytes() == content
    whole = tmp_path / "whole.json"
    main([*options[:-1], str(whole)])
    assert {**load(whole), "timing": 0} == {**after, "timing": 0}


def test_results_are_not_mixed(command, data, tmp_path):
    output = tmp_path / "results.json"
    options = [*command, "--ratios", "8", "--output", str(output)]
    main(options)
    content = output.read_bytes()
    for change, named in ((["--batch-size", "3"], "options"), (["--limit", "1"], "data")):
        with pytest.raises(SystemExit, match=rf"another run \({named} differ\): delete it or choose another --output"):
            main([*options, *change])
    data.write_text(data.read_text(encoding="utf-8").replace("best", "last"), encoding="utf-8")
    with pytest.raises(SystemExit, match=r"another run \(data differ\)"):
        main(options)
    assert output.read_bytes() == content


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"ratios": {}}', '{"ratios": 5, "timing": 5}'])
def test_other_files_are_left_alone(tmp_path, content):
    path = tmp_path / "x.json"
    path.write_text(content)
    with pytest.raises(ValueError, match="x.json is not a result file: choose another --output"):
        result_file.read_finished(path, {"model": "m"})
    assert path.read_text() == content


def test_failing_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "x.json"
    result_file.write_result(path, {"id": "a\ud800"}, {"10": 1, "9": 2}, {})
    assert load(path) == {"id": "a\ud800", "ratios": {"9": 2, "10": 1}, "timing": {}}
    before = path.read_bytes()

    def fail(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        result_file.write_result(path, {}, {}, {})
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["x.json"]
