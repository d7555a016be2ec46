"""What the page shows of a text: computed here, drawn in app.py."""

import time
from dataclasses import dataclass
from pathlib import Path

import torch

from c3 import DEFAULT_CHECKPOINT
from c3.cli.demo import UNSURE_BELOW
from c3.cli.text_difference import SAME, difference_parts
from c3.eval.metrics import precision
from c3.eval.text_kinds import language

# Of Qwen2.5-3B, the decoder of the paper, in bfloat16: 36 layers, keys and values, 2 heads, 128 wide, 2 bytes.
PAPER_BYTES_PER_POSITION = 36 * 2 * 2 * 128 * 2
# Own tokens of the default checkpoint for one of Qwen2.5's: of English, on the evaluation pages.
OWN_TOKENS_PER_QWEN_TOKEN = 1.25
LONGEST_TEXT = 20_000


@dataclass(frozen=True)
class CompressedPage:
    """
    Args:
        latents ([`C3Latents`]): of the text.
        came_back (`str`): what they give back.
        marked (`list[tuple[str, str or None]]`): the text in pieces, with what each is: "lost", "added", "unsure".
        facts (`list[tuple[str, str, str]]`): what, of the latents, and of the text itself.
        windows (`list[tuple[int, float, str]]`): place, fidelity in percent, and whether it comes back by its latents.
    """

    latents: object
    came_back: str
    marked: list
    facts: list
    windows: list


def compress_page(model, text, ratio):
    """
    A text compressed, read back and looked at.

    Args:
        model ([`C3Model`]): with its processor.
        text (`str`): up to `LONGEST_TEXT` characters.
        ratio (`float`): tokens per latent.

    Returns: [`CompressedPage`].

    Raises:
        ValueError: no text, or one that is too long.
    """
    if not text.strip():
        raise ValueError("Paste a text first, or upload one.")
    if len(text) > LONGEST_TEXT:
        raise ValueError(f"This page takes {LONGEST_TEXT} characters, and the text has {len(text)}: take a part of it.")
    start = time.perf_counter()
    latents = model.compress(text, ratio=ratio, measure=True, show_progress=False)
    compressed = time.perf_counter()
    expanded = model.expand(latents, return_scores=True, check=True, show_progress=False)
    ended = time.perf_counter()
    parts = difference_parts(text, expanded.text, expanded.uncertain_spans(UNSURE_BELOW))
    marked = [(piece, ("unsure" if unsure else None) if kind == SAME else kind) for piece, kind, unsure in parts]
    fidelities = latents.window_fidelities or []
    lost = set(expanded.lost_windows)
    windows = [
        (place, 100 * float(fidelity), "no" if place in lost else "yes") for place, fidelity in enumerate(fidelities)
    ]
    facts = _facts(model, text, latents, expanded, compressed - start, ended - compressed)
    return CompressedPage(latents, expanded.text, marked, facts, windows)


def _facts(model, text, latents, expanded, compress_seconds, expand_seconds):
    count, tokens = latents.num_latents, latents.text_tokens
    own = latents.cache_bytes(model) / count
    with_the_papers_decoder = []
    if Path(model.name_or_path).resolve() == Path(DEFAULT_CHECKPOINT) and language(text) == "en":
        sizes = (each * PAPER_BYTES_PER_POSITION / 1e6 for each in (count, tokens / OWN_TOKENS_PER_QWEN_TOKEN))
        with_the_papers_decoder = [("with the paper's decoder, about", *(f"{size:.2f}" for size in sizes))]
    return [
        ("positions in a prompt", f"{count}", f"{tokens}"),
        ("cache, MB", f"{count * own / 1e6:.2f}", f"{tokens * own / 1e6:.2f}"),
        *with_the_papers_decoder,
        ("seconds to read in a prompt", *(f"{each:.3f}" for each in _seconds_to_read(model, text, latents))),
        ("bytes to store", f"{latents.nbytes}", f"{len(text.encode())}"),
        ("tokens per latent", f"{latents.ratio:.1f}", ""),
        ("precision of what came back", f"{precision(text, expanded.text):.2%}", ""),
        ("windows that are lost", f"{len(expanded.lost_windows)} of {latents.num_windows}", ""),
        ("seconds to compress", f"{compress_seconds:.2f}", ""),
        ("seconds to read back", f"{expand_seconds:.2f}", ""),
    ]


@torch.no_grad()
def _seconds_to_read(model, text, latents):
    """That the decoder takes before it can answer, two `float`: about the latents, and about the text itself."""
    decoder, ids = model.decoder, torch.tensor([model.processor.encode(text)], device=model.device)
    values = latents.values.to(decoder.get_input_embeddings().weight)
    found = []
    for inputs in ({"inputs_embeds": values[None]}, {"input_ids": ids}):
        start = time.perf_counter()
        decoder(**inputs, use_cache=True, logits_to_keep=1).logits.argmax().item()  # which waits for a GPU
        found.append(time.perf_counter() - start)
    return found
