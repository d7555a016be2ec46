"""
What compression cost the decoder as a language model: perplexity of the same continuation after the raw prefix, after
the prefix's latents, after as many of its last tokens as there are latents, and after nothing; and, where the decoder
that training started from is known, that decoder's own perplexity beside it.
"""

import math
from dataclasses import dataclass
from functools import partial

import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoModelForCausalLM, AutoTokenizer

from c3.eval.baselines.c3 import compress_examples
from c3.eval.harness import Example, Suite, described
from c3.eval.metrics import bootstrap_interval
from c3.eval.page_data import Page, count_page, plain_ids, wanted_latents
from c3.eval.report import asked_ratio, describe, distinct, markdown_table, mean, new_figure, save_figure, select
from c3.eval.text_kinds import cut_tokens, language
from c3.fingerprints_c3 import fingerprint_tensors
from c3.quoting_c3 import quoted
from c3.support.arguments import compression_ratio, whole_number
from c3.support.loading import find_source
from c3.support.without_secrets import without_secrets

RAW, LATENTS, TRUNCATED, NOTHING = "raw prefix", "latents", "truncated prefix", "no prefix"
BASE_RAW, BASE_NOTHING = "base decoder, raw prefix", "base decoder, no prefix"


@dataclass(frozen=True)
class Continued(Example):
    """A prefix, the example's page, and the decoder's ids that follow it; all but the first of them are scored."""

    continuation: tuple[int, ...]


def add_arguments(parser):
    parser.add_argument("--ratios", nargs="+", type=compression_ratio, default=[4.0, 8.0, 16.0])
    parser.add_argument("--lengths", nargs="+", type=whole_number(1), default=[1, 4], help="of the prefix, in windows")
    parser.add_argument(
        "--continuation", type=whole_number(1), default=64, help="decoder tokens that follow (default 64)"
    )
    parser.add_argument(
        "--base-decoder", metavar="PATH_OR_ID", help="the causal language model that the decoder was before training"
    )


def prepare(args, pages, model, counter, window):
    if args.continuation < 2:
        raise ValueError("--continuation must be 2 or more: the first token is given, so that all have one before them")
    tokenizer = model.processor.tokenizer
    examples, left_out = [], []
    for length in sorted(set(args.lengths)):
        texts, short, altered = [], [], []
        for page in pages:
            prefix = cut_tokens(tokenizer, page.text, length * window)
            if prefix is not None and not page.text.startswith(prefix):
                # A tokenizer that normalises text: what follows could not be found by its length.
                altered.append(page.id)
                continue
            following = model.processor.encode(page.text[len(prefix) :]) if prefix is not None else []
            if len(following) < args.continuation:
                short.append(page.id)
                continue
            counted = count_page(Page(page.id, page.source, prefix), model, counter, window)
            texts.append((language(page.text), counted, tuple(following[: args.continuation])))
        if short:
            left_out.append(
                f"{len(short)} pages too short for a prefix of {length} windows and {args.continuation} tokens after "
                f"it ({', '.join(short)})"
            )
        if altered:
            left_out.append(f"{len(altered)} pages that the tokenizer does not give back ({', '.join(altered)})")
        for ratio in sorted(set(args.ratios)):
            for lang, page, following in texts:
                group = f"{lang}, {length} window" + "s" * (length > 1)
                examples.append(Continued(page, group, f"{ratio:g}x", wanted_latents(page, ratio), following))
    if not examples:
        raise ValueError("no page is long enough: " + "; ".join(left_out))
    return examples, left_out


# ------------------------------------------------------------------------------------------------------- conditions


def conditions(args, model, examples):
    """What stands before a continuation, by name, and what else the numbers depend on."""
    after = partial(losses_after_tokens, model.decoder)
    ways = {
        RAW: partial(after, kept=lambda example, ids: ids),
        LATENTS: losses_after_latents,
        TRUNCATED: partial(after, kept=lambda example, ids: ids[-example.latents :]),
        NOTHING: partial(after, kept=lambda example, ids: []),
    }
    base = None
    if args.base_decoder:
        decoder = load_base(args, model, examples)
        before = partial(losses_after_tokens, decoder)
        ways[BASE_RAW] = partial(before, kept=lambda example, ids: ids)
        ways[BASE_NOTHING] = partial(before, kept=lambda example, ids: [])
        fingerprint = fingerprint_tensors(dict(decoder.named_parameters()))
        base = {"name": without_secrets(args.base_decoder), "fingerprint": fingerprint}
    return ways, {"base_decoder": base, "vocabulary": model.config.decoder_config.vocab_size}


