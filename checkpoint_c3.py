"""A model as a checkpoint: loaded and saved with its processor, and told apart from others by what its latents say."""

import re
from pathlib import Path

import torch
from transformers.utils import PROCESSOR_NAME, is_peft_available, logging

from .adapters_c3 import active_adapters, has_adapters, only_reading_is_adapted
from .base_models_c3 import (
    NEEDS_PEFT,
    SOURCE_OPTIONS,
    holds_bases,
    is_adapter_alone,
    load_on_bases,
    named_bases,
    on_its_base,
    save_without_bases,
)
from .fingerprints_c3 import checksum_tensors, fingerprint_config, fingerprint_tensors, fingerprint_tokenizer
from .latents_provenance_c3 import LatentProvenance
from .processing_c3 import C3Processor, except_context_tokenizer
from .quoting_c3 import printable_lines
from .stored_weights_c3 import has_parted_ties, packed_weights, stored_weights
from .version_c3 import VERSION
from .windows_c3 import check_windows

logger = logging.get_logger(__name__)

# Below this magnitude float16 rounds, so such weights do not count in a fingerprint.
SMALLEST_NORMAL_FLOAT16 = 2.0**-14
HUB_ID = re.compile(r"(\w[\w.-]*/)?\w[\w.-]*")
TIED_APART = (
    "This device_map offloads only one of the modules that share a weight: give encoder.embed_tokens, "
    "decoder.model.embed_tokens and decoder.lm_head the same place, or take device_map='auto'."
)
# Of a processor that is assigned to a model: what it takes over, and what must be right already.
TAKEN_FROM_CONFIG = ("ratio_range", "context_modality", "context_picture", "prompt_positions", "mask_token_id")
SAME_AS_IN_CONFIG = ("latent_token_id", "query_token_id", "latent_position_layout", "prompt_template")
FINGERPRINTED_FIELDS = (
    "encoder_config",
    "decoder_config",
    "latent_position_layout",
    "projector",
    "prompt_template",
    "context_template",
    "query_token_id",
    "latent_token_id",
)
LATER_FIELDS = {"pooling": "queries", "context_modality": "text", "context_picture": None}


