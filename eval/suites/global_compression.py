"""
What a decoder knows of a long text that it reads chunk by chunk, each but the current one as its latents (global
compression, VIST2, arXiv 2601.10378): perplexity by position, beside that of the full text, of the current chunk alone,
and of a window that slides over as many positions; and what generating takes, by arithmetic.
"""

from dataclasses import asdict, dataclass
from functools import partial
from itertools import chain

import torch

from c3.chunked_rows_c3 import Chunking
from c3.decoder_rows_c3 import TextSegment
from c3.eval.generation_costs import cost_in_chunks, cost_of_plain
from c3.eval.harness import Example, Suite, described
from c3.eval.page_data import Page, count_page
from c3.eval.report import asked_ratio, describe, distinct, markdown_table, new_figure, save_figure, select
from c3.eval.text_kinds import cut_tokens, language
from c3.support.arguments import compression_ratio, whole_number

from .retention import draw_with_band, gain, perplexity, short

FULL, GLOBAL, CHUNK, SLIDING = "full text", "global compression", "current chunk", "sliding window"
# What the paper says that is saved at 4x, of larger models and other lengths.
PUBLISHED = {"cache": 0.77, "FLOPs": 0.74}


@dataclass(frozen=True)
class LongText(Example):
    """The beginning of a page, as the decoder's ids, and tokens of a chunk."""

    ids: tuple[int, ...]
    chunk: int


def add_arguments(parser):
    parser.add_argument("--ratios", nargs="+", type=compression_ratio, default=[4.0])
    about = "of a text, of --window tokens each (default 16)"
    parser.add_argument("--chunks", type=whole_number(2), default=16, metavar="N", help=about)
    parser.add_argument(
        "--generated", type=whole_number(2), default=8192, help="tokens whose cost is told (default 8192)"
    )


def prepare(args, pages, model, counter, window):
    if window < 2:
        raise ValueError("--window must be 2 or more: the first token of a chunk is given, the others are scored")
    length = args.chunks * window
    texts, too_short = [], []
    for page in pages:
        text = cut_tokens(model.processor.tokenizer, page.text, length)
        ids = model.processor.encode(text)[:length] if text is not None else []
        if len(ids) < length:
            too_short.append(page.id)
            continue
        texts.append((language(text), count_page(Page(page.id, page.source, text), model, counter, window), tuple(ids)))
    examples = []
    for ratio in sorted(set(args.ratios)):
        chunking = Chunking(model.processor, window, ratio)
        latents = chunking.num_latents * (args.chunks - 1)
        chosen = [LongText(page, lang, f"{ratio:g}x", latents, ids, window) for lang, page, ids in texts]
        for example in chosen:
            _check_chunks(chunking, example)
        examples += chosen
    if not examples:
        raise ValueError(f"no page has {length} tokens: give fewer --chunks, or longer texts")
    return examples, [f"{len(too_short)} pages below {length} tokens ({', '.join(too_short)})"] if too_short else []


def _check_chunks(chunking, example):
    """`ValueError` where the encoder cannot read a chunk at its ratio, as one that is too much for its picture."""
    try:
        _row(chunking, list(example.ids))
    except ValueError as error:
        raise ValueError(
            f"page {example.page.id}, a chunk of {chunking.every} tokens at {example.setting}: {error}"
        ) from None


# ------------------------------------------------------------------------------------------------------- conditions


def conditions(args, model, examples):
    """What a chunk follows, by name, and what else the numbers depend on."""
    ways = {
        FULL: partial(losses_after_tokens, before=lambda start, chunking: start),
        GLOBAL: losses_after_latents,
        CHUNK: partial(losses_after_tokens, before=lambda start, chunking: 0),
        SLIDING: partial(losses_after_tokens, before=as_many_as_latents),
    }
    plain, costs = asdict(cost_of_plain(model, args.generated)), {}
    for setting in dict.fromkeys(example.setting for example in examples):
        chunking = Chunking(model.processor, examples[0].chunk, asked_ratio(setting))
        costs[setting] = {"plain": plain, "chunked": asdict(cost_in_chunks(model, chunking, args.generated))}
    return ways, {"costs": costs, "latents_see_chunk": model.config.latents_see_chunk}


