"""`latents.cache_bytes`: what latents take in the decoder's cache. Run: pytest tests/test_cache_size.py"""

from types import SimpleNamespace

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from c3.benchmarks.cache_bytes import bytes_of_cache
from c3.cache_size_c3 import cache_bytes
from c3.window_decoding_c3 import prompt_embeds
from tiny_models import LONG, TEXTS, tiny_backbone

GPT2 = {"model_type": "gpt2", "vocab_size": 300, "n_embd": 24, "n_layer": 3, "n_head": 4}
LAYERS = ["sliding_attention", "full_attention"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    "config",
    [
        tiny_backbone("qwen3", 300),
        tiny_backbone("mistral", 300, sliding_window=7),
        tiny_backbone("gemma3_text", 300, sliding_window=7, layer_types=LAYERS),
        AutoConfig.for_model(**GPT2),
    ],
    ids=lambda config: config.model_type,
)
def test_caches_of_decoders(config, dtype):
    decoder = AutoModelForCausalLM.from_config(config, dtype=dtype)
    model = SimpleNamespace(decoder=decoder, config=SimpleNamespace(decoder_config=config))
    with torch.no_grad():
        for length in (3, 20):
            cache = decoder(torch.ones(1, length, dtype=torch.long), use_cache=True).past_key_values
            assert cache_bytes(model, length) == bytes_of_cache(cache) > 0
    assert cache_bytes(model, 0) == 0


def test_latents_of_several_windows_and_texts(model):
    latents = model.compress([LONG, TEXTS[1]])
    assert latents[0].num_windows > 3
    with torch.no_grad():
        for text in latents:
            inputs = prompt_embeds(model, [text.spans[0]], text.values)
            assert text.cache_bytes(model) == bytes_of_cache(model(**inputs, use_cache=True).past_key_values)
    assert latents.cache_bytes(model) == sum(text.cache_bytes(model) for text in latents)
    assert latents[:0].cache_bytes(model) == 0
