"""The prompt template as the decoder's ids, and the answers that follow it."""

from .known_ids_c3 import known_ids


class PromptTemplateMixin:
    """
    Part of [`C3Processor`]. It needs of the processor `prompt_template`, `tokenizer`, `encode`, `decode` and
    `_encode_template`.
    """

    @property
    def answer_lead(self):
        """What an answer begins with, `str`: a space where the template ends with one, else nothing."""
        # Tokenizers put the space before a word into its token: after a space of its own a word would be other tokens
        # than those that stand for it in a text, which a small decoder then has to translate.
        return " " if self.prompt_template.endswith(" ") else ""

    def prompt_template_ids(self):
        """
        The decoder's ids before the latents, between them and the prompt, and after it: three `list[int]`. A space at
        the template's end belongs to the answer.
        """
        before, rest = self.prompt_template.removesuffix(self.answer_lead).split("{latents}")
        return [known_ids(self.tokenizer, piece, self._encode_template) for piece in (before, *rest.split("{prompt}"))]

    def turn(self, prompt_ids):
        """
        The decoder's ids, `list[int]`, of a later prompt of a conversation: the prompt template without latents.

            ids = processor.turn(processor.encode("And who wrote it?"))
        """
        before, between, after = self.prompt_template_ids()
        return before + between + prompt_ids + after

    def encode_answer(self, answer):
        """The decoder's ids of an answer as it follows the template, `list[int]`, or of each of a list of answers."""
        if isinstance(answer, str):
            return self.encode(self.answer_lead + answer)
        return self.encode([self.answer_lead + each for each in answer])

    def decode_answer(self, ids):
        """The text of what followed the template, `str`: `processor.decode_answer(processor.encode_answer("Ada"))`."""
        return self.decode(ids).removeprefix(self.answer_lead)


__all__ = ["PromptTemplateMixin"]
