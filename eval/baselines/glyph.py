"""
Glyph (Cheng et al. 2025, "Glyph: Scaling Context Windows via Visual-Text Compression", arXiv 2510.17800): all pages of
a text in one turn of a chat with a vision-language model, which is asked for the text. Any model that transformers
loads as `AutoModelForImageTextToText`, and whose processor has a chat template, can be asked.

How many vision tokens a text has follows from its pages and the model's processor, so that no number of latents and no
ratio can be asked for: `configs/glyph_like.yaml` draws the pages with Glyph's settings. What a model thinks aloud
before it answers is left out, but counts among the tokens that it may say: `answer_limit` in a file of settings gives
it more.
"""

from c3.eval.page_reader import PageReader, once_a_page

AS_DRAWN = "as drawn"


class Glyph(PageReader):
    """See [`PageReader`]."""

    settings_file = "glyph_like.yaml"

    def inputs(self, pages, example):
        return [self.model.chat_inputs(pages, self.settings.prompt)]

    def choose(self, examples):
        return once_a_page(examples, AS_DRAWN), []
