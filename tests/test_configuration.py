"""C3Config: what it accepts, and its file. Run: pytest tests/test_configuration.py"""

import inspect
import json
from fractions import Fraction

import numpy as np
import pytest
from transformers import AutoConfig, PreTrainedConfig

from c3 import C3Config, C3Model, C3Processor
from c3.configuration_c3 import INHERITED_FIELDS, OWN_FIELDS
from c3.processing_c3 import SETTINGS
from tiny_models import tiny_backbone


def make_config(**options):
    return C3Config(**{part: tiny_backbone("qwen3", 300) for part in ("encoder_config", "decoder_config")} | options)


def test_defaults():
    config = C3Config()
    assert config.encoder_config.model_type == config.decoder_config.model_type == "qwen2"
    assert (config.num_latents, config.window, config.latent_position_layout) == (32, 1024, "appended")
    assert config.reconstruction_prompt == "repeat the text: "


def test_placeholders_lie_just_beyond_the_vocabularies():
    config = make_config(encoder_config=tiny_backbone("llama", 280))
    assert (config.query_token_id, config.latent_token_id, config.mask_token_id) == (280, 300, 301)
    given = make_config(query_token_id=7, latent_token_id=0, mask_token_id=8)
    assert (given.query_token_id, given.latent_token_id, given.mask_token_id) == (7, 0, 8)


def test_what_others_read_off_it():
    config = make_config(decoder_config=tiny_backbone("llama", 300, hidden_size=48), num_latents=5)
    assert config.hidden_size == 48
    assert config.num_queries == 5
    assert make_config(latent_position_layout="uniform").num_queries == 1
    assert config.get_text_config() is config.get_text_config(decoder=True) is config.decoder_config
    assert (config.eos_token_id, config.pad_token_id) == (0, 0)
    assert make_config(eos_token_id=4).eos_token_id == 4


@pytest.mark.parametrize("model_type", ["qwen2", "qwen3", "llama"])
def test_backbones_from_dicts(model_type):
    fields = {"model_type": model_type, "vocab_size": 300, "hidden_size": 32, "num_hidden_layers": 3}
    config = C3Config(encoder_config=fields, decoder_config=fields)
    assert config.encoder_config.model_type == model_type
    assert config.decoder_config.num_hidden_layers == 3
    assert config.encoder_config is not config.decoder_config
    assert fields["model_type"] == model_type


