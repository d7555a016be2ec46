"""What generating a text takes, by arithmetic from a model's shapes: with global compression and without it."""

from dataclasses import dataclass

from c3.cache_size_c3 import cache_bytes
from c3.context_picture_c3 import ContextPicture


@dataclass(frozen=True)
class GenerationCost:
    """
    Args:
        cache_bytes (`int`): of the decoder's keys and values, at their most.
        decoder_flops, encoder_flops (`int`): a multiplication and an addition counted as two; the projector's are the
            encoder's. Those of the encoder are None where they are not known, see `flops_of_encoding`.
    """

    cache_bytes: int
    decoder_flops: int
    encoder_flops: int | None = 0


def cost_of_plain(model, tokens):
    """The [`GenerationCost`] of so many tokens after a prompt of one, with a cache of them all."""
    config = model.config.decoder_config
    flops = sum(flops_of_reading(config, 1, number) for number in range(1, tokens + 1))
    return GenerationCost(cache_bytes(model, tokens), flops)


def cost_in_chunks(model, chunking, tokens):
    """
    The [`GenerationCost`] of the same with `generate(compress_every=…)`: a token sees the prompt, the latents before
    its chunk, and its chunk. The last token of a chunk is read with the latents, which are so many positions more.

    Args:
        model ([`C3Model`]): the model.
        chunking ([`Chunking`]): of what is generated.
        tokens (`int`): how many are generated; the last is not read.
    """
    config, every, latents = model.config.decoder_config, chunking.every, chunking.num_latents
    decoder, most, sees = flops_of_reading(config, 1, 1), 1, model.config.latents_see_chunk
    for number in range(1, tokens):
        chunk, within = divmod(number, every)
        if within:
            queries, keys = 1, 1 + chunk * latents + within
        else:
            keys = 1 + chunk * latents + (every if sees else 0)
            queries = latents + sees
        decoder += flops_of_reading(config, queries, keys)
        most = max(most, keys)
    plan = chunking.plan_of_chunk
    shapes = zip(plan.windows.lengths, plan.num_latents, strict=True)
    encoder = [flops_of_encoding(model, *shape) for shape in shapes]
    encoder = None if None in encoder else sum(encoder) * ((tokens - 1) // every)
    return GenerationCost(cache_bytes(model, most), decoder, encoder)


def flops_of_encoding(model, length, num_latents):
    """
    Those of one window of text and its latents, with the projector; without padding to other windows. None for a kind
    of context that is not c3's own (`docs/extending.md`): what its encoder reads of a text nobody here knows.
    """
    config, width = model.config, model.config.hidden_size
    projector = config.context_size * width + (width * width if config.projector == "mlp" else 0)
    if config.context_modality == "image":
        reading = flops_of_seeing(config.encoder_config, ContextPicture.of(config.context_picture), num_latents)
    elif config.context_modality == "text":
        positions = length + (num_latents if config.num_queries else 0)
        reading = flops_of_reading(config.encoder_config, positions, positions, with_logits=False)
    else:
        return None
    return reading + 2 * num_latents * projector


def flops_of_seeing(config, picture, num_latents):
    """
    Floating-point operations of one pass of a vision tower over the picture of so many latents, as SigLIP:

        2 n L (4 d^2 + 2 d f) + 4 n^2 L d + 2 n d c p^2

    for n patches of p x p pixels in c channels, L layers, width d and feed-forward width f. A picture has whole rows of
    latents, so that n is more than 2 x 2 patches of each where the last row is shorter.

    Args:
        config (`PreTrainedConfig`): of the tower.
        picture ([`ContextPicture`]): how windows are drawn.
        num_latents (`int`): of the window.
    """
    height, across = picture.size(num_latents)
    patches = (height // picture.patch_pixels) * (across // picture.patch_pixels)
    width, layers = config.hidden_size, config.num_hidden_layers
    layer = 4 * width**2 + 2 * width * config.intermediate_size + 2 * patches * width
    embedding = width * config.num_channels * picture.patch_pixels**2
    return 2 * patches * (layers * layer + embedding)


def flops_of_reading(config, queries, keys, with_logits=True):
    """
    Floating-point operations of one pass of a language model with rotary positions and gated layers, as Qwen and Llama:

        2 q L (2 d H h + 2 d G h + 3 d f) + 4 q k L H h + 2 d V

    for q positions that look at k, L layers, width d, H heads (G for keys) of width h, feed-forward width f, and
    vocabulary V, whose logits are computed for the last position. A causal mask saves nothing here. Norms, rotary
    embeddings and the softmax are left out.
    """
    heads = config.num_attention_heads
    head_width = getattr(config, "head_dim", None) or config.hidden_size // heads
    attention = 4 * queries * keys * config.num_hidden_layers * heads * head_width
    logits = 2 * config.hidden_size * config.vocab_size if with_logits else 0
    return queries * flops_of_matrices(config) + attention + logits


def flops_of_matrices(config):
    """Those of the layers' matrices for one position, see `flops_of_reading`."""
    width, heads = config.hidden_size, config.num_attention_heads
    head_width = getattr(config, "head_dim", None) or width // heads
    projections = 2 * width * head_width * (heads + config.num_key_value_heads)
    return 2 * config.num_hidden_layers * (projections + 3 * width * config.intermediate_size)
