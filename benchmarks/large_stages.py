"""What `large_cpu` does and measures, stage by stage; what needs a process of its own gets one."""

import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from random import Random

import torch
from transformers import AutoModel, DynamicCache

from c3 import C3Latents
from c3.convert.authors_layout import ENCODER_FOLDER
from c3.convert.from_authors import convert_from_authors
from c3.convert.tensor_files import MAX_SHARD_BYTES
from c3.support.allocator import keep_freed_memory

from .encoder_variants import VARIANTS, as_the_authors, encoder_memory, plain_ids, with_head
from .fresh_process import in_fresh_process, peak_memory
from .harness import Setup, at_most, check_row, ratio_row, value_row
from .random_release import checkpoint_bytes, make_config, write_random_release

AUTHORS, CONVERTED = "authors", "converted"
COMPRESS_LIMIT = 1.05
# What compresses.
ENCODING = ("encoder", "context_queries", "projector")
# Windows that are reconstructed side by side.
BATCH = 8


@dataclass(frozen=True)
class Options:
    """
    Args:
        folder (`Path`): of the checkpoints.
        size (`str`): of `random_release.SIZES`.
        tokenizer (`Path`, *optional*): a folder with a tokenizer in place of the repository's.
        text_tokens (`int`): of the text that is compressed.
        new_tokens (`int`): that are reconstructed of it.
        rounds (`int`): timed runs of each side.
        dtype (`str`): that the model computes in; it is stored and loaded in bfloat16.
    """

    folder: Path
    size: str
    tokenizer: Path | None = None
    text_tokens: int = 1000
    new_tokens: int = 32
    rounds: int = 3
    dtype: str = "bfloat16"

    @property
    def setup(self):
        """The `Setup` of the timed rounds; a pass is too long for one to warm up, a short one does that."""
        return Setup(size=self.size, dtype=self.dtype, runs=self.rounds, warm_up=0, smoke=self.size == "tiny")


# --------------------------------------------------------------------------------------------------------- the stages


def write(options):
    """The random checkpoint in the authors' layout."""
    folder = options.folder / AUTHORS
    shutil.rmtree(folder, ignore_errors=True)
    seconds = in_fresh_process(_timed, write_random_release, folder, options.size, options.tokenizer)[0]
    return [value_row("Writing random weights", seconds, "s", bytes=checkpoint_bytes(options.size))]


def convert(options):
    """`c3 convert` on it."""
    target = options.folder / CONVERTED
    shutil.rmtree(target, ignore_errors=True)
    seconds, peak = in_fresh_process(_timed, run_convert, str(options.folder / AUTHORS), str(target))
    baseline = in_fresh_process(peak_memory)
    return [
        value_row("`c3 convert`", seconds, "s", bytes=checkpoint_bytes(options.size)),
        value_row("`c3 convert`: peak memory", peak, "B", shard_bytes=MAX_SHARD_BYTES),
        value_row("The same libraries with no work: peak memory", baseline, "B"),
    ]


def load(options):
    """`AutoModel.from_pretrained` with the weights on the disk only, and in the system's cache of files."""
    rows = []
    for where in ("on the disk", "in the file cache"):
        if where == "on the disk":
            forget_files(options.folder / CONVERTED)
        seconds, peak = in_fresh_process(_timed, load_model, options)
        rows.append(value_row(f"Loading in bfloat16, weights {where}", seconds, "s", peak_memory=peak))
        if where == "on the disk":
            forget_files(options.folder / CONVERTED)
        seconds, peak = in_fresh_process(_timed, load_and_read, options)
        rows.append(value_row(f"Loading and reading each weight once, weights {where}", seconds, "s", peak_memory=peak))
    return [*rows, value_row("Loading and reading each weight once: peak memory", peak, "B")]


def compress(options):
    """Times of compressing, beside its baselines."""
    return in_fresh_process(compress_rows, options)


def memory(options):
    """Peak memory of the encoder's variants, and of the whole model."""
    folder, config = options.folder / AUTHORS / ENCODER_FOLDER, make_config(options.size)
    peaks = {
        name: in_fresh_process(encoder_memory, name, folder, config, options.text_tokens, options.dtype)
        for name in VARIANTS
    }
    whole = in_fresh_process(compress_memory, options)
    return [
        value_row("Whole model, loading and compressing: peak memory", whole, "B"),
        value_row("Bare encoder: peak memory", peaks["bare"], "B"),
        value_row("Our encoder: peak memory", peaks["ours"], "B"),
        value_row("Encoder as in the authors' code: peak memory", peaks["authors"], "B"),
        value_row("Peak memory, authors' encoder by ours", peaks["authors"] / peaks["ours"], "x"),
    ]


def expand(options):
    """Reconstruction, one window and several side by side."""
    return in_fresh_process(expand_rows, options)


STAGES = {stage.__name__: stage for stage in (write, convert, load, compress, memory, expand)}


# -------------------------------------------------------------------------------------------- what the processes do


def run_convert(source, target):
    """What `c3 convert SOURCE TARGET` does."""
    keep_freed_memory()
    convert_from_authors(source, target)


