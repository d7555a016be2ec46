"""Texts that were read back from latents, with how sure the decoder was of each token: `ExpandedText`."""

from dataclasses import dataclass

from .options_c3 import plain_number


@dataclass(frozen=True)
class ExpandedWindow:
    """
    What one window was decoded to: `window.text, min(window.margins)`.

    Args:
        ids (`list[int]`): its tokens.
        margins (`list[float]`, *optional*): by how much the logit of each token led the next one of the tokens that a
            text may hold; infinite for a token that was stored as a correction. None while nobody asked.
        text (`str`): the piece of the text that it adds. A character whose bytes end in a later window comes with that
            one. Where the tokenizer loses something of an exactly compressed text, so that the text itself is stored,
            the last window has all of it.
        token_spans (`list[tuple[int, int]]`, *optional*): start and end of the characters that each token holds a byte
            of, counted from the start of `text`: several tokens may share a character, and the last may hold the
            beginning of one that comes with a later window. All empty where the text itself is stored.
        distance (`float`, *optional*): how far the latents of what came back are from those that were given, see
            `latent_distances`. None where nobody asked, and for texts that were compressed exactly.
        comes_back (`bool`, *optional*): whether this is the text that was compressed, by that distance; by their
            checksums of texts that were compressed exactly. None where nobody asked.
    """

    ids: list[int]
    margins: list[float] | None = None
    text: str = ""
    token_spans: list[tuple[int, int]] | None = None
    distance: float | None = None
    comes_back: bool | None = None


@dataclass(frozen=True)
class ExpandedText:
    """
    A text that was read back, window by window.

        for start, end in expanded.uncertain_spans(below=2):
            print(expanded.text[start:end])

    Args:
        windows (`list[ExpandedWindow]`): in order.
    """

    windows: list[ExpandedWindow]

    @property
    def text(self) -> str:
        """The text, which `expand` without scores gives."""
        return "".join(window.text for window in self.windows)

    @property
    def lost_windows(self) -> list[int]:
        """
        The places of windows that were found wrong: none where the whole text came back. `ValueError` where nobody
        looked, so that it is not known.
        """
        if any(window.comes_back is None for window in self.windows):
            raise ValueError("lost_windows are not known: ask for them, by expand(latents, check=True).")
        return [place for place, window in enumerate(self.windows) if window.comes_back is False]

    def uncertain_spans(self, below: float) -> list[tuple[int, int]]:
        """
        Where the text may be wrong: starts and ends of the characters of tokens whose margin is less than `below`
        (in logits), in order, those that touch as one. `ValueError` where margins were not asked for.
        """
        if plain_number(below) is None:
            raise ValueError(f"below must be a number (of logits), not {below!r}.")
        if any(window.margins is None for window in self.windows):
            raise ValueError("uncertain_spans need the margins: ask for them, by expand(latents, return_scores=True).")
        spans, start = [], 0
        for window in self.windows:
            for margin, (first, last) in zip(window.margins, window.token_spans, strict=True):
                if margin < below and first < last:
                    if spans and start + first <= spans[-1][1]:
                        first = spans.pop()[0] - start
                    spans.append((start + first, start + last))
            start += len(window.text)
        return spans


def named_windows(places: list[int], most: int = 10) -> str:
    """Places of windows in a message: `window 3`, or `windows 3, 4, …` where there are more than `most`."""
    named = ", ".join(map(str, places[:most])) + (", …" if len(places) > most else "")
    return f"window{'s' * (len(places) > 1)} {named}"


__all__ = ["ExpandedText", "ExpandedWindow", "named_windows"]
