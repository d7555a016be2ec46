"""Contexts of text: positions, and mean pooling in all that a model does. Run: pytest tests/test_context_text.py"""

import pytest
import torch
from test_hub import TEXT, run_elsewhere
from transformers import AutoConfig

from c3 import C3Latents, C3Model, LatentMismatchError
from c3.checkpoint_c3 import FINGERPRINTED_FIELDS
from c3.context_text_c3 import context_positions, mean_pool
from c3.eval.baselines import METHODS
from c3.eval.harness import Example, Options
from c3.eval.page_data import Page, count_page
from c3.fingerprints_c3 import fingerprint_config
from c3.training.checks import RecipeError
from c3.training.run.stages import train
from tiny_models import LONG, TEXTS, history


@pytest.fixture(scope="module", params=["appended", "uniform"])
def model(request, make_model):
    return make_model(request.param, pooling="mean")


def test_positions_by_hand():
    """Padding, 4 tokens and 2 queries; and packed with 2 tokens and 1 query. Every window begins at 0."""
    windows = torch.tensor([[0, 0, 0, 1, 1, 1, 1, 1, 1], [3, 3, 3, 2, 2, 2, 2, 2, 2]])
    is_query = torch.tensor([[0, 0, 0, 0, 0, 0, 0, 1, 1], [0, 0, 1, 0, 0, 0, 0, 1, 1]]).bool()
    uniform = context_positions(is_query, windows, "uniform")
    assert uniform.tolist() == [[0, 0, 0, 0, 1, 2, 3, 0.5, 2.5], [0, 1, 0.5, 0, 1, 2, 3, 0.5, 2.5]]
    appended = context_positions(is_query, windows, "appended")
    assert appended.tolist() == [[0, 0, 0, 0, 1, 2, 3, 4, 5], [0, 1, 2, 0, 1, 2, 3, 4, 5]]
    assert (uniform.dtype, appended.dtype) == (torch.float, torch.long)


def test_stretches_by_hand():
    """5 tokens in 2 stretches of 2 and 3, 2 tokens in 3 latents, and none of the padding, which may hold anything."""
    states = torch.tensor([[float("nan"), 1, 2, 3, 4, 9], [float("inf"), 0, 0, 0, 5, 7]]).unsqueeze(-1)
    is_text = torch.tensor([[0, 1, 1, 1, 1, 1], [0, 0, 0, 0, 1, 1]]).bool()
    pooled = mean_pool(states, is_text, torch.tensor([2, 3]))
    torch.testing.assert_close(pooled, torch.tensor([1.5, 16 / 3, 5, 5, 7]).unsqueeze(-1))


def test_stretches_are_consecutive_and_nearly_equal():
    for length in range(1, 20):
        states = torch.eye(length).unsqueeze(0)
        for count in range(1, length + 1):
            shares = mean_pool(states, torch.ones(1, length).bool(), torch.tensor([count]))
            sizes = (shares > 0).sum(-1)
            assert sizes.sum() == length and sizes.max() - sizes.min() <= 1
            assert ((shares > 0).float().argmax(-1) == torch.cat([torch.zeros(1), sizes.cumsum(0)[:-1]])).all()
            torch.testing.assert_close(shares.sum(-1), torch.ones(count))


def test_latents_are_means_of_what_the_encoder_makes_of_the_text_alone(model):
    ids = model.processor.encode(TEXTS[0])[:24]
    with torch.no_grad():
        states = model.encoder(torch.tensor([ids])).last_hidden_state[0]
        wanted = model.projector(states.unflatten(0, (6, 4)).mean(1))
        # Beside windows with more and with fewer latents, so that placeholders stay in the batch.
        batch = model.processor.context_inputs([ids, ids[:5], ids], [6, 2, 8])
        together = model.encode_context(**batch)
        alone = model.encode_context(**model.processor.context_inputs([ids], [6]))
    torch.testing.assert_close(alone, wanted)
    torch.testing.assert_close(together[:6], wanted)


def test_placeholders_are_not_encoded(model, monkeypatch):
    lengths, forward = [], type(model.encoder).forward

    def counting(self, *args, **kwargs):
        lengths.append(kwargs["inputs_embeds"].shape[1])
        return forward(self, *args, **kwargs)

    monkeypatch.setattr(type(model.encoder), "forward", counting)
    model.encode_context(**model.processor.context_inputs([[5] * 12, [7] * 9], [3, 3]))
    assert lengths == [12]


def test_a_window_without_text_is_refused(model):
    with pytest.raises(ValueError, match="A window holds no text to take the mean of"):
        model.encode_context(**model.processor.context_inputs([[5, 6], []], [1, 1]))


def test_batches_change_neither_latents_nor_text(model):
    texts = [LONG, *TEXTS, "x"]
    whole = model.compress(texts, batch_size=100)
    alone = C3Latents.cat([model.compress(text, batch_size=1) for text in texts])
    torch.testing.assert_close(alone.values, whole.values)
    assert whole.num_windows > len(texts) and whole.text_tokens == sum(map(len, model.processor.encode(texts)))
    assert model.expand(whole, batch_size=100) == [model.expand(each, batch_size=1) for each in alone]


def test_latents_sit_where_the_layout_says(make_model):
    """The decoder's input is that of a model with queries."""
    for layout in ("appended", "uniform"):
        ours, theirs = (make_model(layout, pooling=pooling).processor(TEXTS) for pooling in ("mean", "queries"))
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_gradients_reach_every_parameter(model):
    """One without would stop training in several processes."""
    model.train()
    batch = model.processor(TEXTS)
    batch["input_ids"][:, -3] = model.config.mask_token_id
    model(**batch).loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
    model.zero_grad(set_to_none=True)
    model.eval()


