"""The encoder run in three ways: bare, as ours, and as the authors' code runs it."""

import torch
from transformers import Qwen2ForCausalLM, Qwen2Model

from c3 import C3Model

from .fresh_process import forget_peak_memory, peak_memory


def plain_ids(model, context):
    """As many ordinary token ids."""
    return context.masked_fill(context == model.config.query_token_id, 0)


def with_head(encoder):
    """A `Qwen2ForCausalLM` around an encoder, with its embeddings for a head and no weights of its own."""
    with torch.device("meta"):
        causal_lm = Qwen2ForCausalLM(encoder.config)
    causal_lm.model = encoder
    causal_lm.lm_head.weight = encoder.get_input_embeddings().weight
    return causal_lm.eval()


@torch.no_grad()
def encoder_memory(variant, folder, config, text_tokens, dtype):
    """
    Peak memory of running the encoder alone once, after it was loaded.

    Args:
        variant (`str`): one of `VARIANTS`.
        folder (`Path`): of the encoder.
        config ([`C3Config`]): of the whole model.
        text_tokens (`int`): in the context.
        dtype (`str`): that it computes in.
    """
    class_, run = VARIANTS[variant]
    encoder = class_.from_pretrained(folder, dtype=dtype).eval()
    with torch.device("meta"):
        # What it never runs holds no memory.
        decoder = Qwen2ForCausalLM(config.decoder_config)
    backbone = getattr(encoder, "model", encoder)
    model = C3Model(config, encoder=backbone, decoder=decoder).eval()
    for part in (model.context_queries, model.projector):
        part.to(backbone.dtype)
    context = torch.full((1, text_tokens + config.num_latents + 2), 1)
    context[:, -config.num_latents - 1 : -1] = config.query_token_id
    # In another dtype than that of the files loading takes more.
    forget_peak_memory()
    run(encoder, model, context)
    return peak_memory()


def as_the_authors(causal_lm, model, context):
    """
    Their encoder: embeddings with the queries in them through a causal LM, whose logits at all positions, hidden states
    of all layers and cache are made and kept (`modeling_C3.py` of their release).
    """
    is_query = (context == model.config.query_token_id)[..., None]
    embeds = causal_lm.get_input_embeddings()(context)
    embeds = embeds.masked_scatter(is_query, model.context_queries.weight.to(embeds.dtype))
    return causal_lm(inputs_embeds=embeds, output_hidden_states=True, use_cache=True)


VARIANTS = {
    "bare": (
        Qwen2Model,
        lambda encoder, model, context: encoder(input_ids=plain_ids(model, context), use_cache=False),
    ),
    "ours": (Qwen2Model, lambda encoder, model, context: model.encode_context(context)),
    "authors": (Qwen2ForCausalLM, as_the_authors),
}
