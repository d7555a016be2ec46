"""Tiny, randomly initialised C3 models and their processors, the same in every test."""

import gc
import os

if "PYTEST_XDIST_WORKER" in os.environ:
    # As many workers as cores: none needs more than one, nor do the processes that it starts.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# The Hub is off, as in CI, wherever the tests run; what tests the Hub switches it on for its own processes.
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest
import torch

from c3 import C3Config, C3Latents, C3Model, C3Processor
from c3.training.data.tokenizer import train_tokenizer
from latent_examples import PROVENANCE, make_parts
from tiny_models import TEXTS, tiny_backbone, write_training_folder


def pytest_collection_finish():
    """The modules imported by then stay: every collection of garbage would look at all they hold, in vain."""
    gc.freeze()


@pytest.fixture(scope="session")
def tokenizer():
    return train_tokenizer(TEXTS * 4, vocab_size=300)


@pytest.fixture(scope="session")
def make_model(tokenizer):
    """Makes a model with its processor: `make_model(layout, encoder="qwen2", decoder="qwen3", **config)`."""

    def make(layout="uniform", encoder="qwen3", decoder="qwen3", seed=0, **options):
        torch.manual_seed(seed)
        options = {"num_latents": 8, "window": 32, "use_mask_embedding": True} | options
        config = C3Config(
            encoder_config=tiny_backbone(encoder, len(tokenizer), hidden_size=options.pop("encoder_width", 32)),
            decoder_config=tiny_backbone(
                decoder,
                len(tokenizer),
                hidden_size=options.pop("decoder_width", 32),
                **options.pop("decoder_options", {}),
            ),
            latent_position_layout=layout,
            # Larger than usual, so that outputs depend on the text and equality tests can fail.
            initializer_range=0.5,
            **options,
        )
        model = C3Model(config).eval()
        for parameter in model.parameters():
            if parameter.ndim == 2:
                torch.nn.init.normal_(parameter, std=0.3)
        model.processor = C3Processor.from_config(config, tokenizer)
        return model

    return make


@pytest.fixture(scope="module", params=["appended", "uniform"])
def model(request, make_model):
    """A model of either layout."""
    return make_model(request.param)


@pytest.fixture(scope="module")
def uniform(make_model):
    return make_model("uniform")


@pytest.fixture
def latents():
    """Those of three texts, see `make_parts`."""
    return C3Latents(**make_parts(), provenance=PROVENANCE)


@pytest.fixture
def latents_path(tmp_path):
    return tmp_path / "latents.safetensors"


@pytest.fixture(scope="session")
def checkpoint(make_model, tmp_path_factory):
    """Folder of a tiny model with its processor and tokenizer."""
    folder = tmp_path_factory.mktemp("checkpoint")
    make_model().save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def training_folder(tmp_path_factory):
    """A folder with a few thousand characters of text and a recipe; Hugging Face's caches are there too."""
    folder = tmp_path_factory.mktemp("training")
    write_training_folder(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("datasets.config.HF_DATASETS_CACHE", folder / "cache")
        yield folder


@pytest.fixture(scope="session")
def load_training(training_folder):
    """Loads the recipe of `training_folder` for an output folder in it: `load_training(name, "key=value", …)`."""
    from c3.training.recipe.recipe_file import load_recipe

    def load(name, *overrides):
        return load_recipe(training_folder / "recipe.yaml", [f"output_dir={training_folder / name}", *overrides])

    return load