def test_save_and_load(model, tmp_path):
    model.save_pretrained(tmp_path)
    loaded = C3Model.from_pretrained(tmp_path)
    assert loaded.config.pooling == "mean" and loaded.context_queries is None
    latents = model.compress(TEXTS)
    assert torch.equal(loaded.compress(TEXTS).values, latents.values)
    assert loaded.expand(latents) == model.expand(latents)


def test_as_remote_code(model, tmp_path):
    model.save_pretrained(tmp_path / "saved")
    latents = model.compress(TEXT)
    wanted = f"{latents.provenance.weights_fingerprint} {ascii(model.expand(latents))}"
    assert run_elsewhere(tmp_path, tmp_path / "saved") == wanted


def test_two_pretrained_models_and_two_tokenizers(tmp_path, checkpoint, make_model):
    parts = make_model("uniform")
    for name in ("encoder", "decoder"):
        getattr(parts, name).save_pretrained(tmp_path / name)
        parts.processor.tokenizer.save_pretrained(tmp_path / name)
    model = C3Model.from_encoder_decoder_pretrained(
        tmp_path / "encoder", tmp_path / "decoder", num_latents=4, window=16, pooling="mean"
    )
    assert model.context_queries is None
    assert model.compress(LONG).latent_lengths.tolist()[0] == 4


# Fingerprints


def test_the_fingerprint_is_what_it_was_without_the_field(make_model):
    """Latents and results from before there was a choice stay valid."""
    assert "pooling" not in FINGERPRINTED_FIELDS
    prints = {}
    for pooling in ("queries", "mean"):
        model = make_model(pooling=pooling)
        config = model.config.to_dict()
        plain = fingerprint_config({name: config[name] for name in FINGERPRINTED_FIELDS})
        prints[pooling] = model.latent_provenance().config_fingerprint
        assert (prints[pooling] == plain) is (pooling == "queries")
    assert prints["mean"] != prints["queries"]


def test_a_config_file_without_the_field(make_model, tmp_path):
    make_model().config.save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    text = file.read_text()
    file.write_text(text.replace('  "pooling": "queries",\n', ""))
    assert file.read_text() != text
    assert AutoConfig.from_pretrained(tmp_path).pooling == "queries"


def test_latents_of_the_other_kind_are_refused(make_model):
    queries, mean = make_model(), make_model(pooling="mean")
    with pytest.raises(LatentMismatchError, match="config_fingerprint"):
        mean.expand(queries.compress("a text"))


# Mistakes


@pytest.mark.parametrize(
    "options, message",
    [
        ({"pooling": "max"}, "pooling must be one of queries, mean, patches, not 'max'"),
        ({"pooling": None}, "pooling must be one of queries, mean, patches, not None"),
        (
            {"pooling": "mean", "context_template": "a{context}{queries}"},
            "pooling mean reads the text alone",
        ),
    ],
)
def test_bad_configs(options, message, make_model):
    with pytest.raises(ValueError, match=message):
        make_model(**options)


def test_a_model_without_queries_has_no_states_at_them(model):
    with pytest.raises(ValueError, match="no pooling 'queries'; it was trained with 'mean'"):
        model.encode_context(**model.processor.context_inputs([[5, 6]], [1]), pooling="queries")


# Training


def test_a_recipe_that_differs_in_one_key(load_training):
    recipe = load_training("mean_pooling", "model.pooling=mean")
    final = train(recipe)
    losses = history(final.parent)
    assert losses[max(losses)] < losses[1]
    model = C3Model.from_pretrained(final)
    assert model.config.pooling == "mean" and model.context_queries is None
    assert isinstance(model.expand(model.compress(LONG, ratio=4)), str)


@pytest.mark.parametrize("override", ["trainable=[queries]", "learning_rates={queries: 0.1}"])
def test_there_are_no_queries_to_train(override, load_training):
    with pytest.raises(RecipeError, match="a model with pooling: mean has no queries to train"):
        load_training("none", "model.pooling=mean", "optimizer={name: adamw}", override)


# The baseline


def baseline(model, texts):
    options = Options(window=32, batch_size=4, steps=1)
    pages = [count_page(Page(str(number), "", text), model, None, 32) for number, text in enumerate(texts)]
    examples = [Example(page, "", "", max(page.min_windows, page.own_tokens // 4)) for page in pages]
    return [METHODS[name](model, examples, options) for name in ("mean-pooling", "c3")]


def test_the_baseline_is_the_model_where_it_was_trained_with_means(model):
    if model.config.latent_position_layout == "uniform":
        ours, theirs = baseline(model, [LONG, *TEXTS])
        assert ours == theirs


def test_the_untrained_baseline_pools_the_states_of_the_text(make_model, monkeypatch):
    model = make_model("uniform")
    texts, values, expand = [LONG, *TEXTS], [], C3Model.expand

    def keep(self, latents, **kwargs):
        values.append(latents.values)
        return expand(self, latents, **kwargs)

    monkeypatch.setattr(C3Model, "expand", keep)
    ours, theirs = baseline(model, texts)
    assert [(each.latents, each.num_bytes) for each in ours] == [(each.latents, each.num_bytes) for each in theirs]
    pooled, queried = values
    assert pooled.shape == queried.shape and not torch.allclose(pooled, queried)
    # The first window by hand: with the same weights, a model that was trained with means makes the same.
    twin = make_model("uniform", pooling="mean")
    twin.encoder, twin.projector = model.encoder, model.projector
    torch.testing.assert_close(pooled[: len(twin.compress(LONG, ratio=4).values)], twin.compress(LONG, ratio=4).values)
