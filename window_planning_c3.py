"""The processor's windows: where a text is cut, and how many latents each window gets."""

import math
from functools import partial

from .context_modalities_c3 import context_modality
from .texts_c3 import check_text
from .windows_c3 import (
    TextWindow,
    WindowPlan,
    encode_in_pieces,
    even_windows,
    share_latents,
    windows_at,
    windows_at_characters,
)

# What stands for a text without tokens, where the text itself is stored; a tokenizer without it is none.
STAND_IN = "a"


NO_TOKENS = (
    "The tokenizer makes no tokens of the text {!r}. Leave it out, or compress it with exact=True, which stores the "
    "text itself."
)


class _NoTokensError(ValueError):
    """There are no tokens of a text that is not empty."""


class WindowPlanningMixin:
    """
    Texts to windows; mixed into [`C3Processor`], of which it needs `encode`, the tokenizers and the settings.
    """

    @property
    def modality(self):
        """The [`ContextModality`] that `context_modality` names."""
        return context_modality(self.context_modality)

    def split(self, text, window=None):
        """
        Cuts a text into windows of at most `window` tokens, by default the processor's `default_window`.

            lengths = processor.split("a long text", window=64).lengths

        The windows' ids, joined, are the decoder's ids of the whole text. With one tokenizer a cut may fall between the
        bytes of a character; where the encoder reads something else than these ids it never does.

        Returns: [`TextWindows`], which are cut when they are asked for.

        Raises:
            TypeError: not a string.
            ValueError: empty text, text that is not valid Unicode (a lone surrogate), or a character that does not fit
                into a window.
        """
        window = self.default_window if window is None else window
        if self.modality.reads_ids(self):
            return _cut_at_tokens(self._ids_of_long(text), window)
        check_text(text)
        ids, offsets = self.encode_with_offsets(text)
        if not ids:
            raise _NoTokensError(NO_TOKENS.format(text[:40]))
        return windows_at_characters(text, ids, offsets, window, partial(self.modality.from_text, self))

    def window_of(self, ids):
        """
        The [`TextWindow`] of a piece of a text's ids (`list[int]`), for training. Where the encoder reads something
        else than these ids, bytes that make no character, as where a cut went through one, are left out, and so are
        special tokens, which are among random ids.
        """
        if self.modality.reads_ids(self):
            return TextWindow(ids, ids)
        text = self.decode(ids).replace("\ufffd", "")
        text = text or self.tokenizer.decode(ids, clean_up_tokenization_spaces=False)
        return TextWindow(self.modality.from_text(self, text), self.encode(text))

    def context_of(self, ids, follows=False):
        """
        What the encoder reads of the text that the ids of a window (`list[int]`) give, as in [`TextWindow`]:
        `processor.context_of(ids)`. Of the ids of a window of `split` it is that window's context, where the tokenizer
        loses nothing. `follows` (`bool`): another window of the same text comes before.
        """
        if self.modality.reads_ids(self):
            return ids
        # Behind a letter, as some tokenizers leave out a space at the start of what they decode.
        before = self.encode("a") if follows else []
        # Bytes that make no character are read as one: a text may hold that one, too.
        text = self.decode(before + list(ids)).removeprefix(self.decode(before))
        return self.modality.from_text(self, text)

    def _ids_of_long(self, text):
        """The decoder's ids of a text, `array.array`."""
        check_text(text)
        ids = encode_in_pieces(self.encode, text)
        if not ids:
            raise _NoTokensError(NO_TOKENS.format(text[:40]))
        return ids

    def plan(self, text, *, num_latents=None, ratio=None, window=None, exact=False):
        """
        The windows of a text and N of each, see `C3Model.compress`.

            windows, counts = processor.plan("a long text", ratio=8)

        Args:
            num_latents (`int`, *optional*): latents of a full window, by default the processor's for a default window
                and with the uniform layout as many in proportion for another one.
            ratio (`float`, *optional*): tokens per latent instead, over the whole text.
            window (`int`, *optional*): tokens of a window, by default the processor's `default_window`.
            exact (`bool`): whether texts are stored where their tokens do not give them back. Then one without tokens
                is planned as `STAND_IN`, which is what its latents hold.

        Returns: [`WindowPlan`].

        Raises:
            TypeError, ValueError: as `split`, a ratio that needs more latents than the appended layout has, and one at
                which the encoder cannot read the text (`ContextModality.check_plan`).
        """
        try:
            plan = self._plan(text, num_latents, ratio, window)
        except _NoTokensError:
            if not exact or not self.encode(STAND_IN):
                raise
            plan = self._plan(STAND_IN, num_latents, ratio, window)
        self.modality.check_plan(self, plan)
        return plan

    def plan_ids(self, ids, *, num_latents=None, ratio=None, window=None, limit=True):
        """
        As `plan`, of the decoder's ids of a text (`array.array`), where the encoder reads these. With `limit=False`
        down to any ratio, for training.
        """
        window = self.default_window if window is None else window
        if self.latent_position_layout != "uniform":
            return self._shared(_cut_at_tokens(ids, window), num_latents, ratio, window)
        total = self._total_latents(len(ids), num_latents, ratio, window, limit)
        lengths, counts = zip(*even_windows(len(ids), total, window), strict=True)
        return WindowPlan(windows_at(lengths, ids), list(counts))

    def readable_plan(self, text, *, num_latents=None, ratio=None, window=None):
        """
        As `plan`, of text that must not be refused, such as a chunk that a model wrote: with more latents where the
        encoder could not read it from so few, and with fewer where the appended layout has not so many.
        """
        if ratio is not None and self.latent_position_layout != "uniform":
            most = min(len(self.encode(text)), window or self.default_window)
            ratio = max(ratio, most / self.num_latents)
        plan = self._plan(text, num_latents, ratio, window)
        return plan._replace(num_latents=self.modality.readable_counts(self, plan))

    def _plan(self, text, num_latents, ratio, window):
        window = self.default_window if window is None else window
        if self.modality.reads_ids(self):  # else a cut cannot fall just anywhere
            return self.plan_ids(self._ids_of_long(text), num_latents=num_latents, ratio=ratio, window=window)
        return self._shared(self.split(text, window), num_latents, ratio, window)

    def _shared(self, windows, num_latents, ratio, window):
        """The [`WindowPlan`] of windows that lie where they do."""
        uniform = self.latent_position_layout == "uniform"
        lengths = windows.lengths
        if uniform or ratio is not None:
            counts = share_latents(lengths, self._total_latents(sum(lengths), num_latents, ratio, window))
        else:
            counts = [min(self.num_latents, window) if num_latents is None else num_latents] * len(windows)
        most = self.num_latents
        if not uniform and max(counts) > most:
            raise ValueError(
                f"ratio={ratio} needs {max(counts)} latents in a window, above the {most} that this model was trained "
                f"with; ask for a ratio of {math.ceil(max(lengths) / most)} or more, or a smaller window."
            )
        return WindowPlan(windows, counts)

    def _total_latents(self, tokens, num_latents, ratio, window, limit=True):
        """Latents of a text of so many tokens, see `plan`; with `limit` no more than `ratio_range` allows."""
        if ratio is not None:
            total = int(tokens / ratio)
        elif num_latents is not None:
            total = math.ceil(tokens * num_latents / window)
        else:
            total = math.ceil(tokens * self.num_latents / self.default_window)
        return min(total, int(tokens / self.ratio_range[0])) if limit and self.ratio_range else total


def _cut_at_tokens(ids, window):
    """[`TextWindows`] of `window` of the ids each, the last one of what is left."""
    whole, rest = divmod(len(ids), window)
    return windows_at([window] * whole + [rest] * bool(rest), ids)


__all__ = ["WindowPlanningMixin"]