BAD = [
    ({"num_latents": 0}, "num_latents must be an integer of 1 or more, not 0"),
    ({"num_latents": True}, "num_latents must be an integer of 1 or more, not True"),
    ({"num_latents": 2.0}, "num_latents must be an integer of 1 or more, not 2.0"),
    ({"num_latents": 65, "window": 64}, r"num_latents \(65\) must not exceed window \(64\)"),
    (
        {"base_models": {"projector": "org/llm"}},
        "base_models must name the model of encoder, decoder or both, or of",
    ),
    (
        {"base_models": {"model": "org/c3", "decoder": "org/llm"}},
        "of encoder, decoder or both, or of the whole, not",
    ),
    ({"base_models": {}}, "base_models must name the model of encoder, decoder or both, or of the whole, not {}"),
    ({"base_models": {"decoder": 3}}, "base_models must be folders or Hub ids, not {'decoder': 3}"),
    ({"default_window": 0}, "default_window must be an integer of 1 or more, not 0"),
    ({"default_window": 65, "window": 64}, r"default_window \(65\) must not exceed window \(64\)"),
    ({"num_latents": 9, "default_window": 8}, r"num_latents \(9\) must not exceed default_window \(8\)"),
    *(
        ({"ratio_range": given, "latent_position_layout": "uniform"}, "ratio_range must be two numbers of 1 or more")
        for given in (4, [4], [8, 4], [0.5, 4], [4, float("inf")], [4, float("nan")], ["4", 8], [True, 8])
    ),
    ({"ratio_range": [4, 8]}, "ratio_range is for latent_position_layout uniform"),
    *(
        ({"unreliable_characters": given}, f"unreliable_characters{said}")
        for given, said in (
            ("U+0", " must give the ranges of each kind of characters by its name"),
            ({"NUL": 0}, " must give the ranges"),
            ({"kana": ["U+3041"]}, " must give the ranges"),
            ({"NUL": "0"}, ", 'NUL': '0' is no range of characters such as U"),
            ({"kana": "U+30FF-3041"}, ", 'kana': 'U.30FF-3041' is no range"),
            ({"kana": "U+3041-30FF,"}, ", 'kana': '' is no range"),
            ({"kana": "U+110000"}, ", 'kana': 'U.110000' is no range"),
        )
    ),
    ({"window": -1}, "window must be an integer of 1 or more, not -1"),
    ({"window": "64"}, "window must be an integer of 1 or more, not '64'"),
    ({"latent_position_layout": "middle"}, "latent_position_layout must be one of appended, uniform, not 'middle'"),
    ({"latent_position_layout": None}, "latent_position_layout must be one of"),
    ({"latents_see_chunk": 1}, "latents_see_chunk must be true or false, not 1"),
    ({"prompt_positions": "after"}, "prompt_positions must be one of consecutive, among_text, not 'after'"),
    ({"prompt_positions": "among_text"}, "prompt_positions among_text is for latent_position_layout uniform"),
    ({"projector": "conv"}, "projector must be one of linear, mlp, tanh, not 'conv'"),
    ({"reconstruction_prompt": None}, "reconstruction_prompt must be a string, not None"),
    ({"prompt_template": "{latents}"}, r"prompt_template must hold \{latents\} and \{prompt\} once each"),
    ({"prompt_template": "{latents}{latents}{prompt}"}, "prompt_template must hold .* once each"),
    ({"prompt_template": "{prompt}{latents}"}, r"prompt_template must hold \{latents\} before \{prompt\}"),
    ({"context_template": "{queries}{context}"}, r"context_template must hold \{context\} before \{queries\}"),
    ({"context_template": 3}, "context_template must hold .* not 3"),
    ({"use_mask_embedding": 1}, "use_mask_embedding must be true or false, not 1"),
    ({"tie_word_embeddings": "yes"}, "tie_word_embeddings must be true or false, not 'yes'"),
    ({"query_token_id": -1}, "query_token_id must be an integer of 0 or more, not -1"),
    ({"latent_token_id": True}, "latent_token_id must be an integer of 0 or more, not True"),
    ({"mask_token_id": 1.5}, "mask_token_id must be an integer of 0 or more, not 1.5"),
    ({"latent_token_id": 7, "mask_token_id": 7}, "latent_token_id and mask_token_id must differ; both are 7"),
    ({"initializer_range": -0.1}, "initializer_range must be a number of 0 or more, not -0.1"),
    ({"initializer_range": float("nan")}, "initializer_range must be a number of 0 or more"),
    ({"num_latent": 8}, "C3Config has no field 'num_latent'; its own fields are encoder_config, .*num_latents"),
    ({"encoder_config": {"vocab_size": 300}}, "encoder_config must name its model_type, for example qwen2"),
    ({"decoder_config": {"model_type": "qwen1"}}, "decoder_config has an unknown model_type 'qwen1'"),
    ({"decoder_config": "qwen2"}, "decoder_config must be the config of a causal language model, not str"),
    (
        {"encoder_config": {"model_type": "vit"}},
        "encoder_config must be the config of a causal language model, not ViT",
    ),
    (
        {"tie_word_embeddings": True, "encoder_config": tiny_backbone("qwen3", 300, hidden_size=16)},
        "tie_word_embeddings needs an encoder and a decoder of one hidden_size, not 16 and 32",
    ),
    (
        {"tie_word_embeddings": True, "encoder_config": tiny_backbone("qwen3", 290)},
        "tie_word_embeddings needs an encoder and a decoder of one vocab_size, not 290 and 300",
    ),
]


@pytest.mark.parametrize(("options", "message"), BAD)
def test_bad_fields(options, message):
    with pytest.raises(ValueError, match=message):
        make_config(**options)


def test_numbers_are_numbers_whoever_made_them(tmp_path):
    """And Python's own in the file."""
    numbers = {"num_latents": np.int64(7), "window": np.int32(70), "default_window": np.array(35)}
    numbers |= {"query_token_id": np.uint16(1), "initializer_range": np.float32(0.5)}
    numbers |= {"ratio_range": [np.float32(4.5), Fraction(56)], "latent_position_layout": "uniform"}
    make_config(**numbers).save_pretrained(tmp_path)
    loaded = C3Config.from_pretrained(tmp_path)
    assert {name: getattr(loaded, name) for name in numbers} == numbers | {"ratio_range": [4.5, 56]}
    assert {type(getattr(loaded, name)) for name in numbers} == {int, float, list, str}


def test_every_field_is_documented_and_settable():
    config = make_config()
    for name in OWN_FIELDS:
        assert hasattr(config, name)
        assert name in C3Config.__doc__


def test_every_field_is_declared_once():
    """With its check, which its own default passes; the processor names what it copies, and nothing else."""
    assert OWN_FIELDS == tuple(inspect.get_annotations(C3Config))
    for name in OWN_FIELDS:
        check, default = C3Config.__dataclass_fields__[name].metadata["check"], getattr(C3Config, name)
        if not name.endswith("_token_id"):  # by default what the vocabularies say
            assert check(name, default) == default
    parameters = tuple(inspect.signature(C3Processor.__init__).parameters)
    assert parameters == ("self", "tokenizer", "context_tokenizer", *SETTINGS)
    assert set(SETTINGS) <= set(OWN_FIELDS)


def test_transformers_own_fields_are_known():
    own = {name for name in PreTrainedConfig().to_dict() if not name.startswith("_")}
    assert own <= INHERITED_FIELDS


