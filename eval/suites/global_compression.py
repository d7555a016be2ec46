"""
What a decoder knows of a long text that it reads chunk by chunk, each but the current one as its latents (global
compression, VIST2, arXiv 2601.10378): perplexity by position, beside that of the full text, of the current chunk alone,
and of a window that slides over as many positions; and what generating takes, by arithmetic.
"""

from dataclasses import asdict, dataclass
from functools import partial
from itertools import chain, groupby

import torch

from c3.chunked_rows_c3 import MOST_OF_CHARACTER, Chunking
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
    """
    The beginning of a page as chunks of the decoder's ids; tokens that a chunk was to have, and what it has but where a
    character would be cut; and how many latents each but the last gets.
    """

    chunks: tuple[tuple[int, ...], ...]
    chunk: int
    counts: tuple[int, ...]

    @property
    def shape(self):
        """What texts of a batch have alike: whatever is before a chunk is as long in all of them."""
        return self.setting, tuple(map(len, self.chunks)), self.counts


def add_arguments(parser):
    parser.add_argument("--ratios", nargs="+", type=compression_ratio, default=[4.0])
    about = "of a text, of --window tokens each (default 16)"
    parser.add_argument("--chunks", type=whole_number(2), default=16, metavar="N", help=about)
    parser.add_argument(
        "--generated", type=whole_number(2), default=8192, help="tokens whose cost is told (default 8192)"
    )


def prepare(args, pages, model, counter, window):
    least = 2 if model.processor.modality.reads_ids(model.processor) else 2 + MOST_OF_CHARACTER
    if window < least:
        raise ValueError(
            f"--window must be {least} or more: the first token of a chunk is given, the others are scored"
        )
    length = args.chunks * window
    texts, too_short = [], []
    for page in pages:
        text = cut_tokens(model.processor.tokenizer, page.text, length)
        ids = model.processor.encode(text)[:length] if text is not None else []
        chunks = Chunking(model.processor, window).pieces(ids)[: args.chunks]
        if len(ids) < length or len(chunks) < args.chunks:
            too_short.append(page.id)
            continue
        counted = count_page(Page(page.id, page.source, text), model, counter, window)
        texts.append((language(text), counted, tuple(map(tuple, chunks))))
    examples = []
    for ratio in sorted(set(args.ratios)):
        chunking = Chunking(model.processor, window, ratio)
        for lang, page, chunks in texts:
            setting = f"{ratio:g}x"
            counts = _latents_of_chunks(chunking, chunks[:-1], page.id, setting)
            examples.append(LongText(page, lang, setting, sum(counts), chunks, window, counts))
    if not examples:
        raise ValueError(f"no page has {length} tokens: give fewer --chunks, or longer texts")
    return examples, [f"{len(too_short)} pages below {length} tokens ({', '.join(too_short)})"] if too_short else []


def _latents_of_chunks(chunking, chunks, page, setting):
    """`tuple[int]`; `ValueError` where the encoder cannot read one at its ratio, as it is too much for its picture."""
    try:
        return tuple(sum(chunking.plan(list(ids)).num_latents) for ids in chunks)
    except ValueError as error:
        raise ValueError(f"page {page}, a chunk of {chunking.every} tokens at {setting}: {error}") from None


# ------------------------------------------------------------------------------------------------------- conditions


def conditions(args, model, examples):
    """What a chunk follows, by name, and what else the numbers depend on."""
    ways = {
        FULL: partial(losses_after_tokens, before=lambda start, held: start),
        GLOBAL: losses_after_latents,
        CHUNK: partial(losses_after_tokens, before=lambda start, held: 0),
        SLIDING: partial(losses_after_tokens, before=min),
    }
    plain, costs = asdict(cost_of_plain(model, args.generated)), {}
    for setting in dict.fromkeys(example.setting for example in examples):
        chunking = Chunking(model.processor, examples[0].chunk, asked_ratio(setting))
        costs[setting] = {"plain": plain, "chunked": asdict(cost_in_chunks(model, chunking, args.generated))}
    return ways, {"costs": costs, "latents_see_chunk": model.config.latents_see_chunk}