def as_many_as_latents(start, chunking):
    """How many tokens before a chunk that starts there take the positions of the latents of all before it."""
    return min(start, start // chunking.every * chunking.num_latents)


@torch.no_grad()
def losses_after_tokens(model, examples, options, before):
    """
    Loss of each chunk of each text after some tokens before it, at positions 0, 1, …

    Args:
        before: `(start of the chunk, Chunking) -> int`, how many of the tokens before it are read.

    Returns: `list[list[float]]`: of each text, for each chunk, nats per scored token, which are all but its first.
    """
    found = []
    for batch in _batches(examples, options):
        chunk = batch[0].chunk
        chunking = Chunking(model.processor, chunk, asked_ratio(batch[0].setting))
        ids = torch.tensor([example.ids for example in batch], device=model.device)
        losses = []
        for start in range(0, ids.shape[1], chunk):
            read = ids[:, start - before(start, chunking) : start + chunk]
            logits = model.decoder(input_ids=read, use_cache=False, logits_to_keep=chunk).logits
            losses.append(_losses(logits, ids[:, start : start + chunk]))
        found += torch.stack(losses, dim=1).tolist()
    return found


@torch.no_grad()
def losses_after_latents(model, examples, options):
    """As `losses_after_tokens`, after the latents of all chunks before, in one row with the mask."""
    found = []
    for batch in _batches(examples, options):
        chunk = batch[0].chunk
        chunking = Chunking(model.processor, chunk, asked_ratio(batch[0].setting))
        rows = [_row(chunking, list(example.ids)) for example in batch]
        values = chunking.encode(model, list(chain(*map(chunking.plans, rows))))
        inputs = model.processor.decoder_inputs(rows).to(model.device)
        logits = model(**inputs, latents=torch.cat(values), use_cache=False).logits
        ids = torch.tensor([example.ids for example in batch], device=model.device)
        logits = logits[inputs["chunk_ids"] > 0].view(*ids.shape, -1)
        pairs = zip(logits.split(chunk, dim=1), ids.split(chunk, dim=1), strict=True)
        found += torch.stack([_losses(*each) for each in pairs], dim=1).tolist()
    return found


def _row(chunking, ids):
    """A text in chunks, with the latents of all but the last."""
    segments, _ = chunking.chunks(ids)
    last = max(place for place, each in enumerate(segments) if isinstance(each, TextSegment))
    return segments[: last + 1]


def _batches(examples, options):
    """Of one ratio each."""
    for setting in dict.fromkeys(example.setting for example in examples):
        chosen = [example for example in examples if example.setting == setting]
        for start in range(0, len(chosen), options.batch_size):
            yield chosen[start : start + options.batch_size]


def _losses(logits, ids):
    """Mean loss of each row but for its first token, whose logits are those at the positions of `ids`."""
    logits = logits[:, :-1].float().transpose(1, 2)
    return torch.nn.functional.cross_entropy(logits, ids[:, 1:], reduction="none").mean(-1)


def loss_row(method, example, output):
    """One example's entry in the result file: `losses` are in nats per scored token, for each chunk."""
    return {**described(method, example, example.latents), "losses": output}


# ----------------------------------------------------------------------------------------------------------- report


def stretches(num_chunks):
    """Chunks 1, 2, 3 to 4, 5 to 8 and so on, `list[range]`, counted from 0."""
    starts, start = [0], 1
    while start < num_chunks:
        starts.append(start)
        start *= 2
    return [range(a, b) for a, b in zip(starts, [*starts[1:], num_chunks], strict=True)]


def in_stretch(rows, stretch):
    """The rows, with the mean of some chunks as their `loss`."""
    return [row | {"loss": sum(row["losses"][i] for i in stretch) / len(stretch)} for row in rows]


def report(result):
    rows, chunk = result["examples"], result["options"]["window"]
    parts = [
        "## Global compression",
        describe(
            result,
            "teacher-forced",
            "Perplexity of all tokens but the first of each chunk, by position: exp of the mean loss per decoder "
            "token; in brackets its 95 % bootstrap interval over texts.",
        ),
        f"Chunks of {chunk} tokens, each after what the column says: the full text before it; the latents of all "
        f"chunks before it (latents see their chunk: {'yes' if result['latents_see_chunk'] else 'no'}); nothing; or as "
        "many tokens as there are latents.",
    ]
    for group in distinct(rows, "group"):
        for setting in distinct(select(rows, group=group), "setting"):
            parts += [f"### {group}, {setting}", *_tables(select(rows, group=group, setting=setting), chunk)]
    parts.append(_costs(result))
    return "\n\n".join(parts)


def _tables(rows, chunk):
    methods = distinct(rows, "method")
    table, gains = [], []
    for stretch in stretches(len(rows[0]["losses"])):
        found = {method: in_stretch(select(rows, method=method), stretch) for method in methods}
        name = f"{stretch.start * chunk} to {stretch.stop * chunk}"
        values = [perplexity(found[method]) for method in methods]
        table.append([name, *(f"{short(a)} [{short(b)}, {short(c)}]" for a, b, c in values)])
        values = [gain(found[GLOBAL], found[other]) for other in (FULL, CHUNK, SLIDING) if other in found]
        gains.append([name, *(f"{a:+.3f} [{b:+.3f}, {c:+.3f}]" for a, b, c in values)])
    header = [f"over {each}" for each in (FULL, CHUNK, SLIDING)]
    return (
        markdown_table(["tokens", *methods], table),
        f"What {GLOBAL} gains, in nats per token, paired by text (below 0: it loses):",
        markdown_table(["tokens", *header], gains),
    )


def _costs(result):
    """What generating takes, beside what the paper says."""
    table = []
    for setting, cost in result["costs"].items():
        plain, ours = cost["plain"], cost["chunked"]
        flops = [each["decoder_flops"] + each["encoder_flops"] for each in (plain, ours)]
        rows = (
            ("cache", plain["cache_bytes"] / 2**20, ours["cache_bytes"] / 2**20, "MiB"),
            ("FLOPs", flops[0] / 1e9, flops[1] / 1e9, "GFLOP with the encoder"),
            ("decoder", plain["decoder_flops"] / 1e9, ours["decoder_flops"] / 1e9, "GFLOP"),
        )
        for name, before, after, unit in rows:
            said = f"-{PUBLISHED[name]:.0%}" if name in PUBLISHED else ""
            table.append(
                [setting, f"{name}, {unit}", f"{before:.4g}", f"{after:.4g}", f"{after / before - 1:+.0%}", said]
            )
    heading = (
        f"What {result['options']['generated']} generated tokens take, by arithmetic from the model's shapes "
        "(`eval/generation_costs.py`); the paper's figures are of larger models and other lengths:"
    )
    return heading + "\n\n" + markdown_table(["ratio", "", "plain", "in chunks", "change", "paper, 4x"], table)


def draw(result, path):
    """Perplexity by position: a panel for each group and ratio, a line with its band for each condition."""
    rows, chunk = result["examples"], result["options"]["window"]
    panels = [(group, setting) for group in distinct(rows, "group") for setting in distinct(rows, "setting")]
    figure, axes = new_figure(1, len(panels), figsize=(5 * len(panels), 4), sharey=True, squeeze=False)
    for panel, (group, setting) in zip(axes[0], panels, strict=True):
        chosen = select(rows, group=group, setting=setting)
        for method in distinct(chosen, "method"):
            points = []
            for stretch in stretches(len(chosen[0]["losses"])):
                middle = (stretch.start + stretch.stop) / 2 * chunk
                points.append((middle, *perplexity(in_stretch(select(chosen, method=method), stretch))))
            draw_with_band(panel, points, method)
        panel.set(title=f"{group}, {setting}", xlabel="position in the text, tokens", xscale="log", yscale="log")
    axes[0][0].set(ylabel="perplexity")
    axes[0][-1].legend(fontsize="small")
    figure.tight_layout()
    save_figure(figure, path)


SUITE = Suite(
    summary="perplexity by position in a long text whose earlier chunks are latents, and what generating takes",
    add_arguments=add_arguments,
    prepare=prepare,
    report=report,
    draw=draw,
    methods=conditions,
    row=loss_row,
)
