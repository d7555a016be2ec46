"""Texts in, latents out: `compress`, which encodes the windows of all texts in batches."""

import sys
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import accumulate

import torch

from .adaptive_ratio_c3 import fit_windows, ladders_of_windows
from .compression_warnings_c3 import warn_of_characters, warn_of_fidelity, warn_of_ratio
from .corrections_c3 import find_corrections
from .decoder_rows_c3 import LatentSpan
from .latents_c3 import C3Latents
from .latents_checks_c3 import VALUE_DTYPES
from .latents_file_c3 import check_folder
from .measured_windows_c3 import MeasuredWindows
from .options_c3 import plain_number, progress_bar, whole_number
from .stored_weights_c3 import execution_device, is_sharded
from .texts_c3 import check_text, list_texts
from .whole_files_c3 import ensure_writable, whole_file
from .windows_c3 import TextWindow, WindowsOfTexts


class CompressionMixin:
    """
    Texts in, latents out; mixed into [`C3Model`]. It needs of the model `encode_context`, `encoder`, `config` and
    `dtype`, and `processor`, `check_windows` and `latent_provenance` of [`CheckpointMixin`].
    """

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
        exact=False,
        measure=False,
        min_fidelity=None,
    ):
        """
        Compresses texts of any length into latents; long ones window by window.

            latents = model.compress(["a long text", "another"], ratio=8)

        Args:
            text (`str` or `list[str]`): what to compress; `expand` gives back a string for a string, a list for a list.
                Any sequence, iterator or column of strings will do: NumPy's,
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
            exact (`bool`): store corrections beside the latents, so that `expand` gives the very text back or raises
                [`InexactTextError`] (`corrections_c3.py`). Takes one more pass of the decoder.
            measure (`bool`): find out, by the same pass, the fidelity of each window, `latents.window_fidelities`: the
                share of its tokens that need no correction. With `exact` or `min_fidelity` it is known anyway.
            min_fidelity (`float`, *optional*): the fidelity that each window is to have, above 0 and at most 1. A
                window that has less gets more latents, up to what the lowest ratio of `config.ratio_range` gives (with
                the appended layout `config.num_latents`), so that `ratio` or `num_latents` say how far a window may be
                compressed. Takes the encoder and the decoder once more for each number that is tried; with `output` the
                encoder another time.
            dtype (`torch.dtype` or `str`, *optional*): of the latents, two or four bytes a number; by default the
                model's, but bfloat16 for float32, whose further digits hold next to nothing of a text.

        Returns:
            [`C3Latents`] with one entry per text, on the decoder's device; with `output` memory-mapped from there.
            `latents.ratio` is what was reached, in the decoder's tokens.
            With `on_error="skip"` a pair: the latents of the texts that are left, None (and no file) where none is, and
            a `dict[int, str]`, for the index of each text that was left out the reason.

        Warns:
            CompressionWarning: with what was reached, where it is not what was asked for, or above the highest ratio of
            `config.ratio_range`; where windows do not reach `min_fidelity` with any number of latents; and, without
            `exact` and `min_fidelity`, where texts hold what `config.unreliable_characters` names.

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
        min_fidelity = _checked_fidelity(min_fidelity)
        if min_fidelity is not None and is_sharded(self):
            raise ValueError(
                "min_fidelity takes as many passes as a text needs, which processes that share a model cannot do: "
                "compress in one process."
            )
        dtype = self._latent_dtype(dtype)
        if output is not None:
            ensure_writable(check_folder(output))
        for index, each in enumerate(texts):
            if index not in skipped:
                with _skipping(index, skipped, on_error, names[index]):
                    asked = {"num_latents": num_latents, "ratio": ratio, "window": window, "exact": exact}
                    plans.append(self.processor.plan(each, **asked))
        skipped = dict(sorted(skipped.items()))
        if not plans:
            return None, skipped
        windows = WindowsOfTexts(plans)
        self.check_windows(windows.num_latents, windows.lengths, "Give a smaller window")
        is_told = exact or min_fidelity is not None
        warn_of_ratio(self.processor.ratio_range, plans, num_latents, ratio, window, is_told)
        if not is_told:
            named = {names[index]: each for index, each in enumerate(texts) if index not in skipped}
            warn_of_characters(self.config.unreliable_characters, named)
        measured = MeasuredWindows(windows.lengths, exact) if is_told or measure else None
        counts, kept = windows.num_latents, None
        if min_fidelity is not None:
            ladders = ladders_of_windows(self.config, windows.lengths, counts)
            encode = partial(self._encode_each, windows, dtype, measured)
            counts, kept = fit_windows(
                encode, ladders, measured, min_fidelity, batch_size, show_progress, keep=output is None
            )
        fields = {
            "latent_lengths": torch.tensor(counts),
            "text_lengths": torch.tensor(windows.lengths),
            "window_counts": torch.tensor([len(plan.windows) for plan in plans]),
        }
        if measured is not None and not exact:
            fields["correction_counts"] = measured.counts  # which the batches fill
        if kept is None:
            known = measured if min_fidelity is None else None
            batches = self._encode_in_batches(windows, windows.lengths, counts, batch_size, show_progress, dtype, known)
        if output is None:
            fields["values"] = _gathered(batches, sum(counts)) if kept is None else torch.cat(kept)
        about = {"provenance": self.latent_provenance(), "single": isinstance(text, str)}

        def corrected(latents):
            chosen = [each for index, each in enumerate(texts) if index not in skipped]
            corrections = measured.corrections(self.processor, plans, chosen)
            return replace(latents, corrections=corrections, check_finite=False)

        if output is None:
            latents = C3Latents(**fields, **about)
            latents = corrected(latents) if exact else latents
        elif exact:
            # Without its corrections, which come last, no file takes the place of the one that may be there.
            with whole_file(check_folder(output)) as unfinished:
                corrected(C3Latents.save_parts(unfinished, batches, fields, **about)).save(unfinished)
            latents = C3Latents.load(output)
        else:
            latents = C3Latents.save_parts(output, batches, fields, **about)
        if min_fidelity is not None:
            warn_of_fidelity(latents, min_fidelity)
        return (latents, skipped) if on_error == "skip" else latents

    def plan_windows(self, text, *, num_latents=None, ratio=None, window=None):
        """
        The [`WindowPlan`] that `compress` makes of a text with these options, which are checked; nothing is computed.

            latents = sum(model.plan_windows("a long text", ratio=8).num_latents)
        """
        window = self._checked_window(window)
        num_latents, ratio = self._checked_amount(num_latents, ratio, window)
        return self.processor.plan(text, num_latents=num_latents, ratio=ratio, window=window)

    def encode_windows(self, contexts, num_latents, batch_size=8):
        """
        The latents of windows, `(latents, D_dec)`, one window after the other.

            values = model.encode_windows([model.processor.encode("a window")], [4])

        Args:
            contexts (`list`): what the encoder reads of each window, as in [`TextWindow`].
            num_latents (`list[int]`): N of each window.
            batch_size (`int`): windows that go through the encoder at once.
        """
        windows = [TextWindow(context, []) for context in contexts]
        lengths = [0] * len(windows)  # so that they go in their order
        batches = self._encode_in_batches(windows, lengths, num_latents, batch_size, show_progress=False)
        return _gathered(batches, sum(num_latents))

    def _encode_in_batches(self, windows, lengths, num_latents, batch_size, show_progress, dtype=None, measured=None):
        """
        Yields of each batch of windows the rows among all latents, `(n,)`, and the latents, `(n, D_dec)`; longest
        windows first. `measured` ([`MeasuredWindows`], *optional*) is told what needs a correction.
        """
        order = sorted(range(len(windows)), key=lambda i: lengths[i] + num_latents[i], reverse=True)
        starts = [0, *accumulate(num_latents)]
        with progress_bar(len(order), batch_size, show_progress, "Compressing", "window") as bar:
            for start in range(0, len(order), batch_size):
                chosen = order[start : start + batch_size]
                latents, _ = self._encode_batch(windows, dtype, measured, chosen, [num_latents[i] for i in chosen])
                yield torch.cat([torch.arange(starts[i], starts[i + 1]) for i in chosen]), latents
                bar.update(len(chosen))

    def _encode_batch(self, windows, dtype, measured, places, counts):
        """
        The latents of windows at some places, of which each gets its count, `(sum of the counts, D_dec)`; and what
        `MeasuredWindows.note` says of each, where they are measured.
        """
        device = execution_device(self.encoder.get_input_embeddings())
        cut = [windows[place] for place in places]
        processor = self.processor
        batch = processor.modality.places(
            processor, dict(processor.context_inputs([each.context for each in cut], counts))
        )
        latents = self.encode_context(**{name: each.to(device) for name, each in batch.items()})
        latents = latents.to(dtype or latents.dtype)
        if measured is None:
            return latents, None
        ids = [each.text_ids for each in cut]
        spans = [LatentSpan(n, len(each)) for n, each in zip(counts, ids, strict=True)]
        found = find_corrections(self, spans, latents, ids)
        return latents, list(map(measured.note, places, found, ids))

    def _encode_each(self, windows, dtype, measured, places, counts):
        """As `_encode_batch`, the latents of each window, `list[torch.Tensor]`."""
        latents, is_kept = self._encode_batch(windows, dtype, measured, places, counts)
        return latents.split(counts), is_kept

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


def _checked_fidelity(min_fidelity):
    """`min_fidelity` as a `float`, or None."""
    if min_fidelity is None:
        return None
    number = plain_number(min_fidelity)
    if number is None or not 0 < number <= 1:
        raise ValueError(
            f"min_fidelity must be a number above 0 and at most 1 (the share of a window's tokens that need no "
            f"correction), not {min_fidelity!r}."
        )
    return float(number)


def _gathered(batches, num_latents):
    """The latents, `(num_latents, D_dec)`, in the order of the windows, of the batches that hold them."""
    values = None
    for rows, latents in batches:
        values = latents.new_empty(num_latents, latents.shape[1]) if values is None else values
        values[rows.to(values.device)] = latents
    return values


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


__all__ = ["CompressionMixin"]
