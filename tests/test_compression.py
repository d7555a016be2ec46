"""compress, expand and generate: any texts, any batches, and clear errors."""

import io
import json
from collections import UserDict
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas
import pytest
import torch
from datasets import Dataset, DatasetDict
from transformers import TextIteratorStreamer

from c3 import C3Latents, C3Model, C3Processor, CompressionWarning
from c3.checkpoint_c3 import _rounded
from c3.decoder_rows_c3 import LatentSpan
from c3.fingerprints_c3 import fingerprint_tensors
from c3.latents_provenance_c3 import LatentMismatchError
from tiny_models import TEXTS

LONG = " ".join(TEXTS) * 3
NASTY = ["x", " \n\t ", "a\x00b", "<|endoftext|>", "\r\n\r\n", "👩‍👩‍👧‍👦é", "ÿ" * 50]


@pytest.fixture(scope="module", params=["appended", "uniform"])
def model(request, make_model):
    return make_model(request.param)


@pytest.fixture(scope="module")
def uniform(make_model):
    return make_model("uniform")


def token_ids(model, text):
    return model.processor.tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]


# ---------------------------------------------------------------------------------------------------------- compress


def test_windows_and_lengths(model):
    latents = model.compress([LONG, "short"])
    tokens = len(token_ids(model, LONG))
    assert latents[0].text_tokens == tokens
    assert latents.window_counts[1] == 1 and latents.text_lengths.max() <= 32
    if model.config.latent_position_layout == "appended":
        assert latents[0].num_windows == -(-tokens // 32)
        assert set(latents.latent_lengths.tolist()) == {8}
    else:
        assert latents[0].num_latents == -(-tokens * 8 // 32)
        assert not (latents.text_lengths % latents.latent_lengths).any()


def test_batches_do_not_change_latents(model):
    texts = [LONG, *TEXTS]
    whole = model.compress(texts, batch_size=100)
    for batch_size in (1, 3):
        torch.testing.assert_close(model.compress(texts, batch_size=batch_size).values, whole.values)
    alone = C3Latents.cat([model.compress(text) for text in texts])
    torch.testing.assert_close(alone.values, whole.values)
    assert torch.equal(alone.latent_lengths, whole.latent_lengths)


def test_ratio_is_met_over_the_whole_text(uniform):
    tokens = len(token_ids(uniform, LONG))
    for ratio in (1, 1.5, 4, 7.3, 16, 30):
        latents = uniform.compress(LONG, ratio=ratio)
        assert latents.num_latents == int(tokens / ratio)
        assert latents.text_tokens == tokens


@pytest.mark.parametrize("two", [False, True])
def test_no_ratio_is_a_trap(two, make_model, tokenizer):
    """What is not given as it was asked for is given as well as the model can, and said."""
    model = make_model("uniform", window=32, default_window=16, num_latents=4, ratio_range=[4, 12])
    if two:
        model.processor = C3Processor.from_config(model.config, tokenizer, tokenizer)
    best = model.compress(LONG, ratio=4)
    asked = {
        "1": {"ratio": 1},
        "3.9": {"ratio": 3.9},
        "2": {"num_latents": 8},
        "3.56": {"num_latents": 9, "window": 32},
    }
    for number, amount in asked.items():
        with pytest.warns(CompressionWarning, match=f"^4.* tokens per latent: {number} were asked for, but this"):
            latents = model.compress([LONG, TEXTS[0]], **amount)
        expected = model.compress([LONG, TEXTS[0]], ratio=4, window=amount.get("window"))
        assert torch.equal(latents.values, expected.values)
    with pytest.warns(
        CompressionWarning, match="1000 were asked for, but every window of at most 16 tokens has a late"
    ):
        assert model.compress(LONG, ratio=1000).num_latents == best.num_windows
    with pytest.warns(CompressionWarning, match="^1.* tokens per latent: .* good for at most 12, so that"):
        model.compress(LONG, ratio=14)


def test_every_text_and_window_counts_in_what_is_said(make_model):
    model = make_model("uniform", window=32, default_window=16, num_latents=4, ratio_range=[4, 12])
    with pytest.warns(CompressionWarning, match=r"^1 tokens per latent: 100 were asked for, .* has a latent\.$"):
        model.compress("x", ratio=100)
    with pytest.warns(CompressionWarning, match="^1 to 1[2-6].* tokens per latent: .* good for at most 12, so"):
        model.compress(["x", LONG], ratio=15)
    with pytest.warns(CompressionWarning, match="^2 tokens per latent: every window has a latent, but .* from 4"):
        model.compress(LONG[:200], window=2)


def test_windows_and_ratios_are_the_models(make_model, tmp_path):
    """Also where the processor's file is from before it had them."""
    model = make_model("uniform", window=32, default_window=16, num_latents=4, ratio_range=[4, 12])
    model.save_pretrained(tmp_path)
    path = tmp_path / "processor_config.json"
    fields = json.loads(path.read_text())
    assert fields.pop("default_window") == 16 and fields.pop("ratio_range") == [4, 12]
    path.write_text(json.dumps(fields))
    for options, longest in ({}, 16), ({"default_window": 8}, 8):
        loaded = C3Model.from_pretrained(tmp_path, **options)
        assert loaded.compress(LONG).text_lengths.max() == longest
        with pytest.warns(CompressionWarning, match="best from 4 on"):
            assert loaded.compress(LONG, ratio=1).ratio >= 4


def test_what_can_be_given_is_given_in_silence(make_model, recwarn):
    model = make_model("uniform", window=32, default_window=16, num_latents=4, ratio_range=[4, 12])
    for amount in ({}, {"ratio": 4}, {"ratio": 12}, {"num_latents": 2}, {"num_latents": 8, "window": 32}):
        for text in (LONG, TEXTS[0], "x"):
            model.compress(text, **amount)
    # A short text is never above what the model is good for.
    model.compress("x", num_latents=1)
    assert not [each for each in recwarn if each.category is CompressionWarning]


def test_texts_that_the_weights_may_not_give_back(make_model, recwarn, tmp_path):
    """Said once of all texts, by what the checkpoint says of itself."""
    kinds = {"Japanese kana": "U+3041-309F, U+30A0-30FF", "NUL bytes": "U+0", "\x1b[2J": "U+1"}
    make_model("uniform", unreliable_characters=kinds).save_pretrained(tmp_path)
    model = C3Model.from_pretrained(tmp_path)
    said = "which this model may not give back as in the text: compare what expand returns"

    def warned(*args, **options):
        recwarn.clear()
        model.compress(*args, **options)
        assert all(each.category is CompressionWarning and each.filename == __file__ for each in recwarn)
        return [str(each.message) for each in recwarn]

    assert warned("a\0b") == [f"text holds NUL bytes, {said}."]
    assert warned(["a", "カ", "ぁ\0", "b"]) == [f"text 1 and 1 more hold Japanese kana and NUL bytes, {said}."]
    assert warned(["", "ー"], on_error="skip") == [f"text 1 holds Japanese kana, {said}."]
    assert warned("a\1") == [f"text holds \\x1b[2J, {said}."]  # the checkpoint's words may be a stranger's
    assert warned(["a\r\n", "漢字 é 😀", "\x02\u3040\u3100"]) == []


def test_the_default_window_is_not_the_longest(make_model):
    model = make_model("uniform", window=32, default_window=16, num_latents=4)
    assert model.compress(LONG).text_lengths.max() == 16
    longer = model.compress(LONG, window=32)
    assert longer.text_lengths.max() > 16
    # The default is a ratio, whatever the window.
    assert longer.num_latents == model.compress(LONG).num_latents == -(-len(token_ids(model, LONG)) // 4)


def test_appended_layout_gives_every_window_its_latents(make_model):
    latents = make_model("appended").compress([LONG, "short"], num_latents=5)
    assert set(latents.latent_lengths.tolist()) == {5}


def test_uniform_layout_scales_with_the_window(uniform):
    assert uniform.compress("x", num_latents=8).latent_lengths.tolist() == [1]
    tokens = len(token_ids(uniform, LONG))
    assert uniform.compress(LONG, num_latents=16, window=20).num_latents == -(-tokens * 16 // 20)


@pytest.mark.parametrize(
    "kwargs,message",
    [
        ({"num_latents": 0}, "num_latents must be an integer of 1 or more, not 0"),
        ({"num_latents": 2.5}, "num_latents must be an integer of 1 or more, not 2.5"),
        ({"num_latents": 33}, "num_latents=33 is above the window of 32 tokens"),
        ({"num_latents": 9, "window": 8}, "num_latents=9 is above the window of 8 tokens"),
        ({"ratio": 0.5}, "ratio must be a number of 1 or more"),
        ({"ratio": float("nan")}, "ratio must be a number of 1 or more"),
        ({"ratio": 4, "num_latents": 4}, "num_latents or ratio, not both"),
        ({"window": 0}, "window must be an integer of 1 or more"),
        ({"window": 33}, "window=33 is above this model's window of 32"),
        ({"batch_size": 0}, "batch_size must be an integer of 1 or more"),
        ({"batch_size": torch.tensor(2.0)}, "batch_size must be an integer of 1 or more"),
        ({"window": np.array([16])}, "window must be an integer of 1 or more"),
        ({"ratio": 10**400}, "ratio must be a number of 1 or more"),
        *(({"ratio": each}, "ratio must be a number of 1 or more") for each in ("8", 8j, [8], Decimal("nan"))),
        *(({name: True}, f"{name} must be") for name in ("ratio", "num_latents", "window", "batch_size")),
        *(({"ratio": each}, "ratio must be a number of 1 or more") for each in (np.True_, torch.tensor(True))),
    ],
)
def test_bad_options(kwargs, message, uniform):
    with pytest.raises(ValueError, match=message):
        uniform.compress("some text", **kwargs)


def test_numbers_are_numbers_whoever_made_them(uniform):
    tokens = len(token_ids(uniform, LONG))
    expected = uniform.compress(LONG, num_latents=4, window=16, batch_size=3)
    for number in (np.int64, np.uint8, np.array, torch.tensor):
        latents = uniform.compress(LONG, num_latents=number(4), window=number(16), batch_size=number(3))
        assert torch.equal(latents.values, expected.values)
    uniform.expand(uniform.compress("x"), batch_size=np.int64(3))
    for ratio in (np.float32(6.5), np.float16(6.5), torch.tensor(6.5), np.array(6.5), Fraction(13, 2), Decimal("6.5")):
        assert uniform.compress(LONG, ratio=ratio).num_latents == int(tokens / 6.5)
    # Exactly: as a binary fraction it would give one latent less.
    assert uniform.compress(LONG, ratio=Fraction(tokens, 11)).num_latents == 11
    uniform.processor("a", num_latents=np.int64(4))


def test_appended_layout_refuses_more_latents_than_trained(make_model):
    model = make_model("appended")
    with pytest.raises(ValueError, match="above the 8 that this model was trained with"):
        model.compress(LONG, num_latents=9)
    with pytest.raises(ValueError, match="ratio=2 needs 16 latents in a window"):
        model.compress(LONG, ratio=2)


@pytest.mark.parametrize(
    "text,error,message",
    [
        ("", ValueError, "text is empty"),
        (["a", ""], ValueError, "text 1 is empty"),
        ([], ValueError, "the list is empty"),
        (iter([]), ValueError, "the list is empty"),
        ("a\ud800b", ValueError, "lone surrogate U\\+D800 at character 1"),
        (["a", None], TypeError, "text 1 must be a string, not NoneType"),
        (["a", b"b"], TypeError, "text 1 must be a string, not bytes: decode it first"),
        ([["a"]], TypeError, "text 0 must be a string, not list"),
        (None, TypeError, "text must be a string or strings, not NoneType"),
        (7, TypeError, "text must be a string or strings, not int"),
        (b"bytes", TypeError, "not bytes: decode it first"),
        (Path("a.txt"), TypeError, "not PosixPath: pass what the file holds"),
        (io.StringIO("a\nb\n"), TypeError, "not StringIO: pass what it holds"),
        ({"b", "a"}, TypeError, "not set, which has no order: pass a list"),
        (
            np.array([["a", "b"]]),
            TypeError,
            "not ndarray of 2 dimensions: pass strings in one",
        ),
        (
            np.array("a"),
            TypeError,
            "not ndarray of 0 dimensions: pass strings in one",
        ),
        (torch.tensor([5, 6]), TypeError, "text 0 must be a string, not Tensor"),
        ({"text": "a", "id": "7"}, TypeError, "not dict: pick the text in it by its name"),
        (UserDict(text="a"), TypeError, "not UserDict: pick the text in it by its name"),
        (pandas.DataFrame({"text": ["a"]}), TypeError, "not DataFrame: pick the text in it by its name"),
        (pandas.Series(["a", None]), TypeError, "text 1 must be a string, not"),
        (Dataset.from_dict({"text": ["a"]}), TypeError, "not Dataset: pick the text in it by its name"),
        (Dataset.from_dict({"text": ["a"]}).data, TypeError, "not InMemoryTable: pick the text in it by its name"),
        (DatasetDict(train=Dataset.from_dict({"text": ["a"]})), TypeError, "not DatasetDict: pick the text in it"),
    ],
    ids=lambda each: f"{type(each).__name__}",
)
def test_bad_texts(text, error, message, uniform):
    with pytest.raises(error, match=message) as caught:
        uniform.compress(text)
    assert caught.value.__cause__ is None  # said once
    with pytest.raises(error, match=message.replace("text 0 ", "text ").replace("text 1 ", "text ")):
        uniform.processor(text)


def test_texts_come_as_users_have_them(uniform):
    expected = uniform.compress(TEXTS).values
    dataset = Dataset.from_dict({"text": TEXTS, "id": [1, 2, 3]})
    for texts in (
        tuple(TEXTS),
        (each for each in TEXTS),
        dict(enumerate(TEXTS)).values(),
        np.array(TEXTS),
        np.array(TEXTS, dtype=object),
        pandas.Series(TEXTS, index=["c", "a", "b"]),
        pandas.DataFrame({"text": TEXTS})["text"].astype("category"),
        dataset["text"],
        dataset[:]["text"],
        dataset.with_format("numpy")["text"],
        dataset.with_format("arrow")["text"],
        dataset.to_iterable_dataset()["text"],
        [np.str_(each) for each in TEXTS],
    ):
        assert torch.equal(uniform.compress(texts).values, expected), type(texts)
    assert torch.equal(uniform.compress(np.str_(TEXTS[0])).values, uniform.compress(TEXTS[0]).values)


BAD = [TEXTS[0], "", TEXTS[1], None, "a\ud800", LONG]


def test_a_batch_job_goes_on_and_says_what_it_left_out(uniform, tmp_path):
    kept = [BAD[0], BAD[2], BAD[5]]
    latents, skipped = uniform.compress(BAD, on_error="skip")
    assert torch.equal(latents.values, uniform.compress(kept).values) and len(latents) == 3
    assert list(skipped) == [1, 3, 4] and all(skipped[i].startswith(f"text {i} ") for i in skipped)
    assert "is empty" in skipped[1] and "not NoneType" in skipped[3] and "lone surrogate" in skipped[4]
    written, again = uniform.compress(iter(BAD), on_error="skip", output=tmp_path / "kept.c3")
    assert torch.equal(written.values, latents.values) and again == skipped
    assert uniform.compress(kept, on_error="skip")[1] == {}
    assert uniform.compress("", on_error="skip", output=tmp_path / "none.c3")[0] is None
    assert not (tmp_path / "none.c3").exists()
    # What is wrong with all of them is no reason to go on.
    for options in ({"ratio": 0}, {"window": 64}, {"batch_size": 0}):
        with pytest.raises(ValueError, match=f"{[*options][0]}"):
            uniform.compress(kept, on_error="skip", **options)
    with pytest.raises(ValueError, match="on_error must be 'raise' or 'skip', not 'ignore'"):
        uniform.compress(kept, on_error="ignore")


def test_a_text_that_cannot_be_planned_is_named_or_skipped(make_model):
    """Here a long one, of which a window would need more latents than the model has."""
    model = make_model("appended")
    with pytest.raises(ValueError, match="^text 1: ratio=2 needs 16 latents in a window"):
        model.compress(["short", LONG], ratio=2)
    latents, skipped = model.compress(["short", LONG, ""], ratio=2, on_error="skip")
    assert len(latents) == 1 and list(skipped) == [1, 2] and skipped[1].startswith("text 1: ratio=2 needs 16 latents")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_latents_written_while_they_are_made(model, make_model, dtype, tmp_path):
    """The very bytes that saving them afterwards gives, whatever the order of the batches."""
    model = make_model(model.config.latent_position_layout).to(dtype)
    expected = model.compress([LONG, *TEXTS], ratio=4, batch_size=3, show_progress=False)
    latents = model.compress(
        [LONG, *TEXTS], ratio=4, batch_size=3, show_progress=False, output=tmp_path / "streamed.c3"
    )
    saved = expected.save(tmp_path / "saved.c3")
    assert (tmp_path / "streamed.c3").read_bytes() == saved.read_bytes()
    assert torch.equal(latents.values, expected.values) and latents.provenance == expected.provenance
    assert latents.text_lengths.tolist() == expected.text_lengths.tolist() and len(latents) == 4


def test_a_file_that_cannot_be_made_is_known_before_the_work(uniform, tmp_path, monkeypatch):
    monkeypatch.setattr(type(uniform), "encode_context", None)
    with pytest.raises(FileNotFoundError, match="the folder .*nowhere does not exist"):
        uniform.compress(LONG, output=tmp_path / "nowhere" / "a.c3")
    for path, message in (("/proc/a.c3", "'/proc/a.c3'$"), (tmp_path, f"latents to {tmp_path}: it is a folder")):
        with pytest.raises(OSError, match=message):
            uniform.compress(LONG, output=path)


def test_only_a_whole_file_replaces_one(make_model, tmp_path):
    model, path = make_model(), tmp_path / "a.c3"
    path.write_bytes(b"old")
    torch.nn.init.constant_(model.projector.linear_1.bias, torch.nan)
    with pytest.raises(ValueError, match=r"not finite \(NaN or infinity\), first in latent 0 "):
        model.compress(TEXTS[0], output=path)
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_five_megabytes(uniform):
    text = (LONG + "\n") * (5_000_000 // len(LONG.encode()))
    latents = uniform.compress(text, ratio=16, batch_size=2048, show_progress=False, dtype="float32")
    ids = token_ids(uniform, text)
    assert latents.text_tokens == len(ids) and latents.num_latents == int(len(ids) / 16)
    length, n = int(latents.text_lengths[-1]), int(latents.latent_lengths[-1])
    with torch.no_grad():
        last = uniform.encode_context(**uniform.processor.context_inputs([ids[-length:]], [n]))
    torch.testing.assert_close(latents.values[-n:], last)


# ------------------------------------------------------------------------------------------------------------ expand


def test_expand_gives_exactly_the_stored_number_of_tokens(model):
    latents = model.compress([LONG, *NASTY])
    windows = [ids for _, ids in sorted(model._expand_windows(latents, "greedy", 4, False, in_order=False))]
    assert [len(ids) for ids in windows] == latents.text_lengths.tolist()
    special = set(model.processor.tokenizer.all_special_ids)
    assert not any(special & set(ids) for ids in windows)


def test_batches_do_not_change_the_text(model):
    latents = model.compress([LONG, *TEXTS])
    whole = model.expand(latents, batch_size=100)
    assert whole == model.expand(latents, batch_size=1) == model.expand(latents, batch_size=3)
    assert whole == [model.expand(text) for text in latents]


def test_expand_equals_generation_without_cache_window_by_window(model):
    latents = model.compress(TEXTS[0])
    special = model.processor.tokenizer.all_special_ids
    text = ""
    for window in range(latents.num_windows):
        count, length = int(latents.latent_lengths[window]), int(latents.text_lengths[window])
        batch = model.processor.decoder_inputs([model.processor.row([LatentSpan(count, length)])])
        ids = []
        for _ in range(length):
            following = torch.tensor([ids], dtype=torch.long)
            last = batch["position_ids"][0, -1]
            positions = torch.cat([batch["position_ids"], (last + 1 + torch.arange(len(ids)))[None]], dim=1)
            with torch.no_grad():
                logits = model(
                    input_ids=torch.cat([batch["input_ids"], following], dim=1),
                    position_ids=positions,
                    latents=latents.windows()[window],
                    use_cache=False,
                ).logits[0, -1]
            logits[special] = -torch.inf
            ids.append(int(logits.argmax()))
        text += model.processor.decode(ids)
    assert model.expand(latents, batch_size=1) == text


def test_stream_gives_the_same_text_in_order(model):
    latents = model.compress([LONG, *NASTY, *TEXTS])
    texts = [""] * len(latents)
    order = []
    for index, piece in model.expand(latents, batch_size=2, stream=True):
        texts[index] += piece
        order.append(index)
    assert texts == model.expand(latents)
    assert order == sorted(order)
    pieces = list(model.expand(latents[0], batch_size=2, stream=True))
    assert len(pieces) > 3 and "".join(pieces) == texts[0]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_round_trip_runs(dtype, make_model):
    model = make_model("uniform").to(dtype)
    latents = model.compress(TEXTS)
    assert latents.dtype == dtype
    assert len(model.expand(latents)) == 3


def test_a_column_of_a_dataset_holds_latents(model):
    datasets = pytest.importorskip("datasets")
    rows = datasets.Dataset.from_dict({"text": TEXTS})

    def compress(batch):
        return {"latents": [each.to_bytes() for each in model.compress(batch["text"], show_progress=False)]}

    rows = rows.map(compress, batched=True, batch_size=2, new_fingerprint="latents")
    assert rows.features["latents"].dtype == "binary"
    latents = C3Latents.cat([C3Latents.from_bytes(each) for each in rows["latents"]])
    assert len(latents) == len(TEXTS) and model.expand(latents) == model.expand(model.compress(TEXTS))


def test_same_after_save_and_load(model, tmp_path):
    model.save_pretrained(tmp_path)
    latents = model.compress(TEXTS)
    latents.save(tmp_path / "latents.c3")
    loaded = C3Model.from_pretrained(tmp_path)
    assert torch.equal(loaded.compress(TEXTS).values, latents.values)
    assert loaded.expand(C3Latents.load(tmp_path / "latents.c3")) == model.expand(latents)


# ---------------------------------------------------------------------------------------------------------- generate


def test_generate_defaults_to_the_reconstruction_prompt(model):
    latents = model.compress(["one window", "another"])
    lengths = latents.text_lengths.tolist()
    expanded, generated = model.expand(latents), model.generate(latents, do_sample=False, eos_token_id=[])
    assert [len(token_ids(model, each)) > 0 for each in generated] == [True, True]
    longest = max(range(2), key=lambda i: lengths[i])
    assert generated[longest][:4] == expanded[longest][:4]


def test_generate_takes_what_transformers_takes(uniform):
    latents = uniform.compress(TEXTS)
    beams = uniform.generate(latents, "Go on: ", num_beams=3, max_new_tokens=6, num_return_sequences=2)
    assert len(beams) == 6
    torch.manual_seed(0)
    assert len(uniform.generate(latents, ["a", "b", "c"], do_sample=True, top_p=0.9, max_new_tokens=6)) == 3
    output = uniform.generate(latents, "x", max_new_tokens=3, return_dict_in_generate=True, output_scores=True)
    assert output.sequences.shape[0] == 3 and len(output.scores) <= 3
    cached = uniform.generate(latents, "x", max_new_tokens=8, do_sample=False)
    assert cached == uniform.generate(latents, "x", max_new_tokens=8, do_sample=False, use_cache=False)
    ids = uniform.generate(latents[0], "x", max_new_tokens=8, do_sample=False, return_dict_in_generate=True).sequences[
        0
    ]
    stop = uniform.processor.decode(ids[:2])
    stopped = uniform.generate(latents[0], "x", max_new_tokens=8, do_sample=False, stop_strings=[stop])
    assert stopped.startswith(stop) and len(stopped) < len(cached[0])
    streamer = TextIteratorStreamer(uniform.processor.tokenizer, skip_special_tokens=True)
    text = uniform.generate(latents[0], "x", max_new_tokens=8, do_sample=False, streamer=streamer)
    assert "".join(streamer) == text == cached[0]


def test_generate_takes_numbers_whoever_made_them(uniform):
    latents = uniform.compress("x")

    def sampled(**options):
        torch.manual_seed(0)
        return uniform.generate(latents, "a", do_sample=True, **options)

    expected = sampled(temperature=0.5, top_k=5, max_new_tokens=4)
    for number in (np.float32, Fraction, torch.tensor):
        assert sampled(temperature=number(0.5), top_k=np.int64(5), max_new_tokens=torch.tensor(4)) == expected
    torch.manual_seed(0)
    options = {"temperature": np.float32(0.5), "top_k": np.int64(5), "max_new_tokens": 4}
    assert uniform.chat("x", "a", do_sample=True, **options) == expected.strip()
    for name in ("temperature", "max_new_tokens"):
        with pytest.raises(ValueError, match=f"{name} must be a number, not True"):
            uniform.generate(latents, "a", **{name: True})


def test_generate_batch_equals_single(model):
    latents = model.compress([LONG, *TEXTS])
    together = model.generate(latents, "Go on: ", max_new_tokens=8, do_sample=False)
    assert together == [model.generate(text, "Go on: ", max_new_tokens=8, do_sample=False) for text in latents]


def test_token_ids_fall_through_to_transformers(model):
    ids = torch.tensor([[5, 6, 7]])
    expected = model.decoder.generate(ids, max_new_tokens=5, do_sample=False)
    assert torch.equal(model.generate(ids, max_new_tokens=5, do_sample=False), expected)
    assert torch.equal(model.generate(input_ids=ids, max_new_tokens=5, do_sample=False), expected)


def test_ids_with_a_context_fall_through_too(model):
    batch = model.processor("one window", labels=False)
    ids = model.generate(**batch, max_new_tokens=5, do_sample=False)
    again = {name: each for name, each in batch.items() if not name.startswith("context_")}
    context = {name: each for name, each in batch.items() if name.startswith("context_")}
    latents = model.encode_context(**context)
    assert torch.equal(ids, model.generate(latents, **again, max_new_tokens=5, do_sample=False))


def test_bad_prompts(uniform):
    latents = uniform.compress(TEXTS)
    with pytest.raises(ValueError, match="There are 2 prompts for 3 texts"):
        uniform.generate(latents, ["a", "b"])
    with pytest.raises(ValueError, match="A prompt needs latents"):
        uniform.generate(torch.tensor([[5]]), "a")
    with pytest.raises(ValueError, match="need input_ids with their placeholders"):
        uniform.generate(torch.zeros(3, 32))


# -------------------------------------------------------------------------------------------- processor and provenance


def test_latents_of_another_model(make_model):
    one, other = make_model("uniform", seed=0), make_model("uniform", seed=1)
    latents = one.compress("text")
    with pytest.raises(LatentMismatchError, match="weights_fingerprint differ.*allow_mismatch=True"):
        other.expand(latents)
    with pytest.raises(LatentMismatchError):
        other.generate(latents, "x")
    assert isinstance(other.expand(latents, allow_mismatch=True), str)
    with pytest.raises(LatentMismatchError, match="config_fingerprint"):
        make_model("appended", seed=0).expand(latents)


def test_width_and_type_of_latents(make_model):
    with pytest.raises(ValueError, match="are 32 wide, but this model's decoder reads 48"):
        make_model("uniform", decoder_width=48).expand(make_model("uniform").compress("text"))
    with pytest.raises(TypeError, match="must be C3Latents, as compress returns them, not list"):
        make_model("uniform").expand([1, 2])


def test_fingerprint_follows_the_weights_and_not_the_dtype(make_model, tmp_path):
    model = make_model("uniform").to(torch.bfloat16)
    model.save_pretrained(tmp_path)
    before = model.latent_provenance()
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        loaded = C3Model.from_pretrained(tmp_path, dtype=dtype).latent_provenance()
        assert loaded.weights_fingerprint == before.weights_fingerprint, dtype
        assert loaded.config_fingerprint == before.config_fingerprint
    with torch.no_grad():
        model.projector.linear_1.weight.mul_(1.5)
    assert model.latent_provenance().weights_fingerprint != before.weights_fingerprint


def averaged(weight):
    weight.data = (weight.data + weight.data.roll(1, 0)) / 2


def in_a_row(weight):
    weight.data[3] += 1


def exchanged(weight):
    weight.data[[0, 1]] = weight.data[[1, 0]]


def as_numpy(weight):
    weight.detach().numpy()[2, 5] = 7


def under_inference_mode(weight):
    with torch.inference_mode():
        weight.data.neg_()


def with_other_storage(weight):
    with torch.no_grad():
        weight.set_(torch.randn_like(weight))


def exchanged_for_another(weight):
    torch.utils.swap_tensors(weight, torch.nn.Parameter(torch.randn_like(weight)))


@pytest.mark.parametrize(
    "change",
    [averaged, in_a_row, exchanged, as_numpy, under_inference_mode, with_other_storage, exchanged_for_another],
)
def test_fingerprint_follows_weights_however_they_are_written_to(change, make_model):
    """Averaging writes to `weight.data`, which torch counts no version of."""
    model = make_model()
    latents = model.compress("text")
    before = {name: each.clone() for name, each in model.state_dict().items()}
    change(model.encoder.layers[0].mlp.up_proj.weight)
    anew = fingerprint_tensors(dict(model.named_parameters()), _rounded)
    assert model.latent_provenance().weights_fingerprint == anew != latents.provenance.weights_fingerprint
    with pytest.raises(LatentMismatchError, match="weights_fingerprint differ"):
        model.expand(latents)
    model.load_state_dict(before, assign=True)
    assert model.latent_provenance() == latents.provenance


def test_provenance_follows_the_config(make_model):
    model = make_model()
    before = model.latent_provenance()
    model.config.prompt_template = "{latents}again: {prompt}"
    assert model.latent_provenance().config_fingerprint != before.config_fingerprint


def test_provenance_names_the_folder_and_not_its_path(make_model, tmp_path):
    make_model("uniform").save_pretrained(tmp_path / "my-c3")
    provenance = C3Model.from_pretrained(tmp_path / "my-c3").compress("text").provenance
    assert provenance.model_name == "my-c3" and str(tmp_path) not in repr(provenance)


def test_processor_is_loaded_from_the_models_folder(make_model, tmp_path):
    model = make_model("uniform")
    C3Model(model.config).save_pretrained(tmp_path / "bare")
    with pytest.raises(ValueError, match="No processor could be loaded from"):
        C3Model.from_pretrained(tmp_path / "bare").compress("text")
    model.save_pretrained(tmp_path / "whole")
    assert len(C3Model.from_pretrained(tmp_path / "whole").compress("text")) == 1


def test_processor_must_fit(make_model):
    with pytest.raises(ValueError, match="latent_position_layout is 'appended' but the model's is 'uniform'"):
        make_model("uniform").processor = make_model("appended").processor
