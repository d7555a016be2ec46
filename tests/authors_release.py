"""Checkpoints in the authors' layout made by hand of plain Qwen2 models, and the forward pass of the authors' code.

Nothing here is the package's: names, settings and the order of the inputs are written out once more.
"""

import json

import torch
from safetensors.torch import load_file, save_file
from transformers import Qwen2Config, Qwen2ForCausalLM

# As transformers 4.49 wrote them, with what is unset and what has other names today.
OLD_SETTINGS = {
    "attention_dropout": 0.0,
    "hidden_act": "silu",
    "initializer_range": 0.02,
    "max_position_embeddings": 512,
    "max_window_layers": 28,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-6,
    "rope_scaling": None,
    "rope_theta": 1000000.0,
    "sliding_window": 32768,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.49.0",
    "use_cache": True,
    "use_sliding_window": False,
}
ENCODER = {"hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 3, "num_attention_heads": 2}
DECODER = {"hidden_size": 40, "intermediate_size": 56, "num_hidden_layers": 2, "num_attention_heads": 4}


def write_release(folder, *, encoder=None, decoder=None, num_latents=6, heads=(), dtype=None, num_shards=1):
    """
    Writes a checkpoint of random weights.

    Args:
        folder (`Path`): to make.
        encoder, decoder (`dict`, *optional*): settings of `llm1/config.json` and of the root's config.json.
        num_latents (`int`): queries.
        heads: of `"llm1"` and `""` (the root) those whose `lm_head.weight` is in the file though it is tied.
        dtype: `(name) -> torch.dtype` of a tensor, by default float32.
        num_shards (`int`): files of weights, with an index if there is more than one.
    """
    encoder = OLD_SETTINGS | ENCODER | {"vocab_size": 340} | (encoder or {})
    decoder = OLD_SETTINGS | DECODER | {"vocab_size": 310} | (decoder or {})
    encoder |= {"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"]}
    ids = {name: decoder["vocab_size"] - i for i, name in ((3, "im_start_token"), (2, "im_end_token"))}
    remote = {"AutoConfig": "modeling_C3.C3Config", "AutoModel": "modeling_C3.C3QwenForCausalLM"}
    root = (
        decoder
        | ids
        | {
            "im_patch_token": decoder["vocab_size"] - 1,
            "architectures": ["C3QwenForCausalLM"],
            "auto_map": remote,
            "contexts_compression_llm_hidden_size": encoder["hidden_size"],
            "latent_token_len": num_latents,
            "model_type": "C3",
            "use_im_start_end": True,
        }
    )
    generator = torch.Generator().manual_seed(0)
    for part, settings in (("", root), ("llm1", encoder)):
        (folder / part).mkdir(parents=True, exist_ok=True)
        shapes = {name: tuple(each.shape) for name, each in plain_qwen2(settings).state_dict().items()}
        if settings["tie_word_embeddings"]:
            shapes.pop("lm_head.weight")
        if not part:
            width = settings["hidden_size"]
            shapes |= {
                "model.Q.weight": (num_latents, encoder["hidden_size"]),
                "model.mm_projector.weight": (width, encoder["hidden_size"]),
                "model.mm_projector.bias": (width,),
            }
        weights = {
            name: (torch.randn(shape, generator=generator) * 0.2 + (len(shape) == 1)).to(
                dtype(name) if dtype else torch.float32
            )
            for name, shape in shapes.items()
        }
        if part in heads:
            weights["lm_head.weight"] = weights["model.embed_tokens.weight"].clone()
        _write_weights(folder / part, weights, num_shards)
        (folder / part / "config.json").write_text(json.dumps(settings))


def plain_qwen2(settings):
    """A `Qwen2ForCausalLM` of a config.json as transformers 4.49 wrote it."""
    foreign = ("model_type", "architectures", "auto_map", "torch_dtype", "transformers_version")
    return Qwen2ForCausalLM(Qwen2Config(**{k: v for k, v in settings.items() if k not in foreign})).eval()


@torch.no_grad()
def run_as_the_authors(folder, text_ids, before, after, steps):
    """
    One context through the authors' forward pass, in float32 and without a cache.

    Args:
        folder (`Path`): in their layout.
        text_ids (`list[int]`): the context's text.
        before, after (`list[int]`): the decoder's ids around `<img>`, the latents and `</img>`.
        steps (`int`): tokens to choose, greedily.

    Returns: projected latents `(N, D_dec)`, the last logits of the prompt `(vocab,)`, the new ids `list[int]`, and
    `context_input_ids` and `input_ids` for our model, `list[int]`.
    """
    root = json.loads((folder / "config.json").read_text())
    start, end, patch = (root[name] for name in ("im_start_token", "im_end_token", "im_patch_token"))
    count = root["latent_token_len"]
    weights = read_weights(folder)
    encoder = _filled(plain_qwen2(json.loads((folder / "llm1/config.json").read_text())), read_weights(folder / "llm1"))
    queries, matrix, bias = (
        weights.pop(f"model.{name}").float() for name in ("Q.weight", "mm_projector.weight", "mm_projector.bias")
    )
    decoder = _filled(plain_qwen2(root), weights)

    embed = encoder.get_input_embeddings()
    embeds = torch.cat([embed(torch.tensor([*text_ids, start])), queries, embed(torch.tensor([end]))])
    states = encoder(inputs_embeds=embeds[None], output_hidden_states=True).hidden_states[-1][0]
    latents = torch.nn.functional.linear(states[len(text_ids) + 1 :][:count], matrix, bias)

    embed, new, first = decoder.get_input_embeddings(), [], None
    for _ in range(steps):
        embeds = [embed(torch.tensor([*before, start])), latents, embed(torch.tensor([end, *after, *new]))]
        logits = decoder(inputs_embeds=torch.cat(embeds)[None], use_cache=False).logits[0, -1]
        first = logits if first is None else first
        new.append(int(logits.argmax()))
    context_ids = [*text_ids, start, *[patch] * count, end]
    return latents, first, new, context_ids, [*before, start, *[patch] * count, end, *after]


def read_weights(folder):
    """All tensors of a folder, `dict[str, torch.Tensor]`."""
    return {name: each for path in sorted(folder.glob("*.safetensors")) for name, each in load_file(path).items()}


def _filled(model, weights):
    left_out = model.load_state_dict({name: each.float() for name, each in weights.items()}, strict=False)
    tied = ["lm_head.weight"] if model.config.tie_word_embeddings else []
    assert not left_out.unexpected_keys and not set(left_out.missing_keys) - set(tied)
    return model.float()


def _write_weights(folder, weights, num_shards):
    if num_shards == 1:
        save_file(weights, folder / "model.safetensors")
        return
    # Layers in an order of their own, so that no shard holds one part of the model alone.
    files = {name: f"model-{i % num_shards + 1:05}-of-{num_shards:05}.safetensors" for i, name in enumerate(weights)}
    for file in sorted(set(files.values())):
        save_file({name: each for name, each in weights.items() if files[name] == file}, folder / file)
    total = sum(each.numel() * each.element_size() for each in weights.values())
    index = {"metadata": {"total_size": total}, "weight_map": files}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


__all__ = ["read_weights", "run_as_the_authors", "write_release"]
