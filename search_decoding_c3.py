"""
From latents to the text that they were made of, where greedy decoding misses it. Candidates are encoded again, and the
one whose latents are those that were given is the text: so the search knows when it has arrived, and what is nearest.
"""

from dataclasses import dataclass, field, replace

import torch
from transformers import GenerationMixin, StoppingCriteriaList

from .greedy_decoding_c3 import decode_lengths
from .options_c3 import BEAMS_LIMIT, FIRST_BEAMS, MORE_BEAMS, MOST_BEAMS
from .reencoding_c3 import latent_distances
from .replacements_c3 import replacements
from .teacher_forcing_c3 import token_leads
from .window_decoding_c3 import StopAtLengths, prompt_embeds

# How often, in how many of a window's nearest candidates, and at how many places of each a token is replaced.
ROUNDS, REPLACED_CANDIDATES, REPLACED_PLACES = 5, 2, 8


@dataclass
class _Window:
    """A window that is searched for: the texts tried so far, as tuples of ids, and how far each is."""

    span: object
    latents: torch.Tensor
    follows: bool
    most: float
    distances: dict = field(default_factory=dict)
    tried: set = field(default_factory=set)

    def nearest(self, count=1):
        return sorted(self.distances, key=self.distances.get)[:count]

    @property
    def is_open(self):
        return min(self.distances.values()) > self.most


