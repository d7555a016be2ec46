"""Tokenizers that do not give a text back: said when a pair is made, and before it is trained."""

import json
import warnings

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from c3 import C3Model, C3Processor, CompressionWarning
from c3.training.data.tokenizer import train_tokenizer
from c3.training.run.build import build
from c3.training.run.dry_run import dry_run
from tiny_models import TEXTS, tiny_backbone


def word_level():
    backend = Tokenizer(models.WordLevel({"[UNK]": 0, "two": 1, "three": 2}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="[UNK]", pad_token="[UNK]", eos_token="[UNK]")


def changed(part, value):
    """Our byte-level tokenizer with another part, as when it is loaded under a class that brings its own."""
    backend = train_tokenizer(TEXTS, vocab_size=280).backend_tokenizer
    setattr(backend, part, value)
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|endoftext|>", pad_token="<|endoftext|>")


LOSSY = {
    "word-level": (word_level, r"'two  spaces,   three' becomes 'two three'\. Lost: repeated spaces, .*emoji"),
    "lower-casing": (
        lambda: changed("normalizer", normalizers.Lowercase()),
        r"'Capital LETTERS' becomes 'capital letters'\. Lost: capital letters\. A byte",
    ),
    "without accents": (
        lambda: changed("normalizer", normalizers.Sequence([normalizers.NFD(), normalizers.StripAccents()])),
        "'naïve café' becomes 'naive cafe'",
    ),
    "dropping spaces": (
        lambda: changed("decoder", decoders.Sequence([decoders.ByteLevel(), decoders.Strip(" ", 1, 0)])),
        r"' word ' becomes 'word '\. Lost: spaces at the ends",
    ),
}


@pytest.mark.parametrize("make,message", LOSSY.values(), ids=LOSSY)
@pytest.mark.parametrize("part", ["decoder", "encoder"])
def test_said_when_a_processor_is_made(part, make, message, make_model, tokenizer):
    config, lossy = make_model().config, make()
    tokenizers = (lossy,) if part == "decoder" else (tokenizer, lossy)
    with pytest.warns(CompressionWarning, match=f"The {part}'s tokenizer does not give texts back .*: {message}"):
        C3Processor.from_config(config, *tokenizers)


def test_nothing_is_said_of_one_that_gives_texts_back(make_model, tokenizer):
    composing = changed("normalizer", normalizers.NFC())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        C3Processor.from_config(make_model().config, composing, tokenizer)


def test_said_when_a_pair_is_made_and_before_it_is_trained(load_training, tmp_path):
    lossy = changed("normalizer", normalizers.Lowercase())
    AutoModelForCausalLM.from_config(tiny_backbone("qwen3", len(lossy))).save_pretrained(tmp_path / "pair")
    lossy.save_pretrained(tmp_path / "pair")
    pair = {"encoder": str(tmp_path / "pair"), "decoder": str(tmp_path / "pair")}
    pair |= {"num_latents": 8, "window": 32, "latent_position_layout": "uniform"}
    with pytest.warns(CompressionWarning, match="'Capital LETTERS' becomes"):
        model = C3Model.from_encoder_decoder_pretrained(**pair)
    model.save_pretrained(tmp_path / "c3")
    elsewhere = ["model={}", "tokenizer=null", "dropout_windows=0"]
    starts = [f"init_from_pair={json.dumps(pair)}", *elsewhere], [f"init_from={tmp_path}/c3", *elsewhere]
    for start in (*starts, [f"tokenizer={tmp_path}/pair"]):
        for run in (build, dry_run):
            with pytest.warns(CompressionWarning, match="'Capital LETTERS' becomes 'capital letters'"):
                run(load_training("lossy", *start))
