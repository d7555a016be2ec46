"""Vision-language models that read drawn pages, as methods of suites. Run: pytest tests/eval/test_page_readers.py"""

import re
from dataclasses import asdict, replace

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from transformers import AutoModelForImageTextToText, AutoProcessor

from c3.cli.main import main as c3_main
from c3.eval.baselines import PAGE_READERS
from c3.eval.harness import Example
from c3.eval.page_data import Page
from c3.eval.page_drawing import draw_pages
from c3.eval.page_reader import CONFIGS
from c3.eval.suites import SUITES
from c3.eval.vision_language import without_thoughts
from eval_files import PAGES, load, main, write_lines
from tiny_vlms import PICTURE_TOKENS, save_deepseek_ocr, save_deepseek_ocr2, save_llava

TEXTS = [PAGES[0], "\n".join(PAGES) * 3]


@pytest.fixture(scope="module")
def llava(tokenizer, tmp_path_factory):
    return str(save_llava(tmp_path_factory.mktemp("llava"), tokenizer))


@pytest.fixture(scope="module")
def glyph(llava):
    return PAGE_READERS["glyph"].load(llava, "cpu", "float32")


@pytest.fixture(scope="module")
def deepseek_ocr2(tokenizer, tmp_path_factory):
    return str(save_deepseek_ocr2(tmp_path_factory.mktemp("deepseek_ocr2"), tokenizer))


@pytest.fixture
def settings_file(tmp_path):
    """`settings_file(name, **changes)`: a file as one of configs/, but for a few values; its path, `str`."""

    def write(name, **changes):
        path = tmp_path / name
        path.write_text(yaml.safe_dump(yaml.safe_load((CONFIGS / name).read_text()) | changes))
        return str(path)

    return write


def arguments(model, data, method, *more):
    return ["--model", model, "--data", str(data), "--device", "cpu", "--methods", method, *more]


def by_hand(folder, pages, prompt, max_new_tokens):
    """What a processor makes of a chat and its pictures, what the model says, and the pictures in the chat's text."""
    processor, model = AutoProcessor.from_pretrained(folder), AutoModelForImageTextToText.from_pretrained(folder)
    content = [{"type": "image"}] * len(pages) + [{"type": "text", "text": prompt}]
    text = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    inputs = processor(text=text, images=pages, return_tensors="pt")
    ids = model.generate(**inputs, do_sample=False, max_new_tokens=max_new_tokens)[0, inputs["input_ids"].shape[1] :]
    return inputs, processor.tokenizer.decode(ids, skip_special_tokens=True).strip(), text.count("<image>")


