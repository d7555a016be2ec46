"""The ids of windows as pieces of one text, where a character's bytes may lie in two windows, or in two tokens."""

from dataclasses import replace


def joined_pieces(processor, windows):
    """Yields the pieces of a text from the ids of its windows (iterable of `list[int]`), one a window at most."""
    text = GrowingText(processor)
    for ids in windows:
        if piece := text.add(ids):
            yield piece
    if text.rest:
        yield text.rest


def with_texts(processor, windows, count):
    """
    Yields the windows of a text with the piece that each adds, and the characters of its tokens where it has margins.

    Args:
        processor ([`C3Processor`]): has the tokenizer.
        windows (`Iterable[ExpandedWindow]`): in order.
        count (`int`): how many there are.
    """
    text, tokens = GrowingText(processor), GrowingText(processor)
    for number, window in enumerate(windows, start=1):
        start = text.length
        piece = text.add(window.ids)
        if number == count:
            piece += text.rest
        spans = None if window.margins is None else _token_spans(tokens, window.ids, start)
        if spans and number == count:
            spans[-1] = (spans[-1][0], len(piece))
        yield replace(window, text=piece, token_spans=spans)


def _token_spans(tokens, ids, origin):
    """Start and end of the characters of each of the next ids of a text, which are added one by one; from `origin`."""
    spans = []
    for token in ids:
        start = tokens.length
        tokens.add([token])
        # With the character that it begins, or goes on with, where a later token ends it.
        spans.append((start - origin, tokens.length + bool(tokens.rest) - origin))
    return spans


class GrowingText:
    """
    A text whose ids come bit by bit. `length` characters of it are complete; `rest` is what they give of one more.
    """

    def __init__(self, processor):
        self.processor = processor
        self.before, self.held, self.given = [], [], 0
        self.length, self.rest = 0, ""

    def add(self, ids):
        """The characters, `str`, that some more ids, `list[int]`, complete."""
        # Decoded together with the ids before, as some tokenizers treat the start of a text differently.
        self.held += ids
        known = self.processor.decode(self.before) if self.before else ""
        held = self.processor.decode(self.before + self.held)[len(known) :]
        complete = held.rstrip("\ufffd")
        piece, self.rest = held[self.given : len(complete)], held[max(self.given, len(complete)) :]
        self.length += len(piece)
        self.given = max(self.given, len(complete))
        if not self.rest:
            self.before, self.held, self.given = self.held, [], 0
        return piece


__all__ = ["GrowingText", "joined_pieces", "with_texts"]