def assert_same(left, right):
    left, right = left.to_dict(), right.to_dict()
    for fields in (left, right):
        for name in ("transformers_version", "_name_or_path"):
            fields.pop(name)
    assert left == right


FULL = {
    "num_latents": 7,
    "window": 70,
    "default_window": 35,
    "ratio_range": [4, 56],
    "unreliable_characters": {"Japanese kana": "U+3041-309F, U+30A0-30FF", "NUL": "U+0"},
    "latent_position_layout": "uniform",
    "prompt_positions": "among_text",
    "latents_see_chunk": False,
    "projector": "mlp",
    "reconstruction_prompt": "",
    "prompt_template": "<|im_start|>{latents} {prompt}\n",
    "context_template": "a{context}b{queries}c",
    "use_mask_embedding": True,
    "query_token_id": 1,
    "latent_token_id": 2,
    "mask_token_id": 3,
    "initializer_range": 0.1,
}


@pytest.mark.parametrize(("encoder", "decoder"), [("qwen2", "qwen3"), ("llama", "qwen2"), ("qwen3", "llama")])
def test_round_trips(encoder, decoder, tmp_path):
    config = make_config(
        encoder_config=tiny_backbone(
            encoder, 290, hidden_size=16, rope_parameters={"rope_type": "default", "rope_theta": 5e5}
        ),
        decoder_config=tiny_backbone(decoder, 300),
        **FULL,
    )
    assert_same(C3Config(**config.to_dict()), config)
    assert_same(C3Config.from_dict(config.to_dict()), config)
    config.save_pretrained(tmp_path)
    for loaded in (C3Config.from_pretrained(tmp_path), AutoConfig.from_pretrained(tmp_path)):
        assert_same(loaded, config)
        assert loaded.encoder_config.rope_parameters["rope_theta"] == 5e5
        assert type(loaded.encoder_config) is type(config.encoder_config)
        assert {name: getattr(loaded, name) for name in FULL} == FULL


def test_tied_embeddings_round_trip(tmp_path):
    make_config(tie_word_embeddings=True).save_pretrained(tmp_path)
    assert C3Config.from_pretrained(tmp_path).tie_word_embeddings is True


def test_the_file_of_a_saved_model_loads(make_model, tmp_path):
    model = make_model("uniform")
    model.save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "config.json").read_text())
    assert saved["architectures"] == ["C3Model"] and saved["dtype"] == "float32"
    assert saved["auto_map"]["AutoConfig"] == "configuration_c3.C3Config"
    assert saved["transformers_version"]
    loaded = C3Config.from_pretrained(tmp_path)
    assert loaded.architectures == ["C3Model"]
    assert {name: getattr(loaded, name) for name in FULL} == {name: getattr(model.config, name) for name in FULL}


@pytest.mark.parametrize(("layout", "meant"), [("uniform", "among_text"), ("appended", "consecutive")])
def test_a_checkpoint_of_before_prompt_positions(layout, meant, make_model, tmp_path):
    """New ones are consecutive; what a stored config, or a processor's file, does not say is what was trained then."""
    model = make_model(layout)
    assert model.config.prompt_positions == model.processor.prompt_positions == "consecutive"
    model.save_pretrained(tmp_path)
    for name in ("config.json", "processor_config.json"):
        fields = json.loads((tmp_path / name).read_text())
        assert fields.pop("prompt_positions") == "consecutive"
        (tmp_path / name).write_text(json.dumps(fields))
    assert C3Config.from_pretrained(tmp_path).prompt_positions == meant
    assert AutoConfig.from_pretrained(tmp_path).prompt_positions == meant
    assert C3Processor.from_pretrained(tmp_path).prompt_positions == meant
    loaded = C3Model.from_pretrained(tmp_path)
    # What the model says holds, whatever its processor's file does.
    loaded.config.prompt_positions = "consecutive"
    assert loaded.processor.prompt_positions == "consecutive"
    loaded.save_pretrained(tmp_path)
    assert C3Config.from_pretrained(tmp_path).prompt_positions == "consecutive"


def test_a_file_with_a_field_of_the_future(tmp_path):
    make_config().save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"latent_width": 64}))
    with pytest.raises(ValueError, match="C3Config has no field 'latent_width'"):
        C3Config.from_pretrained(tmp_path)


def test_keywords_while_loading_are_checked_too(tmp_path):
    make_config().save_pretrained(tmp_path)
    assert C3Config.from_pretrained(tmp_path, num_latents=4).num_latents == 4
    with pytest.raises(ValueError, match="num_latents must be an integer of 1 or more, not 0"):
        C3Config.from_pretrained(tmp_path, num_latents=0)
    config, unused = C3Config.from_pretrained(tmp_path, window=64, unheard_of=1, return_unused_kwargs=True)
    assert config.window == 64 and unused == {"unheard_of": 1}
