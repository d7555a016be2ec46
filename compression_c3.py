"""What people call on a C3 model that has a processor: `compress`, and what latents are checked against."""

import math
import sys
import warnings
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path

import torch
from transformers.utils import PROCESSOR_NAME, is_peft_available, logging

from .adapters_c3 import active_adapters, has_adapters
from .character_ranges_c3 import kinds_in
from .expansion_c3 import ExpansionMixin
from .fingerprints_c3 import checksum_tensors, fingerprint_config, fingerprint_tensors, fingerprint_tokenizer
from .generation_c3 import PromptingMixin
from .latents_c3 import VALUE_DTYPES, C3Latents, LatentProvenance
from .latents_file_c3 import check_folder
from .options_c3 import CompressionWarning, plain_number, progress_bar, whole_number
from .processing_c3 import C3Processor, check_text, except_context_tokenizer, list_texts
from .quoting_c3 import printable, printable_lines
from .stored_weights_c3 import execution_device, has_parted_ties, packed_weights, stored_weights
from .version_c3 import VERSION
from .whole_files_c3 import ensure_writable
from .windows_c3 import LazySequence, check_windows

logger = logging.get_logger(__name__)

# Characters of the longest token of common vocabularies, a run of spaces.
LONGEST_TOKEN = 128
# Below this magnitude float16 rounds, so such weights do not count in a fingerprint.
SMALLEST_NORMAL_FLOAT16 = 2.0**-14
SOURCE_OPTIONS = ("revision", "cache_dir", "token", "subfolder", "local_files_only")
TIED_APART = (
    "This device_map offloads only one of the modules that share a weight: give encoder.embed_tokens, "
    "decoder.model.embed_tokens and decoder.lm_head the same place, or take device_map='auto'."
)
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


