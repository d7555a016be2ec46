"""C3Model: the paper's arithmetic, and the same results however the work is arranged."""

import pytest
import torch
from transformers import AutoModelForCausalLM

from c3 import C3Model
from c3.decoder_rows_c3 import LatentSpan
from c3.training.data.tokenizer import train_tokenizer
from tiny_models import TEXTS, tiny_backbone

LAYOUTS = ("appended", "uniform")


def run(model, texts, **kwargs):
    with torch.no_grad():
        return model(**model.processor(texts, **kwargs))


def test_appended_layout_is_the_papers_arithmetic(make_model):
    """Text, then queries, through the encoder; projected states, prompt and text through the decoder."""
    model = make_model("appended", decoder_width=48)
    text_ids = model.processor.split(TEXTS[0], 32)[0].text_ids
    prompt_ids = model.processor._encode(model.processor.tokenizer, model.config.reconstruction_prompt)
    with torch.no_grad():
        text = model.encoder.get_input_embeddings()(torch.tensor([text_ids]))
        encoder_input = torch.cat([text, model.context_queries.weight[None]], dim=1)
        states = model.encoder(inputs_embeds=encoder_input).last_hidden_state[0, -8:]
        latents = states @ model.projector.linear_1.weight.T + model.projector.linear_1.bias
        following = model.decoder.get_input_embeddings()(torch.tensor([prompt_ids + text_ids]))
        logits = model.decoder(inputs_embeds=torch.cat([latents[None], following], dim=1)).logits
    decoded = model.processor.decode(text_ids)
    output = run(model, decoded)
    torch.testing.assert_close(output.latents, latents)
    torch.testing.assert_close(output.logits, logits)
    start = 8 + len(prompt_ids)
    loss = torch.nn.functional.cross_entropy(logits[0, start - 1 : -1], torch.tensor(text_ids))
    torch.testing.assert_close(output.loss, loss)


def test_uniform_positions_by_hand(make_model):
    """Two windows of 4 and 2 tokens with 2 and 1 latents: (i + 0.5) * L / N - 0.5, offset by the tokens before."""
    processor = make_model("uniform").processor
    processor.prompt_positions = "among_text"
    batch = processor.decoder_inputs([processor.row([LatentSpan(2, 4), LatentSpan(1, 2)], "ab")])
    num_prompt = batch["input_ids"].shape[1] - 3
    assert batch["position_ids"][0].tolist() == [0.5, 2.5, 4.5, *range(6, 6 + num_prompt)]
    replay = processor.decoder_inputs([processor.row([LatentSpan(2, 4)], target=[5, 6, 7, 8])])
    replay = replay["position_ids"][0].tolist()
    assert replay[:2] == [0.5, 2.5] and replay[-5:] == [-1.0, 0.0, 1.0, 2.0, 3.0]


