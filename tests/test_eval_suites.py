"""The suites with a tiny model: examples, results, interruptions, reports. Run: pytest tests/test_eval_suites.py"""

import json
import re
import zipfile
from pathlib import Path

import pytest

from c3 import C3Model
from c3.cli.main import main as c3_main
from c3.eval import command, published
from c3.eval.alignment import accuracy_by_position, kept_characters
from c3.eval.baselines import METHODS
from c3.eval.command import main
from c3.eval.fox_data import FOX_FILES, read_data
from c3.eval.metrics import METRICS, all_scores, precision
from c3.eval.suites import SUITES
from c3.eval.suites.fox import bucket
from c3.eval.suites.robustness import KINDS, kind_tables, lengths
from c3.eval.text_kinds import (
    GENERATED_KINDS,
    PAGE_KINDS,
    RANDOM_TOKENS,
    cut_tokens,
    language,
    pieces,
    text_of_length,
    whole_tokens,
)

ROOT = Path(__file__).parents[1]
PAGES = [
    "It was the best of times, it was the worst of times, it was the age of wisdom, it was the age of foolishness. ",
    "We, the undersigned, have found no evidence of this; a second look, at 5 pm on 3 May 1912, found the same. ",
    "Of man's first disobedience, and the fruit of that forbidden tree, whose mortal taste brought death. ",
]


@pytest.fixture
def data(tmp_path):
    rows = [{"id": f"p{i}", "source": "a book", "text": text * 3} for i, text in enumerate(PAGES)]
    path = tmp_path / "pages.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


@pytest.fixture
def arguments(checkpoint, data):
    return ["--model", str(checkpoint), "--data", str(data), "--device", "cpu", "--batch-size", "16"]


def load(path):
    return json.loads(path.read_text(encoding="utf-8"))


def without_timing(path):
    return load(path) | {"timing": None}


def fox_entry(text):
    return {
        "image": "en_1.png",
        "len": 5,
        "conversations": [{"from": "human", "value": "OCR"}, {"from": "gpt", "value": text}],
    }


def write_fox(path, english, chinese=()):
    with zipfile.ZipFile(path, "w") as archive:
        for name, texts in (("en_page_ocr.json", english), ("cn_page_ocr.json", chinese)):
            if texts:
                entries = json.dumps(list(map(fox_entry, texts)))
                archive.writestr(f"focus_benchmark_test/{name}", entries)
                archive.writestr(f"__MACOSX/focus_benchmark_test/{name}", "nothing")
    return str(path)


# Registries


@pytest.mark.parametrize(
    "registry, heading",
    [([*SUITES, "all"], "# Evaluation"), (METHODS, "## Methods"), (METRICS, "## Metrics")],
    ids=["suites", "methods", "metrics"],
)
def test_the_documentation_describes_what_is_registered(registry, heading):
    text = (ROOT / "docs" / "evaluation.md").read_text(encoding="utf-8")
    section = text[text.index(f"{heading}\n") :].partition("\n## ")[0]
    rows = re.findall(r"^\| (`.*?) \|", section, flags=re.MULTILINE)
    assert sorted(sum((re.findall(r"`(.*?)`", row) for row in rows), [])) == sorted(registry)


# Alignment


@pytest.mark.parametrize(
    "reference, output, wanted",
    [
        ("abcd", "abcd", [1, 1, 1, 1]),
        ("abcd", "bcd", [0, 1, 1, 1]),  # by index nothing would be right
        ("abcd", "xxabcd", [1, 1, 1, 1]),
        ("abcd", "abxd", [1, 1, 0, 1]),
        ("abcd", "", [0, 0, 0, 0]),
        ("", "abc", []),
    ],
)
def test_kept_characters_by_hand(reference, output, wanted):
    assert kept_characters(reference, output).tolist() == wanted


def test_accuracy_by_position_by_hand():
    assert accuracy_by_position("abcdefgh", "abcdxfxx", 4) == [1, 1, 0.5, 0]
    assert accuracy_by_position("abcdefgh", "bcdefgh", 2) == [0.75, 1]
    assert accuracy_by_position("ab", "ab", 4) == [1, None, 1, None]


