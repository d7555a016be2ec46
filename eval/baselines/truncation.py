"""Truncation: the first N tokens of the text instead of N latents. What a context that is too long usually gets."""

from c3.eval.harness import Reconstruction


def reconstruct_with_truncation(model, examples, options):
    """Keeps the first N tokens, so that N vectors of the decoder's input stand against N latents."""
    tokenizer = model.processor.tokenizer
    rows = []
    for example in examples:
        ids = model.processor.encode(example.page.text)[: example.latents]
        # A cut may fall between the bytes of a character.
        kept = tokenizer.decode(ids, clean_up_tokenization_spaces=False).rstrip("\ufffd")
        rows.append(Reconstruction(kept, len(kept.encode()), len(ids)))
    return rows
