"""
DeepSeek-OCR (Wei et al. 2025, "DeepSeek-OCR: Contexts Optical Compression", arXiv 2510.18234), with transformers' own
classes: each page of a text alone, as a picture of one of the sizes that the model knows, and the published prompt.

What transformers 5.23 has of the family, and of its sizes in pixels by vision tokens of a page:

* DeepSeek-OCR itself has no class of its own name. Its parts are those of Baidu's Unlimited-OCR (`unlimited_ocr`),
  whose classes read the weights by the names that DeepSeek's checkpoint has; but its decoder sees all of the text, so
  that its layers are loaded with full attention. All four native modes are there, Tiny, Small, Base and Large; as
  published, a page is squeezed into the square of the two smaller ones, and set in the middle of that of the two larger
  ones. A checkpoint that lacks a tensor is refused. The image processor needs torchvision. This has been tried on
  random weights only.
* DeepSeek-OCR-2 (`deepseek_ocr2`) has a learned query for each vision token, 144 for pictures of 768 pixels and 256 for
  1024: no other sizes. A checkpoint in transformers' form is needed, as deepseek-community/DeepSeek-OCR-2.

Pages in tiles ("Gundam") are not measured, as the number of vision tokens would follow from the page. Nothing forbids
repeated n-grams, as DeepSeek's scripts do: decoding is greedy here, as for all methods.

The input holds a few more placeholders than the nominal number, one at the end of each row of vision tokens and one
behind the picture; of DeepSeek-OCR-2 that one alone. Results count all of them.
"""

from functools import partial

from c3.eval.page_reader import PageReader, once_a_page
from c3.eval.report import asked_latents
from c3.eval.vision_language import load_vision_language_model
from c3.quoting_c3 import quoted

# Vision tokens of a page, and the side of its picture in pixels, by transformers' `model_type`.
MODES = {
    "unlimited_ocr": {64: 512, 100: 640, 256: 1024, 400: 1280},
    "deepseek_ocr2": {144: 768, 256: 1024},
}


class DeepSeekOcr(PageReader):
    """See [`PageReader`]."""

    settings_file = "deepseek_ocr.yaml"

    @classmethod
    def load_model(cls, name, device, dtype):
        return load_vision_language_model(name, device, dtype, {"DeepseekOCRForCausalLM": _first_deepseek_ocr})

    @property
    def modes(self):
        return MODES[self.model.model_type]

    def check(self):
        if self.model.model_type not in MODES:
            raise ValueError(
                f"{self.model.name} is a {quoted(self.model.model_type)} model: deepseek-ocr takes DeepSeek-OCR, "
                f"{' and '.join(MODES)}; any other vision-language model can be asked as glyph"
            )
        super().check()

    def inputs(self, pages, example):
        side = self.modes[example.latents if example else min(self.modes)]
        size = {"size": {"height": side, "width": side}, "tile_size": side, "crop_to_patches": False}
        return [self.model.plain_inputs([page], self.settings.prompt, **size) for page in pages]

    def choose(self, examples):
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


def _first_deepseek_ocr(name, config, source):
    """As an Unlimited-OCR whose decoder sees all of the text, see above."""
    from transformers import (
        AutoTokenizer,
        UnlimitedOcrConfig,
        UnlimitedOcrForConditionalGeneration,
        UnlimitedOcrImageProcessor,
        UnlimitedOcrProcessor,
    )

    kept = {key: value for key, value in config.items() if key not in ("model_type", "auto_map")}
    config = UnlimitedOcrConfig(**kept)
    config.text_config.layer_types = ["full_attention"] * config.text_config.num_hidden_layers
    tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False, **source)
    processor = UnlimitedOcrProcessor(UnlimitedOcrImageProcessor(), tokenizer)
    return processor, partial(UnlimitedOcrForConditionalGeneration.from_pretrained, config=config)