def test_glyph_reads_pages_as_any_method(llava, settings_file, tmp_path, capsys):
    """The command; what it feeds, counts and gets is what comes of the same pages by hand."""
    data = write_lines(tmp_path / "pages.jsonl", [{"id": f"p{i}", "text": text} for i, text in enumerate(TEXTS)])
    path = settings_file("glyph_like.yaml", page_size=[300, 82], answer_limit=0.1)
    options = arguments(llava, data, "glyph", "--page-settings", path, "--output", str(tmp_path))
    main(["pages", *options])
    out = capsys.readouterr().out
    result = load(tmp_path / "pages.json")
    reader = PAGE_READERS["glyph"].load(llava, "cpu", "float32", path)
    model = result["model"]
    assert (model["model_name"], model["model_type"], model["revision"]) == ("llava0", "llava", None)
    assert (
        f"llava0 (weights {model['weights_fingerprint']}), greedy" in out
        and "| as drawn |" in out
        and "Below" not in out
    )
    assert model["pages"] == asdict(reader.settings) | {"font": "DejaVuSans.ttf"}
    rows = result["examples"]
    assert [(row["method"], row["setting"], row["id"]) for row in rows] == [
        ("glyph", "as drawn", p) for p in ("p0", "p1")
    ]
    for row, text in zip(rows, TEXTS, strict=True):
        pages = draw_pages(text, reader.settings)
        own = len(reader.tokenizer(text, add_special_tokens=False)["input_ids"])
        inputs, said, placeholders = by_hand(llava, pages, reader.settings.prompt, -(-own // 10))
        (fed,) = reader.inputs(pages, None)
        assert fed.keys() == inputs.keys() and all(torch.equal(fed[name], inputs[name]) for name in inputs)
        assert placeholders == row["num_windows"] == len(pages) and row["latents"] == PICTURE_TOKENS * len(pages)
        assert row["own_tokens"] == own and row["counted_ratio"] == own / row["latents"]
        assert row["kept_bytes"] == row["latents"] * 32 * 2 and row["output"] == said
    assert rows[1]["num_windows"] > 1 and rows[0]["output"] != rows[1]["output"]
    main(["pages", *options])  # nothing is left to do
    assert load(tmp_path / "pages.json") == result
    assert "font DejaVuSans.ttf, font_size 9, line_height 10, page_size [300, 82]" in out
    model["revision"] = "0123abcd"
    assert f"(weights {model['weights_fingerprint']}, revision 0123abcd)" in SUITES["pages"].report(result)


def test_an_answer_ends(glyph, monkeypatch):
    """A model that has not learned to end is stopped, after so many tokens for each of the text's."""
    page, limits, generate = Page("1", "", PAGES[0]), [], glyph.model.model.generate
    monkeypatch.setattr(
        glyph.model.model, "generate", lambda **given: limits.append(given["max_new_tokens"]) or generate(**given)
    )
    said = []
    for limit in (0.1, 0.5):
        reader = type(glyph)(glyph.model, replace(glyph.settings, answer_limit=limit))
        (reconstruction,) = reader.reconstruct([Example(page, "en", "as drawn", None)], None)
        said.append(reconstruction.output)
    own = len(glyph.tokenizer(page.text, add_special_tokens=False)["input_ids"])
    assert limits == [-(-own // 10), -(-own // 2)]
    assert said[1].startswith(said[0]) and len(said[1]) > len(said[0])


def test_thoughts_are_no_answer():
    assert without_thoughts("<think>\nEasy.\n</think>\n<answer>It was\nthe best</answer>\n") == "It was\nthe best"
    assert without_thoughts("Easy.</think> Yes ") == "Yes" and without_thoughts("<answer>so far") == "so far"
    for text in ("It was", "a <think> b", "", "an <answer>x</answer>"):
        assert without_thoughts(text) == text


def test_glyph_in_the_papers_protocol(llava, settings_file, long_pages, checkpoint, tmp_path, capsys):
    """Whatever numbers of latents are asked for, each page is read once."""
    data = write_lines(tmp_path / "pages.jsonl", [{"text": text} for text in long_pages[:2]])
    path = settings_file("glyph_like.yaml", answer_limit=0.02)
    main(["fox", *arguments(llava, data, "glyph", "--page-settings", path, "--count-with", str(checkpoint))])
    out = capsys.readouterr().out
    assert "### as drawn, en" in out and "drawn anew, each on 1.0 pages on average" in out
    counted = {"600-700": 650, "1200-1300": 1250}
    for bucket, tokens in counted.items():
        assert f"| {bucket} | 1 | {tokens / PICTURE_TOKENS:.1f} |" in out


def test_deepseek_ocr_in_the_papers_protocol(deepseek_ocr2, settings_file, long_pages, checkpoint, tmp_path, capsys):
    """A page at a time, at the vision tokens that are asked for."""
    data = write_lines(tmp_path / "pages.jsonl", [{"text": long_pages[0]}])
    path = settings_file("deepseek_ocr.yaml", page_size=[595, 162], answer_limit=0.02)
    options = arguments(deepseek_ocr2, data, "deepseek-ocr", "--page-settings", path, "--count-with", str(checkpoint))
    main(["fox", *options, "--latents", "64", "144", "--output", str(tmp_path)])
    out = capsys.readouterr().out
    result = load(tmp_path / "fox.json")
    (row,) = result["examples"]
    assert result["left_out"][-1] == "64 latents: this model has 144, 256 vision tokens a page"
    assert row["setting"] == "144 latents" and row["num_windows"] > 1 and row["latents"] == 145 * row["num_windows"]
    assert "### 144 latents a page, en" in out
    assert re.search(rf"\| 600-700 \| 1 \| {row['counted_ratio']:.1f} \|", out)
    with pytest.raises(ValueError, match="has 144, 256 vision tokens a page: ask for some of these with --latents"):
        main(["fox", *options, "--latents", "64", "100"])


def test_deepseek_ocr_at_all_of_its_sizes(deepseek_ocr2, settings_file):
    """What is fed is what the processor makes of the page and the published prompt."""
    reader = PAGE_READERS["deepseek-ocr"].load(deepseek_ocr2, "cpu", "float32", settings_file("deepseek_ocr.yaml"))
    asked = [Example(Page("1", "", PAGES[0] + "短🔥\t"), "en", setting, 5) for setting in ("4x", "8x")]
    examples, left_out = reader.examples(asked)
    assert [(each.setting, each.latents) for each in examples] == [("144 latents", 144), ("256 latents", 256)]
    (page,) = draw_pages(PAGES[0], reader.settings)
    for example, side in zip(examples, (768, 1024), strict=True):
        (inputs,) = reader.inputs([page], example)
        assert inputs["pixel_values"].shape == (1, 3, side, side) and "pixel_values_local" not in inputs
        text = reader.tokenizer.decode(inputs["input_ids"][0])
        assert text == "<image>" * (example.latents + 1) + "\nFree OCR."
        assert reader.model.num_vision_tokens(inputs) == example.latents + 1
        assert isinstance(reader.model.answer(inputs, 2), str)
    assert [re.sub(r":.*", "", line) for line in left_out] == [
        "nothing, but in 1 of the texts are characters that DejaVuSans.ttf does not draw, which are escapes, as "
        "'短', '🔥'"
    ]


def test_the_first_deepseek_ocr(tokenizer, tmp_path):
    """Its checkpoint, by the names of its authors; every token is seen, however many came after it."""
    pytest.importorskip("torchvision")
    model, _ = save_deepseek_ocr(tmp_path, tokenizer)
    reader = PAGE_READERS["deepseek-ocr"].load(str(tmp_path), "cpu", "float32")
    (page,) = draw_pages(PAGES[0], reader.settings)
    for latents, rows in ((64, 8), (100, 10), (256, 16), (400, 20)):
        (inputs,) = reader.inputs([page], Example(Page("1", "", PAGES[0]), "en", f"{latents} latents", latents))
        assert inputs["pixel_values"].shape == (1, 3, 64 * rows, 64 * rows)
        assert reader.model.num_vision_tokens(inputs) == rows * (rows + 1) + 1
        if latents == 64:
            # More tokens than Unlimited-OCR's own decoder would see.
            ids = model.generate(**inputs, do_sample=False, max_new_tokens=150)[0, inputs["input_ids"].shape[1] :]
            assert reader.model.answer(inputs, 150) == reader.tokenizer.decode(ids, skip_special_tokens=True).strip()
    weights = next(tmp_path.glob("*.safetensors"))
    held = load_file(weights)
    save_file({name: tensor for name, tensor in held.items() if "view_sep" not in name}, weights)
    with pytest.raises(ValueError, match="its weights lack 1 tensor.*view_separator"):
        PAGE_READERS["deepseek-ocr"].load(str(tmp_path), "cpu", "float32")


def test_errors_before_any_work(llava, checkpoint, data, tokenizer, tmp_path, capsys):
    """In one line, also where a model has no chat template, or is no vision-language model."""
    silent = str(save_llava(tmp_path / "silent", tokenizer, chat_template=None))
    (tmp_path / "empty").mkdir()
    for suite, argv, message in (
        (
            "pages",
            arguments(str(checkpoint), data, "glyph"),
            "it is a 'c3' model, which transformers has no image-text",
        ),
        ("pages", arguments(str(tmp_path / "empty"), data, "glyph"), "cannot load a vision-language model from"),
        ("pages", arguments("none/", data, "glyph"), "cannot load a vision-language model: there is no folder none/"),
        ("pages", arguments(silent, data, "glyph"), "silent cannot be given a page: "),
        ("pages", arguments(llava, data, "deepseek-ocr"), "is a 'llava' model: deepseek-ocr takes DeepSeek-OCR"),
        ("pages", arguments(llava, data, "glyph", "c3"), "--methods glyph is measured alone, as its --model is a"),
        ("pages", arguments(llava, data, "glyph", "--window", "8"), "reads texts whole: leave --window out"),
        ("pages", arguments(llava, data, "glyph", "--page-settings", "no"), "no such file of page settings: no"),
        ("pages", arguments(llava, data, "c3", "--page-settings", "no"), "--page-settings is for --methods glyph or"),
        ("pages", arguments(llava, data, "glyph")[2:], "--methods glyph needs a vision-language model: name its"),
        ("forgetting", arguments(llava, data, "glyph"), "is measured by the suites pages, fox, not by forgetting"),
    ):
        assert c3_main(["eval", suite, *argv]) == 2
        said = capsys.readouterr().err.splitlines()
        assert said[-1].startswith("c3: error: ") and message in said[-1], (said, message)
