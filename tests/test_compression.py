"""compress: options, batches, texts that are left out, and files written meanwhile."""

from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
import torch

from c3 import C3Latents, C3Model, C3Processor, CompressionWarning
from c3.windows_c3 import TextWindows
from tiny_models import LONG, TEXTS, token_ids

BAD = [TEXTS[0], "", TEXTS[1], None, "a\ud800", LONG]


def test_batches_do_not_change_latents(model):
    texts = [LONG, *TEXTS]
    whole = model.compress(texts, batch_size=100)
    for batch_size in (1, 3):
        torch.testing.assert_close(model.compress(texts, batch_size=batch_size).values, whole.values)
    alone = C3Latents.cat([model.compress(text) for text in texts])
    torch.testing.assert_close(alone.values, whole.values)
    assert torch.equal(alone.latent_lengths, whole.latent_lengths)


def test_a_plan_is_what_compress_makes(model):
    for options in ({}, {"ratio": 5}, {"num_latents": 2, "window": 16}):
        latents = model.compress(LONG, **options)
        plan = model.plan_windows(LONG, **options)
        assert plan.spans == latents.spans[0] and plan.num_latents == latents.latent_lengths.tolist()
    with pytest.raises(ValueError, match="window=64 is above this model's window of 32 tokens"):
        model.plan_windows(LONG, window=64)


@pytest.mark.parametrize("two", [False, True])
def test_every_window_is_cut_once(two, make_model, tokenizer, monkeypatch):
    model, cuts, cut = make_model(), [], TextWindows.__getitem__
    if two:
        model.processor = C3Processor.from_config(model.config, tokenizer, tokenizer)
    monkeypatch.setattr(TextWindows, "__getitem__", lambda self, index: cuts.append((self, index)) or cut(self, index))
    latents = model.compress([LONG, *TEXTS], batch_size=3)
    assert len(cuts) == len(set(cuts)) == latents.num_windows


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
    tokens = len(token_ids(uniform.processor.tokenizer, LONG))
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


def test_a_megabyte(uniform):
    text = (LONG + "\n") * (1_000_000 // len(LONG.encode()))
    latents = uniform.compress(text, ratio=16, batch_size=256, show_progress=False, dtype="float32")
    ids = token_ids(uniform.processor.tokenizer, text)
    assert latents.text_tokens == len(ids) and latents.num_latents == int(len(ids) / 16)
    length, n = int(latents.text_lengths[-1]), int(latents.latent_lengths[-1])
    with torch.no_grad():
        last = uniform.encode_context(**uniform.processor.context_inputs([ids[-length:]], [n]))
    torch.testing.assert_close(latents.values[-n:], last)


def test_a_column_of_a_dataset_holds_latents(model):
    datasets = pytest.importorskip("datasets")
    rows = datasets.Dataset.from_dict({"text": TEXTS})

    def compress(batch):
        return {"latents": [each.to_bytes() for each in model.compress(batch["text"], show_progress=False)]}

    rows = rows.map(compress, batched=True, batch_size=2, new_fingerprint="latents")
    assert rows.features["latents"].dtype == "binary"
    latents = C3Latents.cat([C3Latents.from_bytes(each) for each in rows["latents"]])
    assert len(latents) == len(TEXTS) and model.expand(latents) == model.expand(model.compress(TEXTS))
