"""C3Processor: text to windows of ids, placeholders and positions, and back. Run: pytest tests/test_processing.py"""

import copy

import pytest
import torch
from transformers import AutoProcessor
from transformers.dynamic_module_utils import get_class_from_dynamic_module
from transformers.utils import TensorType

from c3 import C3Config, C3Processor
from c3.decoder_rows_c3 import LatentSpan
from c3.texts_c3 import check_text
from c3.training.data.tokenizer import END_OF_TEXT, train_tokenizer
from c3.windows_c3 import TextWindow
from tiny_models import TEXTS, tiny_backbone

ODD_TEXTS = {
    "one letter": "a",
    "chinese": "这是一个最好的时代," * 9,
    "emoji": "👩‍👩‍👧‍👦 and 🇪🇺👍🏽" * 5,
    "windows lines": "one\r\ntwo\r\n\r\n\tthree  \n" * 5,
    "nul": "a\x00b\x00" * 9,
    "special": f"{END_OF_TEXT}no {END_OF_TEXT}{END_OF_TEXT} end{END_OF_TEXT}",
    "placeholders": "{latents}{prompt}{context}{queries}",
    "spaces": "   \t a   " * 9,
}


@pytest.fixture(scope="module")
def other_tokenizer():
    """Knows other words than the first, so that the same text has other tokens."""
    return train_tokenizer(["wisdom foolishness best worst 最好的时代 age"] * 9, vocab_size=330)


@pytest.fixture
def make_processor(tokenizer, other_tokenizer):
    def make(layout="appended", two=False, **options):
        config = C3Config(
            encoder_config=tiny_backbone("qwen3", len(other_tokenizer if two else tokenizer)),
            decoder_config=tiny_backbone("qwen3", len(tokenizer)),
            latent_position_layout=layout,
            **{"num_latents": 4, "window": 16} | options,
        )
        return C3Processor.from_config(config, tokenizer, other_tokenizer if two else None)

    return make


# Windows


@pytest.mark.parametrize("text", [*TEXTS, *ODD_TEXTS.values()])
@pytest.mark.parametrize("window", [1, 5, None])
def test_windows_are_cut_exactly(text, window, make_processor):
    processor = make_processor()
    windows = processor.split(text, window)
    ids = [i for each in windows for i in each.text_ids]
    assert ids == processor.encode(text)
    assert processor.decode(ids) == processor.decode(torch.tensor(ids)) == text
    assert all(each.context == each.text_ids for each in windows)
    *full, last = [len(each.text_ids) for each in windows]
    assert windows.lengths == [*full, last]
    assert set(full) <= {window or 16} and 1 <= last <= (window or 16)


@pytest.mark.parametrize("text", [*TEXTS, *ODD_TEXTS.values()])
@pytest.mark.parametrize("window", [4, 5, None])
def test_windows_of_two_tokenizers(text, window, make_processor, other_tokenizer):
    """The decoder's windows, joined, are its ids of the text; the encoder's texts, joined, are the text."""
    processor = make_processor(two=True)
    windows = processor.split(text, window)
    assert [i for each in windows for i in each.text_ids] == processor.encode(text)
    assert all(1 <= len(each.text_ids) <= (window or 16) for each in windows)
    pieces = [other_tokenizer.decode(each.context) for each in windows]
    assert "".join(pieces) == text
    # The decoder's ids of a window stand for the same characters.
    assert [processor.decode(each.text_ids) for each in windows] == pieces
    assert all(each.context for each in windows)


def test_no_cut_falls_inside_a_character(make_processor, other_tokenizer):
    """Each 👍 is four byte tokens, so a window of six tokens holds one of them and one of ten holds two."""
    processor = make_processor(two=True)
    assert len(processor.encode("👍👍👍")) == 12
    for window, pieces in ((4, ["👍"] * 3), (6, ["👍"] * 3), (10, ["👍👍", "👍"])):
        windows = processor.split("👍👍👍", window)
        assert [other_tokenizer.decode(each.context) for each in windows] == pieces
        assert windows.lengths == [4 * len(piece) for piece in pieces]
    with pytest.raises(ValueError, match="The character at 1 takes more tokens than window=3; use a larger one"):
        processor.split("a👍👍", 3)


@pytest.mark.parametrize("text", [*TEXTS, *ODD_TEXTS.values()])
def test_a_window_of_ids_is_one_text_on_both_sides(text, make_processor, other_tokenizer):
    """Wherever training cuts it out; of characters that the cuts went through nothing is left."""
    processor = make_processor(two=True)
    ids = processor.encode(text)
    for start in range(0, len(ids), 5):
        for length in (1, 7, 16):
            piece = ids[start : start + length]
            window = processor.window_of(piece)
            ours = processor.decode(window.text_ids)
            assert other_tokenizer.decode(window.context) == ours and window.text_ids == processor.encode(ours)
            assert ours in text or set(ours) == {"\ufffd"}
            assert make_processor().window_of(piece) == TextWindow(piece, piece)