class CompressionMixin(ExpansionMixin, PromptingMixin):
    """Text in, latents out, and back; mixed into [`C3Model`]."""

    _processor = None
    _source_options = {}
    _fingerprint_cache = (None, None, {})

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, *args, **kwargs):
        """
        Loads as transformers does, a folder with a LoRA adapter on the base that it names, and remembers from which
        revision, for the processor.
        """
        folder = Path(str(pretrained_model_name_or_path))
        is_adapter = (folder / "adapter_config.json").is_file() and not (folder / "config.json").is_file()
        if is_adapter and not is_peft_available():
            raise ImportError(f"{folder} holds an adapter, which needs peft: pip install -e .[train]")
        try:
            loaded = super().from_pretrained(pretrained_model_name_or_path, *args, **kwargs)
        except ValueError as error:
            if kwargs.get("device_map") is None or "on the meta device" not in str(error):
                raise
            raise ValueError(TIED_APART) from error
        model = loaded[0] if isinstance(loaded, tuple) else loaded
        if kwargs.get("device_map") is not None and has_parted_ties(model):
            raise ValueError(TIED_APART)
        model._source_options = {name: kwargs[name] for name in SOURCE_OPTIONS if kwargs.get(name)}
        return loaded

    # ------------------------------------------------------------------------------------------------- processor

    @property
    def processor(self):
        """The [`C3Processor`], loaded on first use from where the model itself was loaded; may be assigned."""
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
        # Which windows and ratios there are is the model's to say: an older processor's file does not know.
        processor.default_window = self.config.default_window or self.config.window
        processor.ratio_range = self.config.ratio_range
        for name in ("latent_token_id", "query_token_id", "latent_position_layout", "prompt_template"):
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

        Raises:
            ValueError: the model is inside a `PeftModel`, which alone knows how to save its adapters.
        """
        if has_adapters(self) and not self._hf_peft_config_loaded:
            raise ValueError(
                "This model is inside a PeftModel: save that one for the adapter alone, or merge it first "
                "(merge_and_unload) for a plain checkpoint."
            )
        if self.encoder.get_input_embeddings().weight is self.decoder.get_input_embeddings().weight:
            # PEFT's merge_and_unload switches it off where the decoder's head is a matrix of its own; the one table of
            # both parts would then be loaded into the decoder alone.
            self.config.tie_word_embeddings = True
        super().save_pretrained(save_directory, **kwargs)
        if kwargs.get("is_main_process", True):
            self._save_processor(save_directory)

    def _upload_modified_files(self, working_dir, repo_id, files_timestamps, **kwargs):
        # save_pretrained(push_to_hub=True) uploads before it comes back to us.
        self._save_processor(working_dir)
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

    # -------------------------------------------------------------------------------------------------- compress

    @torch.no_grad()
    def compress(
        self,
        text,
        *,
        num_latents=None,
        ratio=None,
        window=None,
        batch_size=8,
        show_progress=None,
        output=None,
        on_error="raise",
        dtype=None,
    ):
        """
        Compresses texts of any length into latents; long ones window by window.

        Args:
            text (`str` or `list[str]`): what to compress. Any sequence, iterator or column of strings will do: NumPy's,
                pandas', Arrow's or that of a data set.
            num_latents (`int`, *optional*): latents of a full window. With the uniform layout less text gets its share;
                with the appended layout every window gets this number. By default `config.num_latents` for a window of
                `config.default_window` tokens, and with the uniform layout in proportion for another one.
            ratio (`float`, *optional*): text tokens per latent instead, at least 1, over each text as a whole: T tokens
                get int(T / ratio) latents, but at least one per window. Below the lowest ratio of
                `config.ratio_range`, where a text would come back worse, the lowest is taken.
            window (`int`, *optional*): text tokens of a window, at most `config.window`, by default
                `config.default_window`.
            batch_size (`int`): windows that go through the encoder at once.
            show_progress (`bool`, *optional*): a bar on standard error; by default for more than one batch.
            output (`str` or `PathLike`, *optional*): a file for the latents, as `C3Latents.save` writes it. They are
                written there while they are made, so that memory does not grow with the text.
            on_error (`str`): `"raise"`; or `"skip"`, which leaves out texts that cannot be compressed and says which.
            dtype (`torch.dtype` or `str`, *optional*): of the latents, two or four bytes a number; by default the
                model's, but bfloat16 for float32, whose further digits hold next to nothing of a text.

        Returns:
            [`C3Latents`] with one entry per text, on the decoder's device; with `output` memory-mapped from there.
            `latents.ratio` is what was reached, in the decoder's tokens.
            With `on_error="skip"` a pair: the latents of the texts that are left, None (and no file) where none is, and
            a `dict[int, str]`, for the index of each text that was left out the reason.

        Warns:
            CompressionWarning: with what was reached, where it is not what was asked for, or above the highest ratio of
            `config.ratio_range`; and where texts hold what `config.unreliable_characters` names.

        Raises:
            TypeError, ValueError: bad texts or options; the message says which and what is allowed. All texts are
            checked before any work is done.
            OSError: `output` cannot be written, which is no complete file then, or the one that was there.
        """
        if on_error not in ("raise", "skip"):
            raise ValueError(f"on_error must be 'raise' or 'skip', not {on_error!r}.")
        texts = list_texts(text)
        names = ["text"] if isinstance(text, str) else [f"text {index}" for index in range(len(texts))]
        skipped, plans = {}, []
        for index, each in enumerate(texts):
            with _skipping(index, skipped, on_error):
                check_text(each, names[index])
        window = self._checked_window(window)
        num_latents, ratio = self._checked_amount(num_latents, ratio, window)
        batch_size = whole_number("batch_size", batch_size)
        dtype = self._latent_dtype(dtype)
        if output is not None:
            ensure_writable(check_folder(output))
        for index, each in enumerate(texts):
            if index not in skipped:
                with _skipping(index, skipped, on_error, names[index]):
                    plans.append(self.processor.plan(each, num_latents=num_latents, ratio=ratio, window=window))
        skipped = dict(sorted(skipped.items()))
        if not plans:
            return None, skipped
        places = [(plan, i) for plan in plans for i in range(len(plan))]
        contexts = LazySequence(lambda k: places[k][0][places[k][1]][0].context_ids, len(places))
        counts, lengths = zip(*((n, len(each.text_ids)) for plan in plans for each, n in plan), strict=True)
        self._check_windows(counts, lengths, "Give a smaller window")
        self._warn_of_ratio(plans, num_latents, ratio, window)
        self._warn_of_characters({names[index]: each for index, each in enumerate(texts) if index not in skipped})
        fields = {
            "latent_lengths": torch.tensor(counts),
            "text_lengths": torch.tensor(lengths),
            "window_counts": torch.tensor([len(plan) for plan in plans]),
        }
        batching = contexts, counts, batch_size, show_progress, dtype
        if output is not None:
            latents = C3Latents.save_parts(output, self._encode_in_batches(*batching), fields, self.latent_provenance())
        else:
            latents = C3Latents(self._encode_windows(*batching), **fields, provenance=self.latent_provenance())
        return (latents, skipped) if on_error == "skip" else latents

    def _encode_windows(self, contexts, counts, batch_size, show_progress, dtype=None):
        """Latents of all windows, `(latents, D_dec)`, in the order of the windows."""
        values = None
        for rows, latents in self._encode_in_batches(contexts, counts, batch_size, show_progress, dtype):
            values = latents.new_empty(sum(counts), latents.shape[1]) if values is None else values
            values[rows.to(values.device)] = latents
        return values

    def _encode_in_batches(self, contexts, counts, batch_size, show_progress, dtype=None):
        """Yields a batch's rows among all latents, `(n,)`, and the latents, `(n, D_dec)`; longest windows first."""
        device = execution_device(self.encoder.get_input_embeddings())
        order = sorted(range(len(contexts)), key=lambda i: len(contexts[i]) + counts[i], reverse=True)
        starts = [0, *accumulate(counts)]
        with progress_bar(len(order), batch_size, show_progress, "Compressing", "window") as bar:
            for start in range(0, len(order), batch_size):
                chosen = order[start : start + batch_size]
                batch = self.processor.context_inputs([contexts[i] for i in chosen], [counts[i] for i in chosen])
                latents = self.encode_context(**{name: each.to(device) for name, each in batch.items()})
                yield (
                    torch.cat([torch.arange(starts[i], starts[i + 1]) for i in chosen]),
                    latents.to(dtype or latents.dtype),
                )
                bar.update(len(chosen))

    def _latent_dtype(self, dtype):
        if dtype is None:
            return self.dtype if self.dtype.itemsize == 2 else torch.bfloat16
        found = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
        if found not in VALUE_DTYPES:
            names = ", ".join(str(each).removeprefix("torch.") for each in VALUE_DTYPES)
            raise ValueError(f"dtype must be one of {names}, not {dtype!r}.")
        return found

    def _checked_window(self, window):
        if window is None:
            return self.processor.default_window
        window = whole_number("window", window)
        if window > self.config.window:
            raise ValueError(f"window={window} is above this model's window of {self.config.window} tokens.")
        return window

    def _checked_amount(self, num_latents, ratio, window):
        """`num_latents` and `ratio` as Python's own numbers, or None."""
        if num_latents is not None and ratio is not None:
            raise ValueError("Give num_latents or ratio, not both.")
        if ratio is not None:
            number = plain_number(ratio)
            if number is None or not 1 <= number <= sys.float_info.max:
                raise ValueError(f"ratio must be a number of 1 or more (text tokens per latent), not {ratio!r}.")
            return None, number
        if num_latents is None:
            return None, None
        num_latents = whole_number("num_latents", num_latents)
        if num_latents > window:
            raise ValueError(f"num_latents={num_latents} is above the window of {window} tokens.")
        if self.config.latent_position_layout == "appended" and num_latents > self.config.num_latents:
            raise ValueError(
                f"num_latents={num_latents} is above the {self.config.num_latents} that this model was trained with; "
                "only the uniform layout takes any number."
            )
        return num_latents, None

    def _warn_of_ratio(self, plans, num_latents, ratio, window):
        """Warns where texts get another ratio than was asked for, or one that the weights are not good for."""
        tokens = [sum(len(each.context_ids) for each, _ in plan) for plan in plans]
        latents = [sum(n for _, n in plan) for plan in plans]
        reached = [length / n for length, n in zip(tokens, latents, strict=True)]
        lowest, highest = self.processor.ratio_range or (0, math.inf)
        asked = window / num_latents if num_latents else ratio and float(ratio)
        wanted = [max(1, int(length / (ratio or math.inf))) for length in tokens]
        reasons = []
        if asked and asked < lowest:
            reasons.append(f"{asked:.3g} were asked for, but this model is at its best from {lowest:g} on")
        elif any(each < lowest and n > 1 for each, n in zip(reached, latents, strict=True)):
            reasons.append(f"every window has a latent, but this model is at its best from {lowest:g} on")
        if ratio and (ratio > window or any(n > most for n, most in zip(latents, wanted, strict=True))):
            reasons.append(f"{asked:g} were asked for, but every window of at most {window} tokens has a latent")
        # What is asked for is a floor: texts may come out a little above it.
        if max(reached) > highest and (not asked or asked > highest):
            reasons.append(f"this model is good for at most {highest:g}, so that the text may come back wrong")
        if reasons:
            said = " to ".join(dict.fromkeys(f"{each:.3g}" for each in (min(reached), max(reached))))
            unit = "tokens" if self.processor.context_tokenizer is None else "of the encoder's tokens"
            warnings.warn(f"{said} {unit} per latent: {'; '.join(reasons)}.", CompressionWarning, stacklevel=4)

    def _warn_of_characters(self, texts):
        """Warns once of all texts, `dict` by name, with characters that the weights may not give back."""
        unreliable = self.config.unreliable_characters or {}
        kinds, holding = {}, []
        for name, text in texts.items() if unreliable else ():
            if found := kinds_in(text, unreliable):
                kinds |= dict.fromkeys(found)
                holding.append(name)
        if holding:
            hold = f"{holding[0]} holds" if len(holding) == 1 else f"{holding[0]} and {len(holding) - 1} more hold"
            warnings.warn(
                f"{hold} {printable(' and '.join(kinds))}, which this model may not give back as in the text: compare "
                "what expand returns.",
                CompressionWarning,
                stacklevel=4,
            )

    def _prompt_embeds(self, spans, rows, prompts):
        """Keywords for `GenerationMixin.generate`: embeddings, mask and positions of latents and prompt."""
        device = execution_device(self.get_input_embeddings())
        batch = self.processor.prompt_inputs(spans, prompts)
        batch = {name: each.to(device) for name, each in batch.items()}
        embeds = self.embed_prompt(batch.pop("input_ids"), torch.cat(rows))
        return {"inputs_embeds": embeds, **batch}

    def _check_latents(self, latents, allow_mismatch):
        if not hasattr(latents, "text_lengths"):
            raise TypeError(f"latents must be C3Latents, as compress returns them, not {type(latents).__name__}.")
        if latents.hidden_size != self.config.hidden_size:
            raise ValueError(
                f"These latents are {latents.hidden_size} wide, but this model's decoder reads "
                f"{self.config.hidden_size}; use the model that made them."
            )
        if not allow_mismatch:
            ours = self.latent_provenance()
            latents.check_compatible(
                ours.config_fingerprint, ours.weights_fingerprint, ours.model_name, ours.tokenizer_fingerprint
            )
        lengths = latents.latent_lengths.tolist(), latents.text_lengths.tolist()
        self._check_windows(*lengths, "This model cannot have made these latents")

    def _check_windows(self, latent_lengths, text_lengths, what):
        """Raises `ValueError` for windows that `compress` does not make: what they claim decides what reading costs."""
        config = self.config
        uniform, one_tokenizer = config.latent_position_layout == "uniform", self.processor.context_tokenizer is None
        most_tokens = config.window
        if not one_tokenizer:
            # A window of the encoder's tokens is any number of the decoder's, but it has to fit into the decoder.
            positions = getattr(config.decoder_config, "max_position_embeddings", None)
            most_tokens = max(config.window, positions or LONGEST_TOKEN * config.window)
        try:
            check_windows(
                latent_lengths,
                text_lengths,
                config.window if uniform else config.num_latents,
                most_tokens,
                one_each=uniform and one_tokenizer,
            )
        except ValueError as error:
            raise ValueError(f"{what}: {error}.") from None

    # ------------------------------------------------------------------------------------------------ provenance

    def latent_provenance(self):
        """
        The [`LatentProvenance`] of latents that this model makes now. Active adapters count as weights and are named.
        Merged, they are part of the weights, which differ from base and adapter by rounding: another model's.
        """
        config, weights, packed = self.config.to_dict(), stored_weights(self), packed_weights(self)
        # Of the weights themselves: what is written to `weight.data` no counter is told of.
        checksum, holders = checksum_tensors(weights, _rounded), {name: each for name, (each, _) in packed.items()}
        known, fingerprint, known_holders = self._fingerprint_cache
        if known != checksum or _ids(known_holders) != _ids(holders):
            for _, unpack in packed.values():
                weights |= unpack()
            fingerprint = fingerprint_tensors(weights, _rounded)
            self._fingerprint_cache = checksum, fingerprint, holders
        return LatentProvenance(
            model_name=" + adapter ".join([_public_name(self.name_or_path), *active_adapters(self)]),
            config_fingerprint=fingerprint_config({name: config[name] for name in self._fingerprinted_fields()}),
            weights_fingerprint=fingerprint,
            dtype=str(self.dtype).removeprefix("torch."),
            latent_position_layout=self.config.latent_position_layout,
            tokenizer_fingerprint=fingerprint_tokenizer(self.processor.tokenizer),
            library_version=VERSION,
        )

    def _fingerprinted_fields(self):
        # Left out where it is what it was before there was a choice, so that fingerprints of then still hold.
        return FINGERPRINTED_FIELDS + (() if self.config.pooling == "queries" else ("pooling",))


@contextmanager
def _skipping(index, skipped, on_error, name=""):
    """Puts the reason why a text cannot be compressed into `skipped`, unless it is to be raised, with its `name`."""
    try:
        yield
    except (TypeError, ValueError) as error:
        reason = f"{name}: {error}" if name else str(error)
        if on_error == "raise":
            if not name:
                raise
            raise type(error)(reason) from error
        skipped[index] = reason


def _ids(objects):
    return {name: id(each) for name, each in objects.items()}


def _rounded(weights):
    """Weights as they are in any dtype that they may be loaded in: bfloat16 precision, float16 range."""
    values = weights.to(torch.bfloat16)
    return torch.where(values.abs() < SMALLEST_NORMAL_FLOAT16, torch.zeros_like(values), values)


def _public_name(name_or_path):
    """A Hub id as it is; of a folder only its own name, since latents travel and paths are private."""
    path = Path(name_or_path or "")
    return path.resolve().name if name_or_path and path.is_dir() else str(name_or_path or "")
