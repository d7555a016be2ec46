"""The seam for kinds of context: a kind that reads bytes goes through all that a model does."""

import pytest
import torch
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

from c3 import C3Model, C3Processor, LatentMismatchError
from c3.context_c3 import ContextModality
from c3.context_modalities_c3 import CONTEXT_MODALITIES, context_modality
from c3.context_text_c3 import TextContext
from c3.decoder_rows_c3 import pad_left
from c3.reencoding_c3 import MOST_DISTANCE, latent_distances
from image_models import PixelsContext
from tiny_models import LONG, TEXTS, tiny_backbone

QUERY = 256  # the first id that is no byte


class BytesContext(ContextModality):
    """The encoder reads the bytes of a window's text, and behind them queries, which share one embedding."""

    def from_text(self, processor, text):
        return list(text.encode())

    def inputs(self, processor, contexts, num_latents, pack=False):
        rows = [[*context, *[QUERY] * n] for context, n in zip(contexts, num_latents, strict=True)]
        return {"context_bytes": pad_left(rows), "context_mask": pad_left([[1] * len(row) for row in rows])}

    def states(self, model, context_bytes, context_mask):
        states = model.encoder(input_ids=context_bytes, attention_mask=context_mask).last_hidden_state
        return states[context_bytes == QUERY]


@pytest.fixture(params=["appended", "uniform"])
def model(request, make_model, monkeypatch):
    """A model that reads bytes, of either layout."""
    monkeypatch.setitem(CONTEXT_MODALITIES, "bytes", BytesContext())
    return make_model(request.param, context_modality="bytes")


def test_windows_are_read_as_bytes_and_counted_in_tokens(model):
    """Cut between characters, 👍 is four tokens, and a latent stands for tokens of the decoder's tokenizer."""
    text = LONG + "👍" * 9
    windows = model.processor.split(text, 6)
    assert b"".join(bytes(window.context) for window in windows).decode() == text
    assert all(bytes(window.context).decode() == model.processor.decode(window.text_ids) for window in windows)
    assert [i for window in windows for i in window.text_ids] == model.processor.encode(text)
    latents = model.compress(text, ratio=4)
    assert latents.text_tokens == len(model.processor.encode(text)) != len(text.encode())
    assert latents.num_latents == latents.text_tokens // 4 and latents.text_lengths.max() <= model.config.window


def test_compress_expand_and_generate(model):
    texts = [LONG, *TEXTS]
    latents = model.compress(texts)
    for batch_size in (1, 100):
        torch.testing.assert_close(model.compress(texts, batch_size=batch_size).values, latents.values)
    assert model.expand(latents) == [model.expand(each) for each in latents]
    assert isinstance(model.expand(model.compress("a text")), str)
    assert len(model.generate(latents, "Go on: ", max_new_tokens=2)) == len(texts)
    # By hand: the first window's bytes and queries alone.
    window, n = model.processor.split(TEXTS[1])[0], int(latents[2].latent_lengths[0])
    with torch.no_grad():
        ids = torch.tensor([[*window.context, *[QUERY] * n]])
        states = model.encoder(input_ids=ids).last_hidden_state[0, -n:]
        expected = model.projector(states)
    torch.testing.assert_close(latents[2].windows()[0], expected.bfloat16())


def test_what_came_back_is_read_as_the_text_was(model):
    """So that it is found to be right or wrong, whatever the encoder reads."""
    text = LONG + "👍" * 9
    latents = model.compress(text, ratio=4)
    windows = [window.text_ids for window in model.processor.plan(text, ratio=4).windows]
    found = latent_distances(model, windows, latents.spans[0], latents.windows(), 8)
    assert max(found) < MOST_DISTANCE / 2
    others = [windows[-1], *windows[:-1]]
    assert min(latent_distances(model, others, latents.spans[0], latents.windows(), 8)) > MOST_DISTANCE
    assert len(model.expand(latents, check=True).lost_windows) == latents.num_windows


def test_a_batch_with_labels_gives_a_loss_and_gradients(model):
    batch = model.processor(TEXTS)
    assert {name for name in batch if name.startswith("context_")} == {"context_bytes", "context_mask"}
    output = model(**batch)
    expected = model.compress(TEXTS, dtype="float32").values
    torch.testing.assert_close(output.latents, expected, rtol=1e-4, atol=1e-5)
    output.loss.backward()
    assert all(each.grad.abs().sum() > 0 for each in (*model.encoder.parameters(), *model.projector.parameters()))
    model.zero_grad()