class CheckpointMixin:
    """
    Loading, saving, the processor, and the provenance of latents; mixed into [`C3Model`]. It needs of the model what
    `PreTrainedModel` has (`config`, `name_or_path`, weights), and `encoder` and `decoder`.
    """

    _processor = None
    _source_options = {}
    _named_at_load = None, ""  # `name_or_path`, and the public name of what lay there
    _base_config = None  # that of the checkpoint whose weights it has, where its own is another one
    _fingerprint_cache = (None, None, {})

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, *args, **kwargs):
        """
        Loads as transformers does, a folder with a LoRA adapter on the base that it names, a checkpoint that names
        `base_models` with their weights, and remembers from which revision, for the processor.

            model = C3Model.from_pretrained("org/c3", dtype="auto")
        """
        source = pretrained_model_name_or_path
        if is_adapter_alone(str(source)):
            if not is_peft_available():
                raise ImportError(NEEDS_PEFT.format(source))
            source, kwargs = on_its_base(source, kwargs)
        try:
            if bases := named_bases(source, kwargs):
                loaded = load_on_bases(cls, source, bases, kwargs)
            else:
                loaded = super().from_pretrained(source, *args, **kwargs)
        except ValueError as error:
            if kwargs.get("device_map") is None or "on the meta device" not in str(error):
                raise
            raise ValueError(TIED_APART) from error
        model = loaded[0] if isinstance(loaded, tuple) else loaded
        if kwargs.get("device_map") is not None and has_parted_ties(model):
            raise ValueError(TIED_APART)
        model._source_options = {name: kwargs[name] for name in SOURCE_OPTIONS if kwargs.get(name)}
        model._named_at_load = model.name_or_path, _public_name(model.name_or_path)
        return loaded

    # ------------------------------------------------------------------------------------------------- processor

    @property
    def processor(self):
        """
        The [`C3Processor`], loaded on first use from where the model itself was loaded; may be assigned.

            ids = model.processor.encode("a text")
        """
        if self._processor is None:
            source = self.name_or_path
            if not source:
                raise ValueError(
                    "This model was not loaded from a checkpoint and has no processor: "
                    "assign model.processor = C3Processor.from_config(model.config, tokenizer)."
                )
            try:
                folder = Path(source, self._source_options.get("subfolder", ""))
                if folder.is_dir() and not (folder / PROCESSOR_NAME).is_file():
                    # Without one transformers would look for a tokenizer to make it of, and blame missing packages.
                    raise ValueError(f"it holds no {PROCESSOR_NAME}.")
                self.processor = C3Processor.from_pretrained(
                    # Whoever runs this file as remote code has already trusted the checkpoint.
                    source,
                    trust_remote_code=__name__.startswith("transformers_modules"),
                    **self._source_options,
                )
            except (OSError, ValueError) as error:
                raise ValueError(
                    f"No processor could be loaded from {source}: {printable_lines(error)} "
                    "Save one there with processor.save_pretrained, or assign model.processor."
                ) from error
        return self._processor

    @processor.setter
    def processor(self, processor):
        # What is the model's to say: an older processor's file does not know.
        processor.default_window = self.config.default_window or self.config.window
        for name in TAKEN_FROM_CONFIG:
            setattr(processor, name, getattr(self.config, name))
        for name in SAME_AS_IN_CONFIG:
            ours, theirs = getattr(self.config, name), getattr(processor, name)
            if ours != theirs:
                raise ValueError(
                    f"The processor's {name} is {theirs!r} but the model's is {ours!r}; "
                    "make it with C3Processor.from_config(model.config, tokenizer)."
                )
        self._processor = processor

    def save_pretrained(self, save_directory, **kwargs):
        """
        Saves the model as transformers does, with its processor beside it where it has one, so that `push_to_hub` (the
        method, and the argument of this one) pushes both.

            model.save_pretrained("my-c3")

        Raises:
            ValueError: the model is inside a `PeftModel`, which alone knows how to save its adapters.
        """
        if has_adapters(self) and not self._hf_peft_config_loaded:
            raise ValueError(
                "This model is inside a PeftModel: save that one for the adapter alone, or merge it first "
                "(merge_and_unload) for a plain checkpoint."
            )
        tables = [getattr(part.get_input_embeddings(), "weight", None) for part in (self.encoder, self.decoder)]
        if tables[0] is not None and tables[0] is tables[1]:
            # PEFT's merge_and_unload switches it off where the decoder's head is a matrix of its own; the one table of
            # both parts would then be loaded into the decoder alone.
            self.config.tie_word_embeddings = True
        bases = self.config.base_models
        if bases and not self._hf_peft_config_loaded and holds_bases(kwargs.get("state_dict"), bases):
            # Whatever became of the weights of its bases: the checkpoint has them itself.
            self.config.base_models = bases = None
        if self.answers_for_another:
            raise ValueError(
                "This model answers prompts for another one, whose weights it has: save that one, with its adapter."
            )
        self.prompt_adapter_files()  # which have to be there
        super().save_pretrained(save_directory, **kwargs)
        if kwargs.get("is_main_process", True):
            self.save_prompt_adapter(save_directory)
        if bases and kwargs.get("is_main_process", True):
            save_without_bases(self, save_directory)
        if kwargs.get("is_main_process", True):
            self._save_processor(save_directory)

    def _upload_modified_files(self, working_dir, repo_id, files_timestamps, **kwargs):
        # save_pretrained(push_to_hub=True) uploads before it comes back to us.
        self._save_processor(working_dir)
        self.save_prompt_adapter(working_dir)
        files_timestamps = {name: time for name, time in files_timestamps.items() if name != self.config.prompt_adapter}
        known = except_context_tokenizer(files_timestamps)
        return super()._upload_modified_files(working_dir, repo_id, known, **kwargs)

    def _save_processor(self, folder):
        if self._processor is None and self.name_or_path:
            try:
                # One that was not needed so far is part of the checkpoint all the same.
                self.processor  # noqa: B018
            except ValueError as error:
                logger.warning(f"Saving the model without a processor. {printable_lines(error)}")
        if self._processor is not None:
            self._processor.save_pretrained(folder)

    # ------------------------------------------------------------------------------------------------ provenance

    def check_latents(self, latents, allow_mismatch=False):
        """
        Raises what keeps this model from reading latents: `TypeError` for other things, `ValueError` for a wrong width
        or windows that no text of this model has, `LatentMismatchError`, unless `allow_mismatch`, for another model's.

            model.check_latents(C3Latents.load("from_elsewhere.c3"))
        """
        if not hasattr(latents, "text_lengths"):
            raise TypeError(f"latents must be C3Latents, as compress returns them, not {type(latents).__name__}.")
        if latents.hidden_size != self.config.hidden_size:
            raise ValueError(
                f"These latents are {latents.hidden_size} wide, but this model's decoder reads "
                f"{self.config.hidden_size}; use the model that made them."
            )
        if not allow_mismatch:
            latents.provenance.check_same_model(self.latent_provenance())
        lengths = latents.latent_lengths.tolist(), latents.text_lengths.tolist()
        self.check_windows(*lengths, "This model cannot have made these latents")

    def check_windows(self, latent_lengths, text_lengths, what):
        """Raises `ValueError` for windows that `compress` does not make: what they claim decides what reading costs."""
        config = self.config
        uniform = config.latent_position_layout == "uniform"
        most_latents = config.window if uniform else config.num_latents
        one_each = uniform and self.processor.modality.reads_ids(self.processor)
        try:
            check_windows(latent_lengths, text_lengths, most_latents, config.window, one_each)
        except ValueError as error:
            raise ValueError(f"{what}: {error}.") from None

    def latent_provenance(self):
        """
        The [`LatentProvenance`] of latents that this model makes now. Active adapters count as weights and are named.
        On the decoder alone they do not count: the latents are those of the model below them, which this decoder was
        trained to read, and either reads the other's. Merged, they are part of the weights, which differ from base and
        adapter by rounding: another model's.

            latents.provenance.check_same_model(model.latent_provenance())
        """
        is_of_base = only_reading_is_adapted(self)
        config = (self.config if self._base_config is None or not is_of_base else self._base_config).to_dict()
        weights, packed = stored_weights(self, adapters=not is_of_base), packed_weights(self)
        # Of the weights themselves: their `_version` counts neither what a fused optimizer writes, nor PEFT's merging,
        # `weight.data`, NumPy and DLPack, which leave a tensor where it was [torch 2.13, peft 0.21].
        checksum, holders = checksum_tensors(weights, rounded), {name: each for name, (each, _) in packed.items()}
        known, fingerprint, known_holders = self._fingerprint_cache
        if known != checksum or _ids(known_holders) != _ids(holders):
            for _, unpack in packed.values():
                weights |= unpack()
            fingerprint = fingerprint_tensors(weights, rounded)
            self._fingerprint_cache = checksum, fingerprint, holders
        # A folder may be gone by now, and a relative one be no folder from where the process stands.
        loaded_from, name = self._named_at_load
        name = name if loaded_from == self.name_or_path else _public_name(self.name_or_path)
        return LatentProvenance(
            model_name=" + adapter ".join([name, *active_adapters(self)]),
            config_fingerprint=fingerprint_config({name: config[name] for name in _fingerprinted_fields(config)}),
            weights_fingerprint=fingerprint,
            dtype=str(self.dtype).removeprefix("torch."),
            latent_position_layout=self.config.latent_position_layout,
            tokenizer_fingerprint=fingerprint_tokenizer(self.processor.tokenizer),
            library_version=VERSION,
        )


def _fingerprinted_fields(config):
    # Left out where they are what they were before there was a choice, so that fingerprints of then still hold.
    return (*FINGERPRINTED_FIELDS, *(name for name, default in LATER_FIELDS.items() if config[name] != default))


def _ids(objects):
    return {name: id(each) for name, each in objects.items()}


def rounded(weights):
    """Weights as they are in any dtype that they may be loaded in: bfloat16 precision, float16 range."""
    values = weights.to(torch.bfloat16)
    return torch.where(values.abs() < SMALLEST_NORMAL_FLOAT16, torch.zeros_like(values), values)


def _public_name(name_or_path):
    """A Hub id as it is; of a folder only its own name, since latents travel and paths are private."""
    name = str(name_or_path or "")
    if name and Path(name).is_dir():
        return Path(name).resolve().name
    return name if HUB_ID.fullmatch(name) else re.split(r"[/\\]", name.rstrip("/\\"))[-1]


__all__ = ["CheckpointMixin", "rounded"]