def test_special_tokens_in_a_text_are_text(make_processor, tokenizer):
    for two in (False, True):
        for window in make_processor(two=two).split(f"a{END_OF_TEXT}b"):
            assert tokenizer.eos_token_id not in window.text_ids + window.context


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("", ValueError, "text is empty; give at least one character"),
        (None, TypeError, "text must be a string, not NoneType"),
        (b"bytes", TypeError, "text must be a string, not bytes"),
        (["list"], TypeError, "text must be a string, not list"),
        (
            "ab\ud800c",
            ValueError,
            r"not valid Unicode: a lone surrogate U\+D800 at character 2; decode the bytes",
        ),
    ],
)
def test_bad_texts(text, error, message, make_processor):
    with pytest.raises(error, match=message):
        make_processor().split(text)
    with pytest.raises(error, match="^text 7 (is|must)"):
        check_text(text, "text 7")


# Ids and positions


def test_context_inputs_by_hand(make_processor):
    processor = make_processor()
    batch = processor.context_inputs([[5, 6, 7], [8]], [2, 1])
    q = processor.query_token_id
    assert batch["context_input_ids"].tolist() == [[5, 6, 7, q, q], [0, 0, 0, 8, q]]
    assert batch["context_attention_mask"].tolist() == [[1, 1, 1, 1, 1], [0, 0, 0, 1, 1]]


def test_decoder_inputs_by_hand_appended(make_processor):
    """Numbered one after the other, from the first latent on; padding on the left."""
    processor = make_processor(reconstruction_prompt="ab")
    prompt = processor.encode("ab")
    rows = [
        processor.row([LatentSpan(2, 9), LatentSpan(1, 3)], target=[5, 6]),
        processor.row([LatentSpan(1, 4)], target=[7, 8]),
    ]
    batch = processor.decoder_inputs(rows)
    n = processor.latent_token_id
    width = 3 + len(prompt) + 2
    assert batch["input_ids"].tolist() == [[n, n, n, *prompt, 5, 6], [0, 0, n, *prompt, 7, 8]]
    assert batch["attention_mask"].tolist() == [[1] * width, [0, 0] + [1] * (width - 2)]
    assert batch["position_ids"].tolist() == [[*range(width)], [0, 0, *range(width - 2)]]
    assert batch["position_ids"].dtype == torch.long
    assert batch["labels"].tolist() == [[-100] * (width - 2) + [5, 6], [-100] * (width - 2) + [7, 8]]


def test_decoder_inputs_by_hand_uniform(make_processor):
    """
    Windows of 8 and 4 tokens with 2 and 1 latents: (i + 0.5) * L / N - 0.5, the second one 8 further on. When the text
    is asked for, its tokens stand at 0, 1, … again and the prompt before them; any other prompt follows the latents at
    whole positions, or, as older checkpoints have learned it, the text.
    """
    processor = make_processor("uniform", reconstruction_prompt="ab", num_latents=2, window=8)
    latents = [1.5, 5.5, 9.5]
    prompt = len(processor.encode("ab"))
    spans = [LatentSpan(2, 8), LatentSpan(1, 4)]
    batch = processor.decoder_inputs([processor.row(spans, target=[5, 6, 7])])
    assert batch["position_ids"].tolist() == [[*latents, *range(-prompt, 0), 0, 1, 2]]
    assert batch["position_ids"].dtype == torch.float
    rows = [processor.row(spans, "ab", target=[5]), processor.row([LatentSpan(1, 4)], "ab", target=[6])]
    asked = processor.decoder_inputs(rows)
    assert asked["position_ids"].tolist() == [[*range(3 + prompt + 1)], [0, 0, *range(1 + prompt + 1)]]
    processor = make_processor("uniform", prompt_positions="among_text", num_latents=2, window=8)
    assert processor.decoder_inputs(rows)["position_ids"].tolist() == [
        [*latents, *range(12, 12 + prompt + 1)],
        [0, 0, 1.5, *range(4, 4 + prompt + 1)],
    ]