def load_base(args, model, examples):
    """The decoder before training; `ValueError` unless its tokenizer makes the same tokens of the texts."""
    source = find_source(args.base_decoder, "a decoder")
    tokenizer = AutoTokenizer.from_pretrained(args.base_decoder, **source)
    for example in examples:
        if plain_ids(tokenizer, example.page.text) != model.processor.encode(example.page.text):
            raise ValueError(
                f"{args.base_decoder} makes other tokens of page {quoted(example.page.id)} than the model's decoder: "
                "perplexities per token could not be compared"
            )
    decoder = AutoModelForCausalLM.from_pretrained(args.base_decoder, dtype=getattr(torch, args.dtype), **source)
    return decoder.to(args.device).eval()


@torch.no_grad()
def losses_after_tokens(decoder, model, examples, options, kept):
    """
    Loss of each continuation after tokens of its prefix.

    Args:
        decoder (`PreTrainedModel`): a causal language model; reads plain tokens at positions 0, 1, …
        kept: `(example, ids of the prefix) -> ids`, which of them it reads.

    Returns: `list[tuple[float, int]]`: nats per scored token, and how many vectors stood before the continuation.
    """
    prefixes = [list(kept(example, model.processor.encode(example.page.text))) for example in examples]
    found = []
    for start in range(0, len(examples), options.batch_size):
        chosen = slice(start, start + options.batch_size)
        following = [list(example.continuation) for example in examples[chosen]]
        rows = [torch.tensor(ids + after) for ids, after in zip(prefixes[chosen], following, strict=True)]
        padded = {"batch_first": True, "padding_side": "left"}
        ids = pad_sequence(rows, **padded)
        mask = pad_sequence([torch.ones_like(row) for row in rows], **padded)
        inputs = {"input_ids": ids, "attention_mask": mask, "position_ids": (mask.cumsum(-1) - 1).clamp(min=0)}
        inputs = {name: each.to(model.device) for name, each in inputs.items()}
        output = decoder(**inputs, logits_to_keep=len(following[0]), use_cache=False)
        found += _losses(output.logits, following)
    return list(zip(found, map(len, prefixes), strict=True))


@torch.no_grad()
def losses_after_latents(model, examples, options):
    """As `losses_after_tokens`, after the latents of the prefix and an empty prompt, as continuation is trained."""
    parts = compress_examples(model, examples, options)
    found = []
    for start in range(0, len(examples), options.batch_size):
        chosen = slice(start, start + options.batch_size)
        following = [list(example.continuation) for example in examples[chosen]]
        rows = [
            model.processor.row(part.spans[0], prompt="", target=ids)
            for part, ids in zip(parts[chosen], following, strict=True)
        ]
        batch = model.processor.decoder_inputs(rows).to(model.device)
        del batch["labels"]
        latents = torch.cat([part.values for part in parts[chosen]])
        output = model(**batch, latents=latents, logits_to_keep=len(following[0]), use_cache=False)
        found += _losses(output.logits, following)
    return [(loss, part.num_latents) for loss, part in zip(found, parts, strict=True)]


def _losses(logits, following):
    """Mean loss of each row, `list[float]`; `logits` are those at the continuation's own positions."""
    targets = torch.tensor(following, device=logits.device)[:, 1:]
    logits = logits[:, :-1].float()
    return torch.nn.functional.cross_entropy(logits.transpose(1, 2), targets, reduction="none").mean(-1).tolist()


def loss_row(method, example, output):
    """One example's entry in the result file: `loss` is in nats per scored token of the decoder."""
    loss, before = output
    return {
        **described(method, example, example.latents),
        "vectors_before": before,
        "scored_tokens": len(example.continuation) - 1,
        "loss": loss,
    }


# ----------------------------------------------------------------------------------------------------------- report


def perplexity(rows):
    """exp of the mean loss over texts, with its 95 % bootstrap interval: `tuple[float, float, float]`."""
    low, high = bootstrap_interval([row["loss"] for row in rows])
    return math.exp(mean(rows, "loss")), math.exp(low), math.exp(high)


def gain(rows, others):
    """Mean of loss(others) - loss(rows), text by text, in nats per token, with its 95 % bootstrap interval."""
    losses = {row["id"]: row["loss"] for row in others}
    values = [losses[row["id"]] - row["loss"] for row in rows]
    return sum(values) / len(values), *bootstrap_interval(values)