def test_saved_and_loaded(model, tmp_path):
    model.save_pretrained(tmp_path)
    loaded = C3Model.from_pretrained(tmp_path)
    assert loaded.config.context_modality == loaded.processor.context_modality == "bytes"
    latents = model.compress(TEXTS)
    assert torch.equal(loaded.compress(TEXTS).values, latents.values)
    assert loaded.expand(latents) == model.expand(latents)


def test_latents_of_another_kind_are_another_models(model, make_model):
    text = make_model(model.config.latent_position_layout)
    with pytest.raises(LatentMismatchError, match="config_fingerprint"):
        text.expand(model.compress("a text"))


def test_windows_are_not_packed_unless_the_kind_says_so(model, make_model):
    assert not model.takes_packed_windows and make_model().takes_packed_windows


@pytest.mark.parametrize("model", ["appended"], indirect=True)
def test_chat_reads_what_the_kind_of_context_reads(model):
    """In windows, since what there is room for is known of text alone."""
    answer = model.generate(model.compress("a text"), "Go on: ", max_new_tokens=2, do_sample=False)
    assert model.chat("a text", "Go on: ", max_new_tokens=2) == answer.strip()


@pytest.mark.parametrize("model", ["appended"], indirect=True)
def test_chat_of_a_kind_with_a_tokenizer_gives_it_the_text_at_once(model, monkeypatch):
    monkeypatch.setattr(BytesContext, "has_tokenizer", True)
    text = "a text 👍"
    latents = model.encode_windows([list(text.encode())], [model.config.num_latents])
    monkeypatch.setattr(model, "_answer", lambda rows, values, *rest, **options: [str(torch.equal(values, latents))])
    assert model.chat(text, "Go on: ") == "True"


@pytest.mark.parametrize("pooling", ["mean", "queries"])
@pytest.mark.parametrize("encoder", ["vit", "dinov2", "siglip_vision_model"])
def test_any_vision_tower_and_a_language_model_make_a_pair(encoder, pooling, tokenizer, tmp_path, monkeypatch):
    """What takes in the patches is a matrix in some, a module around one in others."""
    monkeypatch.setitem(CONTEXT_MODALITIES, "pixels", PixelsContext())
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 16, "patch_size": 4}
    AutoModel.from_config(AutoConfig.for_model(encoder, **sizes)).save_pretrained(tmp_path / "encoder")
    decoder = AutoModelForCausalLM.from_config(tiny_backbone("qwen3", len(tokenizer)))
    decoder.save_pretrained(tmp_path / "decoder")
    tokenizer.save_pretrained(tmp_path / "decoder")
    folders, sizes = (tmp_path / "encoder", tmp_path / "decoder"), {"num_latents": 4, "window": 16}
    model = C3Model.from_encoder_decoder_pretrained(*folders, context_modality="pixels", pooling=pooling, **sizes)
    latents = model.compress(TEXTS)
    assert latents.num_latents == 4 * latents.num_windows
    model.save_pretrained(tmp_path / "pair")
    loaded = C3Model.from_pretrained(tmp_path / "pair")
    assert loaded.expand(latents) == model.expand(latents)


# Mistakes


def test_misspelt_inputs_are_refused_with_the_names_there_are(model):
    batch = model.processor(TEXTS[0])
    names = "input_ids, .*labels, .*context_bytes, context_mask"
    for name in ("context_bites", "context_input_ids"):  # the second is another kind's
        misspelt = dict(batch)
        misspelt[name] = misspelt.pop("context_bytes")
        with pytest.raises(TypeError, match=f"C3Model.forward takes no {name}; it takes {names}"):
            model(**misspelt)
        with pytest.raises(TypeError, match=name):
            model.encode_context(**{name: batch["context_bytes"]})


def test_a_kind_that_there_is_not(make_model):
    assert isinstance(context_modality("text"), TextContext)
    with pytest.raises(ValueError, match="context_modality must be one of text, image, not 'picture'"):
        context_modality("picture")
    with pytest.raises(ValueError, match="context_modality must be one of text, image, not 'picture'"):
        make_model(context_modality="picture")  # by its processor
    model = make_model()
    model.config.context_modality = "picture"
    with pytest.raises(ValueError, match="context_modality must be one of text, image, not 'picture'"):
        C3Processor.from_config(model.config, model.processor.tokenizer)
    with pytest.raises(ValueError, match="context_modality must be one of text, image, not 'picture'"):
        model(**model.processor(TEXTS[0]))


def test_no_model_is_made_of_a_kind_that_there_is_not(make_model):
    config = make_model().config
    config.context_modality = "picture"
    with pytest.raises(ValueError, match="context_modality must be one of text, image, not 'picture'"):
        C3Model(config)