def test_padding_and_batch_do_not_change_logits(model):
    together = run(model, TEXTS)
    batch = model.processor(TEXTS)
    for row, text in enumerate(TEXTS):
        alone = run(model, text)
        length = alone.logits.shape[1]
        assert int(batch["attention_mask"][row].sum()) == length
        torch.testing.assert_close(together.logits[row, -length:], alone.logits[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_eager_and_sdpa_agree(layout, make_model):
    outputs = []
    for implementation in ("eager", "sdpa"):
        model = make_model(layout)
        model.set_attn_implementation(implementation)
        assert model.encoder.config._attn_implementation == implementation
        outputs.append(run(model, TEXTS))
    kept = make_model(layout).processor(TEXTS)["attention_mask"].bool()
    torch.testing.assert_close(outputs[0].logits[kept], outputs[1].logits[kept], rtol=1e-4, atol=1e-5)


def test_latents_given_equal_latents_encoded(model):
    batch = model.processor(TEXTS)
    context = {name: batch.pop(name) for name in list(batch) if name.startswith("context_")}
    with torch.no_grad():
        encoded = model(**batch, **context)
        given = model(**batch, latents=model.encode_context(**context))
    assert torch.equal(encoded.logits, given.logits)


def test_several_latent_spans_with_text_between(make_model):
    """Two windows interleaved with text equal the embeddings put together by hand."""
    model = make_model("appended")
    placeholder = [model.config.latent_token_id] * 8
    ids = torch.tensor([[5, 6] + placeholder + [7] + placeholder + [8, 9]])
    latents = torch.randn(2, 8, 32)
    with torch.no_grad():
        output = model(input_ids=ids, latents=latents).logits
        table = model.get_input_embeddings().weight
        rows = [table[[5, 6]], latents[0], table[[7]], latents[1], table[[8, 9]]]
        expected = model.decoder(inputs_embeds=torch.cat(rows)[None]).logits
    torch.testing.assert_close(output, expected)


def test_mask_embedding_replaces_hidden_tokens(make_model):
    model = make_model("appended")
    ids = torch.tensor([[5, model.config.mask_token_id, 7]])
    with torch.no_grad():
        embeds = model.embed_prompt(ids)
    assert torch.equal(embeds[0, 1], model.mask_embedding.weight[0])


def test_gradients_reach_every_part(model):
    model.train()
    batch = model.processor(TEXTS)
    batch["input_ids"][0, -2] = model.config.mask_token_id
    model(**batch).loss.backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())
    model.zero_grad()
    model.eval()


def test_gradient_checkpointing_gives_the_same_gradients(make_model):
    gradients = []
    for checkpointing in (False, True):
        model = make_model("uniform").train()
        if checkpointing:
            model.gradient_checkpointing_enable()
            assert model.encoder.is_gradient_checkpointing and model.decoder.is_gradient_checkpointing
        model(**model.processor(TEXTS)).loss.backward()
        gradients.append(model.context_queries.weight.grad)
    torch.testing.assert_close(*gradients)


def test_encoder_has_no_language_model_head(model):
    assert model.encoder.get_output_embeddings() is None
    assert not any("lm_head" in name for name, _ in model.encoder.named_parameters())


def test_logits_to_keep(model):
    batch = model.processor(TEXTS[0])
    kept = int((batch["labels"] != -100).sum()) + 1
    with torch.no_grad():
        whole, last = model(**batch), model(**batch, logits_to_keep=kept)
    torch.testing.assert_close(last.logits, whole.logits[:, -kept:])
    torch.testing.assert_close(last.loss, whole.loss)
    with pytest.raises(ValueError, match="leaves out positions that have labels"):
        model(**batch, logits_to_keep=kept - 1)


def test_num_items_in_batch_scales_the_loss(model):
    batch = model.processor(TEXTS[0])
    count = int((batch["labels"] != -100).sum())
    with torch.no_grad():
        mean, scaled = model(**batch).loss, model(**batch, num_items_in_batch=2 * count).loss
    torch.testing.assert_close(scaled, mean / 2)


def test_inputs_that_do_not_fit(model):
    batch = model.processor(TEXTS[0], labels=False)
    latents = torch.zeros(3, 32)
    with pytest.raises(ValueError, match="exactly one of input_ids and inputs_embeds"):
        model()
    with pytest.raises(ValueError, match="context_input_ids or latents, not both"):
        model(**batch, latents=latents)
    with pytest.raises(ValueError, match="not inputs_embeds, with them"):
        model(inputs_embeds=torch.zeros(1, 3, 32), latents=latents)
    with pytest.raises(ValueError, match="hold 0 latent placeholders for 3 latents"):
        model(input_ids=torch.tensor([[5, 6]]), position_ids=torch.tensor([[0, 1]]), latents=latents)
    with pytest.raises(ValueError, match="latents are 31 wide, but this model's decoder reads 32"):
        model(input_ids=torch.tensor([[5, 6]]), latents=torch.zeros(3, 31))


def test_unknown_keywords_are_refused(model):
    """A misspelt input is not one that is left out; what transformers and its trainers pass is taken."""
    batch = model.processor(TEXTS[0])
    shared = {"num_items_in_batch": None, "output_hidden_states": True, "output_attentions": None}
    shared |= {"cache_position": None, "is_causal": None, "use_cache": False, "logits_to_keep": 0, "return_dict": None}
    with torch.no_grad():
        output = model(**batch, **shared)
        assert len(output.hidden_states) == 3
        assert torch.equal(model(**batch, return_dict=False)[0], output.loss)
    for name in ("context_input_ids", "labels"):
        misspelt = dict(batch)
        misspelt[f"{name}_"] = misspelt.pop(name)
        with pytest.raises(TypeError, match=f"takes no {name}_; it takes input_ids, .*{name}"):
            model(**misspelt)
    with pytest.raises(TypeError, match="takes no latent, length; it takes"):
        model(latent=None, length=3, **batch)


def test_uniform_layout_asks_for_positions(make_model):
    model = make_model("uniform")
    with pytest.raises(ValueError, match="needs position_ids for latents"):
        model(input_ids=torch.tensor([[model.config.latent_token_id]]), latents=torch.zeros(1, 32))


def test_appended_layout_has_as_many_queries_as_were_trained(make_model):
    model = make_model("appended")
    ids = torch.tensor([[5] + [model.config.query_token_id] * 9])
    with pytest.raises(ValueError, match="holds 9 queries, but this model was trained with 8"):
        model.encode_context(ids)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_load(dtype, make_model, tmp_path):
    make_model("uniform").save_pretrained(tmp_path)
    model = C3Model.from_pretrained(tmp_path, dtype=dtype)
    assert {p.dtype for p in model.parameters()} == {dtype}
    model.processor = make_model("uniform").processor
    assert run(model, TEXTS).logits.dtype == dtype


def test_device_map_auto(make_model, tmp_path):
    pytest.importorskip("accelerate")
    source = make_model("uniform")
    source.save_pretrained(tmp_path)
    model = C3Model.from_pretrained(tmp_path, device_map="auto", dtype=torch.float32)
    model.processor = source.processor
    torch.testing.assert_close(run(model, TEXTS[:1]).logits.cpu(), run(source, TEXTS[:1]).logits, rtol=1e-4, atol=1e-4)


def test_tied_embeddings_are_shared_after_save_and_load(make_model, tmp_path):
    model = make_model("uniform", tie_word_embeddings=True)
    assert model.encoder.get_input_embeddings().weight is model.get_input_embeddings().weight
    model.save_pretrained(tmp_path)
    loaded, report = C3Model.from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    assert loaded.encoder.get_input_embeddings().weight is loaded.get_input_embeddings().weight
    for name, parameter in model.state_dict().items():
        assert torch.equal(parameter, loaded.state_dict()[name]), name


@pytest.mark.parametrize("encoder,decoder", [("qwen2", "llama"), ("llama", "qwen3"), ("qwen3", "qwen2")])
def test_starts_from_two_pretrained_models(encoder, decoder, tmp_path, tokenizer):
    """Different architectures, widths, vocabularies and tokenizers; the backbones keep their weights."""
    other = train_tokenizer(TEXTS, vocab_size=280)
    for folder, kind, chosen, width in ((tmp_path / "e", encoder, other, 32), (tmp_path / "d", decoder, tokenizer, 48)):
        AutoModelForCausalLM.from_config(tiny_backbone(kind, len(chosen), hidden_size=width)).save_pretrained(folder)
        chosen.save_pretrained(folder)
    model = C3Model.from_encoder_decoder_pretrained(
        tmp_path / "e", tmp_path / "d", num_latents=4, window=16, latent_position_layout="uniform", dtype=torch.float32
    )
    source = AutoModelForCausalLM.from_pretrained(tmp_path / "e", dtype=torch.float32)
    for name, parameter in source.base_model.state_dict().items():
        assert torch.equal(parameter, model.encoder.state_dict()[name]), name
    queries, table = model.context_queries.weight, source.get_input_embeddings().weight
    assert 0.5 < queries.std() / table.std() < 2
    assert model.processor.context_tokenizer is not None
    latents = model.compress(TEXTS)
    assert latents.hidden_size == 48 and len(model.expand(latents)) == 3
    model.save_pretrained(tmp_path / "c3")
    loaded = C3Model.from_pretrained(tmp_path / "c3")
    assert torch.equal(loaded.compress(TEXTS).values, latents.values)


def test_one_tokenizer_for_both_is_kept_once(tmp_path, tokenizer):
    AutoModelForCausalLM.from_config(tiny_backbone("qwen2", len(tokenizer))).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    model = C3Model.from_encoder_decoder_pretrained(tmp_path, tmp_path, num_latents=4, window=16)
    assert model.processor.context_tokenizer is None


def test_models_without_tokenizers_start_without_a_processor(tmp_path, tokenizer):
    AutoModelForCausalLM.from_config(tiny_backbone("qwen2", len(tokenizer))).save_pretrained(tmp_path)
    model = C3Model.from_encoder_decoder_pretrained(tmp_path, tmp_path, num_latents=4, window=16)
    with pytest.raises(ValueError, match="assign model.processor"):
        model.compress("text")