@pytest.mark.parametrize("layout", ["appended", "uniform"])
def test_templates_hold_special_tokens_and_prompts_do_not(layout, make_processor, tokenizer):
    eos = tokenizer.eos_token_id
    processor = make_processor(
        layout,
        prompt_template=f"{END_OF_TEXT}a{{latents}}b{END_OF_TEXT}{{prompt}}{END_OF_TEXT}",
        context_template=f"{END_OF_TEXT}{{context}}c{{queries}}{END_OF_TEXT}",
    )
    a, b, c = (processor.encode(letter) for letter in "abc")
    n, q = processor.latent_token_id, processor.query_token_id
    batch = processor.decoder_inputs([processor.row([LatentSpan(1, 4)], each) for each in ("a", END_OF_TEXT)])
    asked = processor.encode(END_OF_TEXT)
    assert len(asked) > 1 and eos not in asked
    rows = [ids[kept].tolist() for ids, kept in zip(batch["input_ids"], batch["attention_mask"].bool(), strict=True)]
    assert rows == [[eos, *a, n, *b, eos, *prompt, eos] for prompt in (a, asked)]
    context = processor.context_inputs([[5, 6]], [2])["context_input_ids"]
    assert context.tolist() == [[eos, 5, 6, *c, q, q, eos]]
    assert batch["position_ids"][1, :4].tolist() == [0, 1, 2, 3]
    if layout == "uniform":
        # What stands before the latents is numbered before the text.
        replayed = processor.decoder_inputs([processor.row([LatentSpan(1, 4)])])["position_ids"][0].tolist()
        assert replayed[2] == 1.5 and replayed[:2] + replayed[3:] == [*range(1 - len(replayed), 0)]