def load_model(options, *parts):
    """[`C3Model`] of the converted checkpoint as it is stored, with these parts in the dtype that is measured."""
    model = AutoModel.from_pretrained(options.folder / CONVERTED, dtype="auto").eval()
    for part in parts:
        getattr(model, part).to(getattr(torch, options.dtype))
    return model


@torch.no_grad()
def load_and_read(options):
    """Loads it, and reads what loading only maps into memory."""
    for weights in load_model(options).parameters():
        weights.sum()


@torch.no_grad()
def compress_rows(options):
    """Rows of compressing a text, of a bare pass and of the authors' way, in turn."""
    model = load_model(options, *ENCODING)
    text = make_text(model.processor, options.text_tokens)
    first_provenance = _timed(model.latent_provenance)[0]
    later_provenance = _timed(model.latent_provenance)[0]
    context = context_of(model, text)
    plain, causal_lm = plain_ids(model, context), with_head(model.encoder)
    latents, states = [], []
    # Reads what loading only mapped into memory.
    model.compress(make_text(model.processor, 1), show_progress=False)
    compressing, bare, authors = options.setup.alternate(
        lambda: latents.append(model.compress(text, show_progress=False).values),
        lambda: model.encoder(input_ids=plain, use_cache=False),
        lambda: states.append(as_the_authors(causal_lm, model, context).hidden_states[-1]),
    )
    theirs = model.projector(states[-1][context == model.config.query_token_id])
    return [
        ratio_row(
            f"Compressing {options.text_tokens} tokens by a bare pass over {plain.shape[1]} positions",
            (compressing, bare),
            "time",
            at_most(COMPRESS_LIMIT),
        ),
        ratio_row("Encoder as in the authors' code by compressing", (authors, compressing), "time"),
        check_row(
            "Latents of the two",
            torch.isclose(latents[-1].to(theirs), theirs, rtol=0.02, atol=0.02).float().mean().item(),
        ),
        value_row("Fingerprint of all weights, once after loading", first_provenance - later_provenance, "s"),
        value_row("Provenance of the latents, each later time", later_provenance, "s"),
    ]


@torch.no_grad()
def expand_rows(options):
    """Rows of reconstructing the first tokens of a window, and of a bare loop."""
    model = load_model(options, "decoder")
    count = options.new_tokens
    window = model.compress(make_text(model.processor, count), show_progress=False)
    batch = C3Latents(
        values=window.values.repeat(BATCH, 1),
        latent_lengths=window.latent_lengths.repeat(BATCH),
        text_lengths=window.text_lengths.repeat(BATCH),
        window_counts=torch.ones(BATCH, dtype=torch.long),
        provenance=window.provenance,
    )
    bare_loop(model, window, 1)
    seconds = options.setup.alternate(
        lambda: model.expand(window, show_progress=False), lambda: bare_loop(model, window, count)
    )
    together = options.setup.alternate(lambda: model.expand(batch, show_progress=False), runs=1)[0][0]
    row = ratio_row(f"Reconstructing {count} tokens by a bare loop", seconds, "time")
    speed = count / row["ours"]["median"]
    return [
        row,
        value_row("Reconstruction, one window", speed, "tokens/s"),
        value_row(f"Reconstruction, {BATCH} windows side by side", BATCH * count / together, "tokens/s", runs=1),
    ]


def compress_memory(options):
    """Peak memory of loading the whole model and compressing a text."""
    model = load_model(options, *ENCODING)
    model.compress(make_text(model.processor, options.text_tokens), show_progress=False)
    return peak_memory()


def bare_loop(model, latents, count):
    """Greedy ids, one by one, of the bare decoder with its cache."""
    inputs = model.processor.decoder_inputs([model.processor.row(latents.spans[0])])
    step, cache, ids = model.embed_prompt(inputs["input_ids"], latents.values), DynamicCache(), []
    for _ in range(count):
        logits = model.decoder(inputs_embeds=step, past_key_values=cache, use_cache=True, logits_to_keep=1).logits
        ids.append(logits[:, -1].argmax(-1, keepdim=True))
        step = model.decoder.get_input_embeddings()(ids[-1])
    return torch.cat(ids, dim=1)


def context_of(model, text):
    """The encoder's ids of one window, with its queries."""
    ids = model.processor.encode_context(text)
    return model.processor.context_inputs([ids], [model.config.num_latents])["context_input_ids"]


def make_text(processor, tokens):
    """A text of exactly so many tokens: words that are one token each, in random order."""
    tokenizer = processor.tokenizer
    words = [tokenizer.decode([i]) for i in range(min(8000, len(tokenizer)))]
    words = [word for word in words if word[:1] == " " and word[1:].isalpha() and len(processor.encode(word)) == 1]
    text = "".join(Random(0).choices(words, k=tokens))
    if len(processor.encode(text)) != tokens:
        raise RuntimeError(f"The text has {len(processor.encode(text))} tokens, not {tokens}.")
    return text


def _timed(function, *arguments, **keywords):
    """Seconds that a call takes, and this process's peak memory after it."""
    started = time.perf_counter()
    function(*arguments, **keywords)
    return time.perf_counter() - started, peak_memory()


def forget_files(folder):
    """Takes a folder's files out of the system's cache, so that they are read from the disk again (Linux)."""
    os.sync()
    for path in folder.iterdir():
        if path.is_file():
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