def search_windows(model, found, spans, latents, follow, suppressed, options, bar):
    """
    Decodes again those of a batch of windows that do not come back: with beams, ever more for the fewer that are left,
    all of which are encoded again; then in the nearest candidates single tokens are replaced, see `replacements`, and
    what follows them is decoded anew. Ends where a candidate's latents are those that were given, or nothing is left to
    try; then it is the nearest.

    Args:
        model ([`C3Model`]): the model.
        found (`list[ExpandedWindow]`): what greedy decoding gave, with distances.
        spans (`list[LatentSpan]`), latents (`list[torch.Tensor]` of shape `(N, D_dec)`): of each window.
        follow (`list[bool]`): which come after another window of their text.
        suppressed (`torch.LongTensor`): ids that are never chosen.
        options (`ExpandOptions`): `beams`, at most; `batch_size`, windows decoded at once with `FIRST_BEAMS` beams, as
            many rows are at any other time; `most_distance` of a window that comes back.
        bar (`tqdm`): is moved by the windows that are found, and told what is tried for the others.

    Returns: `list[ExpandedWindow]`.
    """
    windows = [
        _Window(span, values, follows, options.most_distance, {tuple(each.ids): each.distance})
        for span, values, follows, each in zip(spans, latents, follow, found, strict=True)
    ]
    start, rows = bar.n, options.batch_size * FIRST_BEAMS

    def tell(tried):
        bar.update(start + sum(not each.is_open for each in windows) - bar.n)
        bar.set_postfix_str(tried)

    count = min(FIRST_BEAMS, options.beams)
    while open_ := [each for each in windows if each.is_open]:
        for some in batches(open_, max(1, rows // count)):
            tell(f"{count} beams")
            _measure(model, _beams(model, some, count, suppressed), rows)
        if count == options.beams:
            break
        count = min(MORE_BEAMS * count, options.beams)
    for number in range(1, ROUNDS + 1):
        if not (open_ := [each for each in windows if each.is_open]):
            break
        for some in batches(open_, max(1, rows // (REPLACED_CANDIDATES * REPLACED_PLACES))):
            tell(f"replaced tokens, round {number} of {ROUNDS}")
            _measure(model, _replaced(model, some, suppressed), rows)
    tell("")
    return [_found(model, window, each, suppressed) for window, each in zip(windows, found, strict=True)]


def _found(model, window, first, suppressed):
    """The nearest candidate as an [`ExpandedWindow`]; the first one where that is it."""
    (ids,) = window.nearest()
    distance = window.distances[ids]
    if list(ids) == first.ids:
        return first
    margins = first.margins
    if margins is not None:
        (leads,) = token_leads(model, [window.span], window.latents, [ids], suppressed)
        margins = leads.tolist()
    return replace(first, ids=list(ids), margins=margins, distance=distance, comes_back=distance <= window.most)


def _measure(model, texts, batch_size):
    """Encodes texts, `list[tuple[_Window, tuple[int, …]]]`, and tells their windows how far they are."""
    new = list(dict.fromkeys((id(window), ids) for window, ids in texts if ids not in window.distances))
    if not new:
        return
    by_id = {id(window): window for window, _ in texts}
    windows = [by_id[key] for key, _ in new]
    spans, latents, follow = zip(*((each.span, each.latents, each.follows) for each in windows), strict=True)
    distances = latent_distances(model, [list(ids) for _, ids in new], spans, latents, batch_size, follow)
    for window, (_, ids), distance in zip(windows, new, distances, strict=True):
        window.distances[ids] = distance


def _beams(model, windows, count, suppressed):
    """The `count` likeliest texts of each window, as beams find them: `list[tuple[_Window, tuple[int, …]]]`."""
    spans, latents = [each.span for each in windows], [each.latents for each in windows]
    found = beam_texts(model, spans, latents, count, suppressed)
    return [(window, tuple(ids)) for window, texts in zip(windows, found, strict=True) for ids in texts]


@torch.no_grad()
def beam_texts(model, spans, latents, count, suppressed):
    """
    The likeliest texts of windows, as a beam search finds them.

        (texts,) = beam_texts(model, latents.spans[0], latents.windows(), 8, torch.tensor(special_ids(processor)))

    Args:
        model ([`C3Model`]): the model.
        spans (`list[LatentSpan]`), latents (`list[torch.Tensor]` of shape `(N, D_dec)`): of each window.
        count (`int`): beams, and texts of each window.
        suppressed (`torch.LongTensor`): ids that are never chosen.

    Returns: `list[list[list[int]]]`, for each window the ids of texts, the likeliest first.
    """
    lengths = [span.num_tokens for span in spans]
    ids = GenerationMixin.generate(
        model,
        **prompt_embeds(model, [model.processor.row([span]) for span in spans], torch.cat(list(latents))),
        do_sample=False,
        num_beams=count,
        num_return_sequences=count,
        max_new_tokens=max(lengths),
        suppress_tokens=suppressed.tolist() or None,
        stopping_criteria=StoppingCriteriaList([StopAtLengths(lengths)]),
        pad_token_id=0,
    ).tolist()
    return [[row[:length] for row in ids[i * count : (i + 1) * count]] for i, length in enumerate(lengths)]


def _replaced(model, windows, suppressed):
    """The nearest texts of each window with a token replaced and what follows decoded anew, as `_beams`."""
    texts = [(each, ids) for each in windows for ids in each.nearest(REPLACED_CANDIDATES)]
    spans, latents = [each.span for each, _ in texts], [each.latents for each, _ in texts]
    heads = []
    ranked = replacements(model, spans, latents, [ids for _, ids in texts], suppressed)
    for (window, ids), each in zip(texts, ranked, strict=True):
        new = [head for place, token in each if (head := (*ids[:place], token)) not in window.tried]
        window.tried.update(new[:REPLACED_PLACES])
        heads += [(window, head) for head in new[:REPLACED_PLACES]]
    whole = [(window, head) for window, head in heads if len(head) == window.span.num_tokens]
    cut = [(window, head) for window, head in heads if len(head) < window.span.num_tokens]
    if cut:
        rows = [model.processor.row([window.span], target=list(head)) for window, head in cut]
        prompt = prompt_embeds(model, rows, torch.cat([window.latents for window, _ in cut]))
        prompt.pop("labels")
        tails = decode_lengths(model, prompt, [w.span.num_tokens - len(head) for w, head in cut], suppressed)
        whole += [(window, (*head, *tail.ids)) for (window, head), tail in zip(cut, tails, strict=True)]
    return whole


def batches(items, size):
    """A list cut, in order, into lists of `size` items, or fewer for the last: `batches([1, 2, 3], 2)`."""
    return [items[start : start + size] for start in range(0, len(items), size)]


__all__ = ["BEAMS_LIMIT", "FIRST_BEAMS", "MOST_BEAMS", "batches", "beam_texts", "search_windows"]