# Kinds of text


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "Chinese"])
def test_kinds_are_deterministic_and_long(kind, tokenizer):
    def make(sample, length=300):
        return text_of_length(tokenizer, pieces(kind, sample, 2, [p * 20 for p in PAGES], tokenizer), length)

    text = make(0)
    assert text == make(0) != make(1)
    assert len(tokenizer(text)["input_ids"]) >= 300 - 2
    assert cut_tokens(tokenizer, text, 50) == text[: len(cut_tokens(tokenizer, text, 50))]
    assert "\ufffd" not in text


def test_page_kinds():
    import random

    def made(kind):
        return PAGE_KINDS[kind](PAGES[0], random.Random(1))

    words = PAGES[0].split()
    assert made("English") == PAGES[0] and made("all caps") == PAGES[0].upper()
    assert made("reversed words").split() == words[::-1]
    assert made("shuffled words").split() != words and sorted(made("shuffled words").split()) == sorted(words)
    assert 0.8 < precision(PAGES[0] * 20, PAGE_KINDS["typos"](PAGES[0] * 20, random.Random(1))) < 0.98
    assert len(set(made("repeated text").splitlines())) == 1 and len(made("repeated text")) >= len(PAGES[0])


def test_pages_that_are_too_short(tokenizer):
    assert text_of_length(tokenizer, pieces("English", 0, 1, PAGES, tokenizer), 10_000) is None
    assert cut_tokens(tokenizer, "a", 5) is None


def test_cuts_keep_characters_whole(tokenizer):
    text = "章節" * 5  # several tokens a character
    for length in range(1, 12):
        start = cut_tokens(tokenizer, text, length)
        assert start and text.startswith(start)


def test_whole_tokens(tokenizer):
    ids = whole_tokens(tokenizer)
    assert not set(ids) & set(tokenizer.all_special_ids)
    assert 100 < len(ids) < len(tokenizer) and all("\ufffd" not in tokenizer.decode([i]) for i in ids)


def test_language():
    assert [language(text) for text in ("abc", "我来到北京", "He said 我")] == ["en", "zh", "zh"]


# Robustness


