"""What generating takes: the arithmetic is what is counted. Run: pytest tests/eval/test_generation_costs.py"""

import pytest
from torch.utils.flop_counter import FlopCounterMode

from c3.chunked_rows_c3 import Chunking
from c3.decoder_rows_c3 import TextSegment
from c3.eval.generation_costs import cost_in_chunks, cost_of_plain, flops_of_encoding
from image_models import TOWERS, model_of
from tiny_models import LONG


@pytest.mark.parametrize("layout, sees", [("appended", True), ("uniform", False)])
def test_the_arithmetic_is_what_is_counted(layout, sees, make_model):
    """Every operation and every byte of a run after a prompt of one token; chunks of one window and of two."""
    model = make_model(layout, window=16, latents_see_chunk=sees, decoder_width=48, projector="mlp")
    model.set_attn_implementation("eager")  # whose products are counted
    prompt = next(chr(code) for code in range(97, 123) if len(model.processor.encode(chr(code))) == 1)
    for every, ratio, tokens in ((32, 8, 33), (8, 4, 18)):
        chunking = Chunking(model.processor, every, ratio)
        options = {"max_new_tokens": tokens, "do_sample": False, "eos_token_id": None}
        with FlopCounterMode(display=False) as counted:
            asked = {"compress_every": every, "ratio": ratio, "return_dict_in_generate": True}
            output = model.generate(None, prompt, **asked, **options)
        cost = cost_in_chunks(model, chunking, tokens)
        assert counted.get_total_flops() == cost.decoder_flops + cost.encoder_flops
        assert output.most_cache_bytes == cost.cache_bytes
    with FlopCounterMode(display=False) as counted:
        inputs = model.processor.decoder_inputs([[TextSegment(model.processor.encode(prompt))]])
        output = model.generate(inputs["input_ids"], return_dict_in_generate=True, use_cache=True, **options)
    cost = cost_of_plain(model, tokens)
    assert counted.get_total_flops() == cost.decoder_flops
    held = sum(each.nbytes for layer in output.past_key_values.layers for each in (layer.keys, layer.values))
    assert held == cost.cache_bytes


@pytest.mark.parametrize("tower", TOWERS)
@pytest.mark.parametrize("options", [{"projector": "mlp"}, {"tower_options": {"num_channels": 1, "patch_size": 24}}])
def test_the_arithmetic_of_a_vision_tower(tower, options, tokenizer):
    """Every operation on the pictures of two chunks: of whole rows of latents, of a shorter last row, of windows."""
    model = model_of(tokenizer, tower, **options)
    model.set_attn_implementation("eager")
    ids = model.processor.encode(LONG)
    for every, ratio in ((32, 2), (20, 4), (64, 8)):
        chunking = Chunking(model.processor, every, ratio)
        plan = chunking.plan(ids[:every])
        with FlopCounterMode(display=False) as counted:
            chunking.encode(model, [plan, plan])
        shapes = zip(plan.windows.lengths, plan.num_latents, strict=True)
        assert counted.get_total_flops() == 2 * sum(flops_of_encoding(model, *shape) for shape in shapes)
        if chunking.plan_of_chunk.num_latents == plan.num_latents:
            assert counted.get_total_flops() == cost_in_chunks(model, chunking, 2 * every + 1).encoder_flops