def report(result):
    rows, vocabulary = result["examples"], result["vocabulary"]
    scored = rows[0]["scored_tokens"]
    parts = [
        "## Retention",
        describe(
            result,
            "teacher-forced",
            f"Perplexity of the same {scored} tokens in every column: exp of the mean loss per decoder token; in "
            f"brackets its 95 % bootstrap interval over texts. A uniform guess over the vocabulary has {vocabulary}.",
        ),
        "The decoder as a language model, by what stands before a continuation: the whole prefix as tokens, its "
        "latents, its last tokens, as many as there are latents, or nothing.",
        _about_the_base(result),
    ]
    for group in distinct(rows, "group"):
        table, of_group = [], select(rows, group=group)
        methods = distinct(of_group, "method")
        for setting in distinct(of_group, "setting"):
            chosen = select(of_group, setting=setting)
            cells = [_with_interval(perplexity(select(chosen, method=method))) for method in methods]
            latents = mean(select(chosen, method=LATENTS), "latents")
            table.append([setting, len(select(chosen, method=LATENTS)), f"{latents:.1f}", *cells])
        parts += [f"### {group}", markdown_table(["ratio", "texts", "latents", *methods], table)]
        parts.append(_gains(of_group))
        parts += _remarks(of_group, vocabulary)
    return "\n\n".join(parts)


def _about_the_base(result):
    if result["base_decoder"] is None:
        return (
            "**Before training: not measured**, as no --base-decoder was given. A decoder that was trained from "
            "scratch, as the default checkpoint's, has no base, and nothing that it could have lost."
        )
    return (
        f"Before training: {result['base_decoder']['name']}; the same texts as plain tokens, so that `{BASE_RAW}` "
        f"against `{RAW}` is what training did to the decoder."
    )


def _with_interval(values):
    return f"{short(values[0])} [{short(values[1])}, {short(values[2])}]"


def short(value):
    return f"{value:.1f}" if value < 1000 else f"{value:.3g}"


def _gains(rows):
    """What each condition gains over nothing before the continuation, paired by text."""
    methods = [name for name in distinct(rows, "method") if name not in (NOTHING, BASE_NOTHING)]
    table = []
    for setting in distinct(rows, "setting"):
        chosen = select(rows, setting=setting)
        cells = []
        for method in methods:
            nothing = select(chosen, method=BASE_NOTHING if method == BASE_RAW else NOTHING)
            value, low, high = gain(select(chosen, method=method), nothing)
            cells.append(f"{value:+.2f} [{low:+.2f}, {high:+.2f}]")
        table.append([setting, *cells])
    heading = "Gain over no prefix, in nats per token, paired by text (below 0: worse than knowing nothing):"
    return heading + "\n\n" + markdown_table(["ratio", *methods], table)


def _remarks(rows, vocabulary):
    """Plain sentences for what is easily overlooked in a table."""
    lines = []
    for method in distinct(rows, "method"):
        chosen = {setting: select(rows, method=method, setting=setting) for setting in distinct(rows, "setting")}
        worse = [setting for setting, each in chosen.items() if perplexity(each)[0] > vocabulary]
        if worse:
            lines.append(f"**After {method} worse than a uniform guess** at {', '.join(worse)}.")
        if method not in (RAW, LATENTS, TRUNCATED):
            continue
        harmful = [
            setting
            for setting, each in chosen.items()
            if gain(each, select(rows, method=NOTHING, setting=setting))[2] < 0
        ]
        if harmful:
            lines.append(f"**After {method} worse than after nothing** at {', '.join(harmful)}: the decoder is misled.")
    if lines:
        lines.append("A decoder trained for reconstruction alone has learned to repeat a text, not to go on with it.")
    return ["\n".join(f"* {line}" for line in lines)] if lines else []


def draw_with_band(axes, points, label):
    """A line and its band through points, each where it stands, its value, and the two ends of the interval."""
    places, middle, low, high = zip(*points, strict=True)
    axes.plot(places, middle, marker=".", label=label)
    axes.fill_between(places, low, high, alpha=0.2, linewidth=0)


def draw(result, path):
    """Perplexity by ratio: a panel for each group, a line with its band for each condition."""
    rows = result["examples"]
    groups = distinct(rows, "group")
    figure, panels = new_figure(1, len(groups), figsize=(5 * len(groups), 4), sharey=True, squeeze=False)
    for axes, group in zip(panels[0], groups, strict=True):
        for method in distinct(rows, "method"):
            points = []
            for setting in distinct(rows, "setting"):
                chosen = select(rows, group=group, method=method, setting=setting)
                if chosen:
                    points.append((asked_ratio(setting), *perplexity(chosen)))
            draw_with_band(axes, points, method)
        axes.axhline(result["vocabulary"], color="grey", linewidth=0.8, linestyle=":", label="uniform guess")
        axes.set(title=group, xlabel="ratio", yscale="log")
    panels[0][0].set(ylabel="perplexity of the continuation")
    panels[0][-1].legend(fontsize="small")
    figure.tight_layout()
    save_figure(figure, path)


SUITE = Suite(
    summary="perplexity of a continuation after the raw prefix, its latents, its last tokens, and nothing",
    add_arguments=add_arguments,
    prepare=prepare,
    report=report,
    draw=draw,
    methods=conditions,
    row=loss_row,
)