def test_robustness(arguments, checkpoint, tmp_path, capsys):
    output = tmp_path / "out"
    options = ["--samples", "1", "--ratios", "4", "--window", "16"]
    main(["robustness", *arguments, *options, "--output", str(output)])
    out, err = capsys.readouterr()
    result = load(output / "robustness.json")
    rows = result["examples"]
    assert lengths(16) == [1, 2, 8, 16, 32, 160]
    kinds = [kind for kind in KINDS if kind != "Chinese"]
    assert result["left_out"] == ["Chinese: there are no Chinese pages in --data"] and "left out: Chinese" in err
    assert len(rows) == result["n_examples"] == len(kinds) * 6
    model = C3Model.from_pretrained(checkpoint)
    for row in rows:
        assert set(row["scores"]) == set(METRICS) and row["method"] == "c3" and row["setting"] == "4x"
        assert row["latents"] == max(row["windows"], row["own_tokens"] // 4) and row["own_tokens"] >= 1
        assert row["kept_bytes"] == row["latents"] * 32 * 2
    # One of them by hand.
    (row,) = [row for row in rows if row["id"] == "English/32/0"]
    text = cut_tokens(model.processor.tokenizer, PAGES[0] * 3, 32)
    back = model.expand(model.compress(text, ratio=row["own_tokens"] / (row["latents"] + 0.5), window=16))
    assert row["output"] == back and row["scores"] == all_scores(text, back)
    assert out.strip() == (output / "robustness.md").read_text(encoding="utf-8").strip()
    assert all(f"| {kind} |" in out for kind in kinds) and "### c3, 4x" in out
    assert (output / "robustness.png").stat().st_size > 5000 and b"<svg" in (output / "robustness.svg").read_bytes()


def test_robustness_without_pages(checkpoint, tmp_path):
    options = ["--model", str(checkpoint), "--device", "cpu", "--window", "8", "--samples", "1"]
    main(["robustness", *options, "--output", str(tmp_path)])
    result = load(tmp_path / "robustness.json")
    kinds = {row["group"].split(", ")[0] for row in result["examples"]}
    assert kinds == {*GENERATED_KINDS, RANDOM_TOKENS} and result["data"] == []
    assert len(result["left_out"]) == len(PAGE_KINDS) + 1
    with pytest.raises(SystemExit, match="no text of any kind could be made: English: there are no English pages"):
        main(["robustness", *options, "--kinds", "English"])


def test_texts_shorter_than_the_ratio_are_not_averaged_with_it():
    rows = [
        {"method": "c3", "setting": "8x", "group": f"code, {length}", "id": f"code/{length}/{sample}"}
        | {"counted_ratio": ratio, "scores": {"precision": score}}
        for length, ratio, scores in ((1, 1.0, (1, 1)), (8, 8.0, (0.5, 0.7)), (64, 8.0, (0.1, 0.3)))
        for sample, score in enumerate(scores)
    ]
    heading, table = kind_tables(rows)
    assert heading == "### c3, 8x"
    # Of two texts: 0.3 and 0.5, each over its two lengths.
    assert "| code | 100.0% | 60.0% | 20.0% | 40.0% [30.0%, 50.0%] |" in table


# Forgetting


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
        assert row["windows"] == int(row["group"].split()[1])
        assert len(row["accuracy_by_position"]) == 20
    out = capsys.readouterr().out
    assert "| c3 | en, 4 windows | 2x | 2 |" in out
    assert (tmp_path / "forgetting.png").is_file() and (tmp_path / "forgetting.svg").is_file()
    with pytest.raises(SystemExit, match="the pages hold no text of 900 windows"):
        main(["forgetting", *arguments, "--lengths", "900"])


def test_forgetting_sees_where_truncation_ends(arguments, tmp_path):
    options = ["--methods", "truncation", "--ratios", "2", "--lengths", "8", "--samples", "1", "--window", "8"]
    main(["forgetting", *arguments, *options, "--output", str(tmp_path)])
    (row,) = load(tmp_path / "forgetting.json")["examples"]
    accuracy = row["accuracy_by_position"]
    assert accuracy[:8] == [1] * 8 and accuracy[-7:] == [0] * 7


# Fox


def test_bucket():
    wanted = {599: None, 600: "600-700", 699: "600-700", 700: "700-800", 1200: "1200-1300", 1300: "1200-1300"}
    assert {tokens: bucket(tokens) for tokens in wanted} == wanted and bucket(1301) is None


@pytest.fixture
def long_pages(tokenizer):
    """Texts of about 650 and 1250 of the tiny tokenizer's tokens, and one that is too short."""
    return [*(cut_tokens(tokenizer, PAGES[0] * 80, length) for length in (650, 1250)), PAGES[1]]


def test_fox_protocol_on_pages_that_are_not_fox(checkpoint, long_pages, tmp_path, capsys):
    path = tmp_path / "pages.jsonl"
    path.write_text("\n".join(json.dumps({"text": text}) for text in [*long_pages, " "]), encoding="utf-8")
    options = ["--model", str(checkpoint), "--data", str(path), "--count-with", str(checkpoint), "--device", "cpu"]
    main(["fox", *options, "--latents", "32", "64", "--output", str(tmp_path)])
    out = capsys.readouterr().out
    result = load(tmp_path / "fox.json")
    assert result["left_out"][0] == "1 pages of pages.jsonl without text (4)"
    assert result["left_out"][1] == "1 pages outside 600-1300 tokens (3)"
    assert "2 pages" not in result["left_out"][1] and "have more windows than 32" in result["left_out"][2]
    rows = result["examples"]
    assert [(row["setting"], row["group"]) for row in rows] == [
        ("32 latents", "en 600-700"),
        ("32 latents", "en 1200-1300"),
        ("64 latents", "en 600-700"),
        ("64 latents", "en 1200-1300"),
    ]
    assert [row["latents"] for row in rows] == [32, rows[1]["windows"], 64, 64]
    assert out.startswith("## The protocol of Fox on other pages: **not Fox**")
    assert re.search(r"\| 1200-1300 \| 1 \| 19\.\d \| 19.7 \| 19\.\d \| .* \| 98.4% \| 59.1% \|", out)
    assert re.search(r"\| 600-700 \| 1 \| 20\.\d \| 21.0 \| 20\.\d \| .* \| 99.7% \|  \|", out)
    assert (tmp_path / "fox.svg").is_file()


def test_published_tables_are_whole():
    tables = (published.C3_PUBLISHED, published.DEEPSEEK_OCR_PUBLISHED, published.RATIO_PUBLISHED)
    assert [[latents for latents, name in table if name == "900-1000"] for table in tables] == [
        [32, 64, 100],
        [64, 100],
        [32, 64, 100],
    ]
    assert {len(table) // 7 for table in tables} == {2, 3} and {name for _, name in tables[0]} == {
        bucket(tokens) for tokens in range(600, 1301)
    }
    ends = [(latents, f"{low}-{low + 100}") for latents in (64, 100) for low in (600, 1200)]
    assert [published.C3_PUBLISHED[end] for end in ends] == [0.997, 0.984, 0.999, 0.975]
    assert [published.DEEPSEEK_OCR_PUBLISHED[end] for end in ends] == [0.965, 0.591, 0.985, 0.871]
    assert [published.C3_PUBLISHED[32, name] for _, name in ends[:2]] == [0.997, 0.933]
    # A bucket's mean number of tokens lies in it, and so does the ratio; but for what the paper prints at one place.
    outside = [
        (latents, name)
        for (latents, name), ratio in published.RATIO_PUBLISHED.items()
        if bucket(round(ratio * latents)) != name
    ]
    assert outside == [(32, "1000-1100")]


def test_fox_archive(tmp_path, monkeypatch):
    whole = write_fox(tmp_path / "focus_benchmark_test.zip", ["one"] * 111 + [" "], ["二"] * 100)
    pages, data, left_out = read_data([whole])
    assert len(pages) == 211 and (pages[0].id, pages[-1].id, pages[-1].text) == ("en_1", "1:cn_100", "二")
    assert [each["benchmark"] for each in data] == ["Fox", "Fox"]
    assert left_out == ["1 pages of focus_benchmark_test.zip/en_page_ocr.json without text (en_112)"]
    # The same as a folder and as single files; too few pages are not the benchmark.
    zipfile.ZipFile(whole).extractall(tmp_path / "folder")
    assert [page.text for page in read_data([str(tmp_path / "folder")])[0]] == [page.text for page in pages]
    single = tmp_path / "folder" / "focus_benchmark_test" / "en_page_ocr.json"
    assert len(read_data([str(single)], limit=5)[0]) == 5
    _, data, _ = read_data([write_fox(tmp_path / "few.zip", ["one"] * 3)])
    assert data[0]["benchmark"] is None and FOX_FILES["en_page_ocr.json"] == 112
    # From the Hub.
    asked = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("c3.eval.fox_data.find_source", lambda *_: {})
    monkeypatch.setattr(
        "huggingface_hub.hf_hub_download", lambda *args, **kwargs: asked.append((args, kwargs)) or whole
    )
    assert len(read_data(["fox"])[0]) == 211
    assert asked == [(("ucaslcl/Fox_benchmark_data", "focus_benchmark_test.zip"), {"repo_type": "dataset"})]


def test_whole_fox_is_called_fox(checkpoint, long_pages, tmp_path, capsys):
    archive = write_fox(tmp_path / "fox.zip", long_pages[:1] + ["short"] * 111)
    options = ["--model", str(checkpoint), "--data", archive, "--count-with", str(checkpoint), "--device", "cpu"]
    main(["fox", *options, "--latents", "64"])
    assert capsys.readouterr().out.startswith("## Fox\n")
    main(["fox", *options, "--latents", "64", "--limit", "5"])
    assert "**not Fox**" in capsys.readouterr().out


@pytest.mark.parametrize(
    "name, members, message",
    [
        ("a.zip", {"x.txt": "x"}, "a.zip is not the Fox benchmark: it holds neither en_page_ocr.json nor cn_page_ocr"),
        ("a.zip", {"en_page_ocr.json": "{}x"}, "a.zip/en_page_ocr.json is not a list of Fox pages"),
        ("a.zip", {"en_page_ocr.json": '[{"image": 1}]'}, "is not a list of Fox pages with `conversations`"),
        ("a.zip", None, "a.zip cannot be read as a zip archive"),
        ("missing.zip", {}, "no such data file: .*missing.zip"),
    ],
)
def test_bad_archives(tmp_path, name, members, message):
    if members is None:
        (tmp_path / name).write_bytes(b"PK, or not")
    elif members:
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            for member, content in members.items():
                archive.writestr(member, content)
    with pytest.raises((ValueError, OSError), match=message):
        read_data([str(tmp_path / name)])


def test_pages_outside_the_range_and_the_same_ids(arguments, checkpoint, data, tmp_path):
    with pytest.raises(SystemExit, match="c3.eval: error: none of the 3 pages has 600-1300 tokens"):
        main(["fox", *arguments, "--count-with", str(checkpoint)])
    pages, _, _ = read_data([str(data), str(data)])
    assert [page.id for page in pages] == ["p0", "p1", "p2", "1:p0", "1:p1", "1:p2"]
    data.write_text('{"id": 1, "text": "a"}\n{"id": 1, "text": "b"}', encoding="utf-8")
    with pytest.raises(ValueError, match="two pages have the id '1': give each its own"):
        read_data([str(data)])


# Methods


@pytest.mark.parametrize("method", METHODS)
def test_every_method(method, arguments, tmp_path):
    options = ["--methods", method, "--ratios", "4", "--lengths", "2", "--samples", "1", "--window", "16"]
    main(["forgetting", *arguments, *options, "--steps", "3", "--output", str(tmp_path)])
    (row,) = load(tmp_path / "forgetting.json")["examples"]
    assert row["method"] == method and row["kept_bytes"] > 0
    if method in ("zlib", "xz"):
        assert row["scores"]["exact_match"] == 1 and row["latents"] is None and row["counted_ratio"] is None
    else:
        assert row["latents"] == row["own_tokens"] // 4
    if method == "truncation":
        assert PAGES[0].startswith(row["output"]) and row["kept_bytes"] == len(row["output"])


def test_optimised_latents_follow_the_loss(make_model):
    """The teacher-forced loss falls, and the decoder stays as it was."""
    from c3.eval.baselines import optimised_latents
    from c3.eval.harness import Options

    model = make_model()
    text = PAGES[0]
    before = {name: p.clone() for name, p in model.named_parameters()}
    latents = model.compress(text, ratio=4)
    better = optimised_latents._optimised(model, text, latents, Options(window=32, batch_size=16, steps=30))

    def loss(values):
        spans = [[(n, length)] for n, length in zip(values.latent_lengths, values.text_lengths, strict=True)]
        ids, targets = model.processor.encode(text), []
        for length in values.text_lengths.tolist():
            targets.append(ids[:length])
            ids = ids[length:]
        batch = model.processor.prompt_inputs([[(int(n), int(m))] for ((n, m),) in spans], targets=targets)
        return float(model(**batch, latents=values.values).loss.detach())

    assert loss(better) < 0.9 * loss(latents)
    assert all((p == before[name]).all() and p.requires_grad and p.grad is None for name, p in model.named_parameters())


# Runs


def test_interrupted_run_goes_on_and_numbers_repeat(arguments, tmp_path, monkeypatch):
    monkeypatch.setattr(command, "CHUNK_BATCHES", 1)
    options = ["--ratios", "2", "4", "--lengths", "1", "6", "--samples", "3", "--window", "16"]
    options = ["forgetting", *arguments, *options, "--methods", "truncation", "c3"]
    calls, expand = [], C3Model.expand

    def interrupted(self, latents, **kwargs):
        calls.append(len(latents))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return expand(self, latents, **kwargs)

    monkeypatch.setattr(C3Model, "expand", interrupted)
    first, second = tmp_path / "first", tmp_path / "second"
    with pytest.raises(KeyboardInterrupt):
        main([*options, "--output", str(first)])
    before = load(first / "forgetting.json")
    assert 0 < len(before["examples"]) < before["n_examples"]
    main([*options, "--output", str(first)])
    done = len(calls)
    content = (first / "forgetting.json").read_bytes()
    main([*options, "--output", str(first)])  # nothing is left to do
    assert len(calls) == done and (first / "forgetting.json").read_bytes() == content
    main([*options, "--output", str(second)])
    assert without_timing(first / "forgetting.json") == without_timing(second / "forgetting.json")
    for ending in ("md", "svg", "png"):
        assert (first / f"forgetting.{ending}").read_bytes() == (second / f"forgetting.{ending}").read_bytes()
    for change in (["--limit", "2"], ["--samples", "2"], ["--methods", "c3"]):
        with pytest.raises(SystemExit, match=r"another run \(.* differ\): delete it or choose another --output"):
            main([*options, *change, "--output", str(first)])


def test_texts_can_be_left_out(arguments, tmp_path):
    options = ["--ratios", "4", "--lengths", "1", "--samples", "1"]
    main(["forgetting", *arguments, *options, "--leave-out-texts", "--output", str(tmp_path)])
    (row,) = load(tmp_path / "forgetting.json")["examples"]
    assert "output" not in row and row["scores"]


def test_c3_eval_and_its_errors(arguments, checkpoint, data, tmp_path, capsys):
    assert c3_main(["eval", "forgetting", *arguments, "--ratios", "4", "--lengths", "1", "--samples", "1"]) == 0
    assert "## Forgetting" in capsys.readouterr().out
    assert c3_main(["eval", "--help"]) == 0
    assert all(name in capsys.readouterr().out for name in ("robustness",))
    for argv, message in (
        (["forgetting", "--model", str(checkpoint)], "the suite forgetting measures pages: say with --data which"),
        (["forgetting", *arguments, "--data", "none.parquet"], "no such data file: none.parquet"),
        (["fox", *arguments, "--count-with", str(tmp_path / "none")], "none"),
    ):
        assert c3_main(["eval", *argv]) == 2
        err = capsys.readouterr().err
        assert err.startswith("c3: error: ") and message in err and err.count("\n") == 1
    assert c3_main(["eval", "nothing", *arguments]) == 2


def test_a_suite_that_cannot_run_does_not_keep_the_others_from_it(arguments, checkpoint, tmp_path, monkeypatch, capsys):
    """The pages are too short for fox."""
    monkeypatch.setattr(command, "SUITES", {name: SUITES[name] for name in ("fox", "forgetting")})
    with pytest.raises(SystemExit, match="1 of 2 suites could not be measured: fox"):
        main(["all", *arguments, "--count-with", str(checkpoint), "--window", "8", "--output", str(tmp_path)])
    assert "fox: not measured: none of the 3 pages has 600-1300 tokens" in capsys.readouterr().err
    assert {path.name for path in tmp_path.glob("*.md")} == {"forgetting.md"}


def test_latents_that_a_model_does_not_have_are_left_out(make_model, long_pages, tmp_path, capsys):
    """The appended layout has no more in a window than in training: the released weights of the paper are such."""
    make_model("appended").save_pretrained(tmp_path / "appended")
    path = tmp_path / "pages.jsonl"
    path.write_text(json.dumps({"text": long_pages[0]}), encoding="utf-8")
    options = ["fox", "--model", str(tmp_path / "appended"), "--count-with", str(tmp_path / "appended")]
    options += ["--data", str(path), "--device", "cpu", "--limit", "1"]
    main([*options, "--latents", "100", "400", "--output", str(tmp_path)])
    result = load(tmp_path / "fox.json")
    assert [row["setting"] for row in result["examples"]] == ["100 latents"] and result["n_examples"] == 1
    assert re.match(r"400 latents: 1 texts \(1\), as ratio=.* above the 8 that this model", result["left_out"][-1])
    assert "left out: 400 latents" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="no text can be measured: 400 latents"):
        main([*options, "--latents", "400"])


def test_all_suites(arguments, checkpoint, data, long_pages, tmp_path):
    data.write_text("\n".join(json.dumps({"text": text}) for text in long_pages[:1]), encoding="utf-8")
    main(["all", *arguments, "--count-with", str(checkpoint), "--window", "8", "--output", str(tmp_path)])
    assert {path.name for path in tmp_path.glob("*.md")} == {f"{name}.md" for name in SUITES}
