"""Random models in the authors' terms, and files in their layout."""

import base64
import json

import torch
from transformers.convert_slow_tokenizer import bytes_to_unicode

from c3 import C3Config, C3Model
from c3.convert.authors_tokenizer import SPECIAL_TOKENS
from c3.convert.tensor_files import list_tensors

SYSTEM = "You should follow the instructions carefully and explain your answers in detail."
BEFORE = f"<|im_start|>system\n{SYSTEM}<|im_end|><|im_start|>user\n<img>"
AFTER = "</img>\nRepeat the text: <|im_end|><|im_start|>assistant\n"
WRAPPING = {"im_start_token": "<img>", "im_end_token": "</img>", "im_patch_token": "<imgpad>"}
TOLERANCE = 1e-4
BYTE = {character: value for value, character in bytes_to_unicode().items()}


def to_bytes(token):
    return bytes(BYTE[character] for character in token)


def write_tiktoken(ranks, folder):
    lines = [b"%s %d" % (base64.b64encode(token), rank) for token, rank in ranks.items()]
    (folder / "qwen.tiktoken").write_bytes(b"\n".join(lines) + b"\n")


def random_model(num_ranks, seed=0, **options):
    """A random C3 in the authors' terms: two untied Qwen2 of other widths and vocabularies, rope theta 1e6."""
    torch.manual_seed(seed)
    ids = {name: num_ranks + SPECIAL_TOKENS.index(token) for name, token in WRAPPING.items()}
    shared = {
        "model_type": "qwen2",
        "num_key_value_heads": 2,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6},
        "max_position_embeddings": 512,
        "tie_word_embeddings": False,
    }
    encoder = dict(hidden_size=24, intermediate_size=40, num_hidden_layers=3, num_attention_heads=2)
    decoder = dict(hidden_size=40, intermediate_size=56, num_hidden_layers=2, num_attention_heads=4)
    config = C3Config(
        encoder_config=shared | encoder | {"vocab_size": num_ranks + 240} | options.pop("encoder", {}),
        decoder_config=shared | decoder | {"vocab_size": num_ranks + 217} | ids | options.pop("decoder", {}),
        num_latents=6,
        window=64,
        reconstruction_prompt="Repeat the text: ",
        prompt_template=BEFORE + "{latents}</img>\n{prompt}<|im_end|><|im_start|>assistant\n",
        context_template="{context}<img>{queries}</img>",
        query_token_id=ids["im_patch_token"],
        latent_token_id=ids["im_patch_token"],
        # Larger than usual, so that outputs depend on the text and equality tests can fail.
        initializer_range=0.3,
        **options,
    )
    model = C3Model(config).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, mean=float(parameter.ndim == 1), std=0.2)
    return model


def tensors(folder):
    return {name: tensor.read() for name, tensor in list_tensors(folder).items()}


def edit_json(path, **fields):
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def equal(left, right):
    return left.keys() == right.keys() and all(
        left[name].dtype == right[name].dtype
        and torch.equal(left[name].view(torch.uint8), right[name].view(torch.uint8))
        for name in left
    )