@torch.no_grad()
def losses_after_tokens(model, examples, options, before):
    """
    Loss of each chunk of each text after some tokens before it, at positions 0, 1, …

    Args:
        before: `(tokens before a chunk, their latents) -> int`, how many of these tokens are read.

    Returns: `list[list[float]]`: of each text, for each chunk, nats per scored token, which are all but its first.
    """
    found = []
    for batch in _batches(examples, options):
        ids = torch.tensor([list(chain(*example.chunks)) for example in batch], device=model.device)
        losses, start, held = [], 0, 0
        for length, count in zip(map(len, batch[0].chunks), (*batch[0].counts, 0), strict=True):
            read = ids[:, start - before(start, held) : start + length]
            logits = model.decoder(input_ids=read, use_cache=False, logits_to_keep=length).logits
            losses.append(_losses(logits, ids[:, start : start + length]))
            start, held = start + length, held + count
        found += torch.stack(losses, dim=1).tolist()
    return found


@torch.no_grad()
def losses_after_latents(model, examples, options):
    """As `losses_after_tokens`, after the latents of all chunks before, in one row with the mask."""
    found = []
    for batch in _batches(examples, options):
        chunking = Chunking(model.processor, batch[0].chunk, asked_ratio(batch[0].setting))
        rows = [_row(chunking, example.chunks) for example in batch]
        values = chunking.encode(model, list(chain(*map(chunking.plans, rows))))
        inputs = model.processor.decoder_inputs(rows).to(model.device)
        logits = model(**inputs, latents=torch.cat(values), use_cache=False).logits
        ids = torch.tensor([list(chain(*example.chunks)) for example in batch], device=model.device)
        logits = logits[inputs["chunk_ids"] > 0].view(*ids.shape, -1)
        lengths = list(map(len, batch[0].chunks))
        pairs = zip(logits.split(lengths, dim=1), ids.split(lengths, dim=1), strict=True)
        found += torch.stack([_losses(*each) for each in pairs], dim=1).tolist()
    return found


def _row(chunking, chunks):
    """A text in chunks, with the latents of all but the last."""
    *before, last = map(list, chunks)
    return [*chunking.in_row(before, map(chunking.plan, before)), TextSegment(last, chunk=len(chunks))]


def _batches(examples, options):
    """Of texts that are alike, see `LongText.shape`."""
    for _, alike in groupby(examples, key=lambda example: example.shape):
        alike = list(alike)
        for start in range(0, len(alike), options.batch_size):
            yield alike[start : start + options.batch_size]


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
    table, is_counted = [], all(cost["chunked"]["encoder_flops"] is not None for cost in result["costs"].values())
    for setting, cost in result["costs"].items():
        plain, ours = cost["plain"], cost["chunked"]
        rows = [
            ("cache", plain["cache_bytes"] / 2**20, ours["cache_bytes"] / 2**20, "MiB"),
            ("decoder", plain["decoder_flops"] / 1e9, ours["decoder_flops"] / 1e9, "GFLOP"),
        ]
        if is_counted:
            flops = [(each["decoder_flops"] + each["encoder_flops"]) / 1e9 for each in (plain, ours)]
            rows.insert(1, ("FLOPs", *flops, "GFLOP with the encoder"))
        for name, before, after, unit in rows:
            said = f"-{PUBLISHED[name]:.0%}" if name in PUBLISHED else ""
            table.append(
                [setting, f"{name}, {unit}", f"{before:.4g}", f"{after:.4g}", f"{after / before - 1:+.0%}", said]
            )
    heading = (
        f"What {result['options']['generated']} generated tokens take, by arithmetic from the model's shapes "
        "(`eval/generation_costs.py`); the paper's figures are of larger models and other lengths:"
    )
    table = markdown_table(["ratio", "", "plain", "in chunks", "change", "paper, 4x"], table)
    missing = "The encoder's are left out: it reads neither text nor c3's own pictures, and c3 cannot count them."
    return "\n\n".join([heading, table, *([] if is_counted else [missing])])


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