@pytest.mark.parametrize("two", [False, True])
@pytest.mark.parametrize("layout", ["appended", "uniform"])
def test_call(layout, two, make_processor):
    """As many latents as `compress` makes, and the text as labels."""
    processor = make_processor(layout, two=two)
    batch = processor(TEXTS)
    windows = [processor.split(text) for text in TEXTS]
    counts = [n for text in TEXTS for n in processor.plan(text).num_latents]
    if layout == "appended":
        assert set(counts) == {4}
    else:
        totals = [-(-4 * sum(row.lengths) // 16) for row in windows]
        assert [sum(processor.plan(text).num_latents) for text in TEXTS] == totals
    assert (batch["context_input_ids"] == processor.query_token_id).sum(1).tolist() == counts
    assert int((batch["input_ids"] == processor.latent_token_id).sum()) == sum(counts)
    for row, text in enumerate(TEXTS):
        labels = batch["labels"][row]
        assert processor.decode(labels[labels != -100]) == text
    assert "labels" not in processor(TEXTS, labels=False)
    assert processor(TEXTS[0])["input_ids"].shape[0] == 1
    fewer = processor(TEXTS, num_latents=1)
    assert int((fewer["input_ids"] == processor.latent_token_id).sum()) == sum(map(len, windows))


@pytest.mark.parametrize("layout", ["appended", "uniform"])
def test_call_makes_what_compress_makes(layout, make_model):
    model = make_model(layout)
    with torch.no_grad():
        latents = model(**model.processor(TEXTS)).latents
    torch.testing.assert_close(latents, model.compress(TEXTS, dtype="float32").values, rtol=1e-4, atol=1e-5)


def test_call_refuses(make_processor):
    processor = make_processor()
    with pytest.raises(ValueError, match="No text: the list is empty"):
        processor([])
    with pytest.raises(TypeError, match="text must be a string, not int"):
        processor([1])
    for number, allowed in (0, "1 or more"), (2.5, "1 or more"), (True, "1 or more"), (17, "the default window of 16"):
        with pytest.raises(ValueError, match=f"num_latents must .* {allowed}.*, not {number}"):
            processor("a", num_latents=number)


def test_call_as_other_processors_are_called(make_processor):
    processor = make_processor()
    expected = processor(TEXTS)
    for options in (
        {"return_tensors": "pt", "padding": True},
        {"return_tensors": TensorType.PYTORCH, "padding": "longest", "truncation": False, "max_length": None},
        {"return_tensors": None, "truncation": None},
    ):
        batch = processor(text=TEXTS, **options)
        assert all(torch.equal(batch[name], expected[name]) for name in expected)
    for options, message in (
        ({"return_tensors": "np"}, "return_tensors must be 'pt'"),
        (
            {"padding": "max_length"},
            "padding must be True: rows of a batch are padded to the longest, not",
        ),
        ({"padding": False}, "padding must be True"),
        ({"truncation": True}, "texts are not cut off but cut into windows; leave these out"),
        ({"max_length": 512}, "texts are not cut off but cut into windows"),
    ):
        with pytest.raises(ValueError, match=message):
            processor(TEXTS, **options)
    with pytest.raises(TypeError, match="images"):
        processor(TEXTS, images=[])


def test_a_processor_needs_its_placeholders(tokenizer):
    with pytest.raises(ValueError, match="C3Processor.from_config"):
        C3Processor(tokenizer)


# Folders


@pytest.mark.parametrize("two", [False, True])
def test_round_trip_through_a_folder(two, make_processor, tmp_path):
    settings = {
        "latent_position_layout": "uniform",
        "reconstruction_prompt": "again: ",
        "prompt_template": "<{latents}>{prompt}",
        "context_template": "({context}){queries}",
        "num_latents": 3,
        "window": 12,
        "default_window": 8,
        "ratio_range": [2, 5],
    }
    processor = make_processor(two=two, layout=settings.pop("latent_position_layout"), **settings)
    processor.save_pretrained(tmp_path)
    assert processor.context_tokenizer is not None or not two
    remote = get_class_from_dynamic_module("processing_c3.C3Processor", str(tmp_path))
    assert remote is not C3Processor
    for loaded in (
        C3Processor.from_pretrained(tmp_path),
        AutoProcessor.from_pretrained(tmp_path, trust_remote_code=True),
        remote.from_pretrained(tmp_path),
        C3Processor.from_pretrained(tmp_path.parent, subfolder=tmp_path.name),
    ):
        assert loaded.to_dict() | {"auto_map": None} == processor.to_dict() | {"auto_map": None}
        assert {name: getattr(loaded, name) for name in settings} == settings
        assert (loaded.context_tokenizer is not None) == two
        ours, theirs = processor(TEXTS), loaded(TEXTS)
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_saving_again_keeps_both_tokenizers(make_processor, tmp_path):
    make_processor(two=True).save_pretrained(tmp_path / "a")
    C3Processor.from_pretrained(tmp_path / "a").save_pretrained(tmp_path / "b")
    loaded = C3Processor.from_pretrained(tmp_path / "b")
    assert len(loaded.context_tokenizer) != len(loaded.tokenizer)


def test_a_chat_template_of_the_tokenizer_does_not_disturb(make_processor, tmp_path):
    processor = make_processor()
    processor.tokenizer.chat_template = "{{ messages }}"
    try:
        processor.save_pretrained(tmp_path)
    finally:
        processor.tokenizer.chat_template = None
    loaded = C3Processor.from_pretrained(tmp_path)
    assert loaded.tokenizer.chat_template == "{{ messages }}"
    assert loaded.encode(TEXTS[0]) == processor.encode(TEXTS[0])


@pytest.mark.parametrize("end", ["", " ", "\nAnswer: ", f"{END_OF_TEXT} ", f"{END_OF_TEXT}assistant\n", "\u00a0"])
def test_a_space_at_the_end_of_the_template_belongs_to_the_answer(end, make_processor):
    """So that its first token is one of those within a line; any other end stays the template's."""
    lead = " " * end.endswith(" ")
    processor, plain = (
        make_processor(prompt_template=f"a {{latents}}b{{prompt}}{each}") for each in (end, end.removesuffix(" "))
    )
    assert processor.prompt_template_ids() == plain.prompt_template_ids() and processor.turn([7]) == plain.turn([7])
    answers = ["the best of times", *TEXTS, " the", ""]
    ids = processor.encode_answer(answers)
    assert ids == list(map(processor.encode_answer, answers)) == [processor.encode(lead + each) for each in answers]
    assert [processor.decode_answer(each) for each in ids] == answers
    in_a_line = processor.encode("was the best of times")[-len(ids[0]) :]
    assert (ids[0] == in_a_line) == bool(lead)
    # What a model may answer, too.
    assert processor.decode_answer(processor.encode("the")) == "the"


def test_what_stands_in_every_row_is_that_of_the_tokenizer_of_now(make_processor, other_tokenizer):
    """Tokenized once for a tokenizer; but another one, another prompt, and one that has got a new token are heard."""
    processor = make_processor()
    tokenizer = copy.deepcopy(processor.tokenizer)

    def fixed():
        before, _, asked, _ = processor.row([LatentSpan(1, 1)])
        assert before.ids == []
        return asked.ids

    def pieces():
        *rest, after = processor.prompt_template.removeprefix("{latents}").split("{prompt}")
        return [*rest, processor.reconstruction_prompt, after]

    for key, value in (
        ("tokenizer", tokenizer),
        ("tokenizer", other_tokenizer),
        ("tokenizer", tokenizer),
        ("prompt_template", "{latents}best {prompt}"),
        ("reconstruction_prompt", "of times"),
        ("new token", "best"),
    ):
        known = fixed()
        if key == "new token":
            tokenizer.add_tokens([value], special_tokens=True)
        else:
            setattr(processor, key, value)
        ids = [i for piece in pieces() for i in processor.tokenizer(piece, add_special_tokens=False)["input_ids"]]
        assert fixed() == ids and (ids != known or value is tokenizer)
        # The caller's list is the caller's.
        fixed().append(1)
        assert fixed() == ids
