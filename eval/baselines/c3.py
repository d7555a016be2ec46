"""The model itself: compress, and expand greedily from the latents alone; nothing is teacher forced."""

from dataclasses import replace

from c3 import C3Latents
from c3.eval.harness import BYTES_PER_NUMBER, Reconstruction
from c3.eval.page_data import own_ratio, wanted_latents
from c3.eval.report import asked_ratio
from c3.quoting_c3 import quoted


def compress_examples(model, examples, options, exact=False):
    """`list[C3Latents]`, one for each example, with as many latents as it asks for; `exact` as in `compress`."""
    parts = []
    for example in examples:
        ratio = own_ratio(example.page, example.latents)
        try:
            part = model.compress(
                example.page.text,
                ratio=ratio,
                window=options.window,
                batch_size=options.batch_size,
                show_progress=False,
                exact=exact,
            )
        except ValueError as error:
            raise ValueError(f"{example.setting}, {quoted(example.page.id)}: {error}") from error
        parts.append(part)
    return parts


def compress_together(model, examples, options):
    """
    As `compress_examples`, of many texts at once, which is quicker where they are short: all those of which the
    setting, as `8x`, says in the model's own tokens how many latents they are to have.
    """
    parts, by_ratio = [None] * len(examples), {}
    for place, example in enumerate(examples):
        ratio = asked_ratio(example.setting)
        own = replace(example.page, counted_tokens=example.page.own_tokens)
        by_ratio.setdefault(ratio if wanted_latents(own, ratio) == example.latents else None, []).append(place)
    for ratio, places in by_ratio.items():
        chosen = [examples[place] for place in places]
        if ratio is None:
            found = compress_examples(model, chosen, options)
        else:
            limits = {"window": options.window, "batch_size": options.batch_size}
            texts = [example.page.text for example in chosen]
            found = model.compress(texts, ratio=ratio, **limits, show_progress=False)
        for place, part in zip(places, found, strict=True):
            parts[place] = part
    return parts


def expand_examples(model, parts, options):
    """`list[Reconstruction]` of latents, `list[C3Latents]`, of one text each."""
    outputs = model.expand(C3Latents.cat(parts), batch_size=options.batch_size, show_progress=False)
    outputs = [outputs] if isinstance(outputs, str) else outputs
    return [
        Reconstruction(output, _num_bytes(part), part.num_latents, part.num_windows)
        for part, output in zip(parts, outputs, strict=True)
    ]


def _num_bytes(latents):
    return latents.values.numel() * BYTES_PER_NUMBER + sum(map(len, latents.corrections or ()))


def reconstruct_with_c3(model, examples, options):
    return expand_examples(model, compress_examples(model, examples, options), options)
