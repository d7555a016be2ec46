"""What a backend answers, as text: pieces of whole characters, up to a stop string."""

from contextlib import aclosing

from c3.text_pieces_c3 import GrowingText


class Answer:
    """
    The answer to one prompt.

        answer = Answer(backend, processor, prompt.embeds, sampling, owner, stops=["\\n"])
        async with aclosing(answer.pieces()) as pieces:
            async for piece in pieces: ...
        answer.finish_reason, answer.tokens

    Args:
        backend ([`Backend`]): what answers.
        processor ([`C3Processor`]): ids to text.
        embeds (`torch.Tensor` of shape `(length, D_dec)`), sampling ([`Sampling`]), owner (`str`): for the backend.
        stops (`list[str]`): strings that end the text and are no part of it.

    Attributes:
        finish_reason (`str`): of OpenAI's, `"stop"` or `"length"`; None before the end.
        tokens (`int`): how many the backend gave, without the one that ends the text.
    """

    def __init__(self, backend, processor, embeds, sampling, owner, stops=()):
        self.backend, self.embeds, self.sampling, self.owner = backend, embeds, sampling, owner
        self.text = StoppedText(processor, stops)
        self.finish_reason, self.tokens = None, 0

    async def pieces(self):
        """An asynchronous generator over pieces of the text, none empty. To close it ends the backend's work."""
        async with aclosing(self.backend.answer(self.embeds, self.sampling, self.owner)) as tokens:
            async for token in tokens:
                self.tokens += 1
                if piece := self.text.add(token):
                    yield piece
                if self.text.is_stopped:
                    break
        if piece := self.text.end():
            yield piece
        is_cut = self.tokens == self.sampling.max_tokens and not self.text.is_stopped
        self.finish_reason = "length" if is_cut else "stop"


class StoppedText:
    """
    A text whose tokens come one by one, and which a stop string ends. What might be the beginning of one is held back.

        text = StoppedText(processor, ["END"])
        pieces = [text.add(token) for token in tokens] + [text.end()]
    """

    def __init__(self, processor, stops=()):
        self.stops, self.is_stopped = list(stops), False
        self._growing, self._held, self._lead = GrowingText(processor), "", processor.answer_lead

    def add(self, token):
        """What can be given out, `str`, after one more token."""
        piece = self._growing.add([token])
        if piece:
            piece, self._lead = piece.removeprefix(self._lead), ""
        return self._release(piece)

    def end(self):
        """What is left when no more tokens come."""
        if self.is_stopped:
            return ""
        piece = self._release(self._growing.rest)
        held, self._held = self._held, ""
        return piece + ("" if self.is_stopped else held)

    def _release(self, piece):
        text = self._held + piece
        ends = [text.find(stop) for stop in self.stops if stop in text]
        if ends:
            self.is_stopped, self._held = True, ""
            return text[: min(ends)]
        beginnings = (n for stop in self.stops for n in range(1, len(stop)) if text.endswith(stop[:n]))
        kept = len(text) - max(beginnings, default=0)
        self._held = text[kept:]
        return text[:kept]
