"""Vision-language models as baselines: a text is drawn on pages, and the model gives back what it reads there."""

import math
from abc import ABC, abstractmethod
from dataclasses import asdict, replace
from pathlib import Path

from c3.quoting_c3 import listed
from c3.support.errors import one_line

from .harness import BYTES_PER_NUMBER, Reconstruction
from .page_data import plain_ids
from .page_drawing import draw_pages, not_drawn
from .page_settings import read_page_settings
from .vision_language import load_vision_language_model

CONFIGS = Path(__file__).parents[1] / "configs"


class PageReader(ABC):
    """
    A way to have a vision-language model read pages. It stands where a C3 model stands in a suite.

        reader = Glyph.load("zai-org/Glyph", "cuda", "bfloat16")
        (reconstruction,) = reader.reconstruct([example], options)

    A text is read on its own, greedily, in at most `answer_limit` times as many tokens as it has: a model that repeats
    itself comes to an end. Bytes kept are those of the vision tokens, as the language model reads them, in bfloat16.

    Args:
        model ([`VisionLanguageModel`]): that reads.
        settings ([`PageSettings`]): of the pages, and what is asked.

    Raises:
        ValueError: no Pillow; or a model with which it cannot be done, in one line that says why.
    """

    settings_file = None  # in configs/, where nobody names another one

    def __init__(self, model, settings):
        self.model, self.settings, self.tokenizer = model, settings, model.tokenizer
        self.check()

    @classmethod
    def load(cls, name, device, dtype, settings_path=None):
        """
        The reader of a model in a folder or under a Hub id.

        Raises: `OSError`, `ValueError` saying in one line what is wrong with the model or the file of settings.
        """
        settings = read_page_settings(settings_path or CONFIGS / cls.settings_file)
        return cls(cls.load_model(name, device, dtype), settings)

    @classmethod
    def load_model(cls, name, device, dtype):
        """The [`VisionLanguageModel`] of `load`."""
        return load_vision_language_model(name, device, dtype)

    @abstractmethod
    def inputs(self, pages, example):
        """What the model is given of an example's pages: `list[BatchFeature]`, of one row each, whose answers follow
        one another."""

    @abstractmethod
    def choose(self, examples):
        """
        What can be measured of a suite's examples, each at a number of latents of which this model may know nothing.

        Returns: `tuple[list[Example], list[str]]`, the second one line for each kind of thing that was left out.
        """

    def examples(self, examples):
        """As `choose`, and a line about texts that cannot be drawn as they are."""
        chosen, left_out = self.choose(examples)
        missing = {example.page.id: not_drawn(example.page.text, self.settings.font) for example in chosen}
        missing = {name: characters for name, characters in missing.items() if characters}
        if missing:
            font, found = Path(self.settings.font).name, listed(sorted(set().union(*missing.values())))
            left_out.append(
                f"nothing, but in {len(missing)} of the texts are characters that {font} does not draw, which are "
                f"escapes, as {found}: another font, in a file of --page-settings, may"
            )
        return chosen, left_out

    def check(self):
        """Reads a page with next to nothing on it, so that what cannot be done is found before any work."""
        name, model = self.model.name, self.model
        if model.image_token_id is None:
            raise ValueError(
                f"{name} does not say which token stands for a picture: its vision tokens cannot be counted"
            )
        try:
            pages = draw_pages("a", self.settings)
            (inputs,) = self.inputs(pages, None)
        except Exception as error:  # whatever fails is a matter of that processor, or of what is not installed
            raise ValueError(f"{name} cannot be given a page: {one_line(error)}") from error
        if model.num_vision_tokens(inputs) <= len(pages):
            raise ValueError(f"the processor of {name} does not say how many vision tokens a picture has")

    def description(self):
        """What a result file says of the model and the pages, `dict`; of a font the file's name only."""
        settings = asdict(self.settings) | {"font": Path(self.settings.font).name}
        return {**self.model.description(), "pages": settings}

    def reconstruct(self, examples, options):
        """As a method of `baselines/`: `list[Reconstruction]`."""
        return [self._reconstruct(example) for example in examples]

    def _reconstruct(self, example):
        text = example.page.text
        pages = draw_pages(text, self.settings)
        inputs = self.inputs(pages, example)
        limit = math.ceil(self.settings.answer_limit * len(plain_ids(self.tokenizer, text)))
        output = "\n".join(self.model.answer(each, limit) for each in inputs)
        tokens = sum(map(self.model.num_vision_tokens, inputs))
        return Reconstruction(output, tokens * self.model.hidden_size * BYTES_PER_NUMBER, tokens, len(pages))


def once_a_page(examples, setting, latents=None):
    """The examples of a suite, of which there is one for each page and each of its settings, with one setting only."""
    pages = {(example.group, example.page.id): example for example in examples}
    return [replace(example, setting=setting, latents=latents) for example in pages.values()]
