"""
DeepSeek-OCR (Wei et al. 2025, "DeepSeek-OCR: Contexts Optical Compression", arXiv 2510.18234), with transformers' own
classes: each page of a text alone, as a picture of one of the sizes that the model knows, and the published prompt.

What transformers has of the family, and of its sizes, in pixels by vision tokens of a page:

* `unlimited_ocr` (Baidu's Unlimited-OCR), DeepSeek-OCR's architecture with a decoder of its own: DeepSeek-OCR's four
  native modes, Tiny, Small, Base and Large. As published, a page is squeezed into the square of the two smaller ones,
  and set in the middle of that of the two larger ones. Its image processor needs torchvision.
* `deepseek_ocr2` (DeepSeek-OCR-2): one learned query for each vision token, for pictures of 768 and of 1024 pixels;
  other sizes it cannot read.

The first DeepSeek-OCR, of whose modes C3's paper reports 64 and 100 vision tokens, has no class in transformers
5.23: its checkpoint runs with code of its own only, and is refused. Pages cut in tiles ("Gundam") are not measured, as
the number of vision tokens would follow from the page.

The input holds a few more placeholders than the nominal number, one at the end of each row of vision tokens and one
behind the picture, or behind the picture alone: results count all of them.
"""

from c3.eval.page_reader import PageReader, once_a_page
from c3.eval.report import asked_latents
from c3.quoting_c3 import quoted

# Vision tokens of a page, and the side of its picture in pixels, by transformers' `model_type`.
MODES = {
    "unlimited_ocr": {64: 512, 100: 640, 256: 1024, 400: 1280},
    "deepseek_ocr2": {144: 768, 256: 1024},
}


class DeepSeekOcr(PageReader):
    """See [`PageReader`]."""

    settings_file = "deepseek_ocr.yaml"

    @property
    def modes(self):
        return MODES[self.model.model_type]

    def check(self):
        if self.model.model_type not in MODES:
            raise ValueError(
                f"{self.model.name} is a {quoted(self.model.model_type)} model: deepseek-ocr reads with those of "
                f"{' and '.join(MODES)}, any other vision-language model can be asked as glyph"
            )
        super().check()

    def inputs(self, pages, example):
        side = self.modes[example.latents if example else min(self.modes)]
        size = {"size": {"height": side, "width": side}, "tile_size": side, "crop_to_patches": False}
        return [self.model.plain_inputs([page], self.settings.prompt, **size) for page in pages]

    def examples(self, examples):
        """Those at the numbers of vision tokens that are asked for, as by fox; where ratios are, at all there are."""
        asked = {asked_latents(example.setting) for example in examples} - {None}
        unknown = sorted(asked - set(self.modes))
        modes = sorted(asked & set(self.modes)) if asked else sorted(self.modes)
        known = ", ".join(map(str, self.modes))
        if not modes:
            raise ValueError(
                f"{self.model.name} has {known} vision tokens a page: ask for some of these with --latents"
            )
        chosen = [each for mode in modes for each in once_a_page(examples, f"{mode} latents", mode)]
        return chosen, [f"{each} latents: this model has {known} vision tokens a page" for each in unknown]
