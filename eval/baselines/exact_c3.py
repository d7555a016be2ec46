"""The model with corrections: the tokens that its latents do not give back are kept too (`corrections_c3.py`)."""

from .c3 import compress_examples, expand_examples


def reconstruct_with_exact_c3(model, examples, options):
    return expand_examples(model, compress_examples(model, examples, options, exact=True), options)
