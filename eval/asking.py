"""Asks a model questions about texts: greedily, in batches of rows of like length; and what a question costs."""

import time
from dataclasses import dataclass

import torch
from transformers import GenerationMixin, StoppingCriteriaList

from c3.cache_size_c3 import cache_bytes
from c3.decoder_rows_c3 import row_length
from c3.position_limits_c3 import most_positions, room_for_answers
from c3.window_decoding_c3 import StopAtLengths, prompt_embeds

from .harness import Example


@dataclass(frozen=True)
class AskedExample(Example):
    """
    A question about a text, the example's page.

    Args:
        prompt (`str`), answers (`tuple[str, ...]`), any_of (`bool`), task (`str`), depth (`float`, *optional*): see
            [`AskedQuestion`].
        length (`int`): tokens that texts of its kind have, at most.
        text_id (`int`): the same for questions about the same text.
        new_tokens (`int`): of an answer, at most.
        is_timed (`bool`): whether its time is taken.
    """

    prompt: str
    answers: tuple
    any_of: bool
    task: str
    depth: float | None
    length: int
    text_id: int
    new_tokens: int
    is_timed: bool


@dataclass(frozen=True)
class Asked:
    """
    What became of a question.

    Args:
        said (`str`, *optional*): the answer; None where the row does not fit.
        before (`int`): latents or tokens that stand before the question.
        cache_bytes (`int`): keys and values of these and the question.
        too_long (`str`, *optional*): why the row does not fit.
        seconds_before (`float`, *optional*): until what stands before the question is ready: the latents, or the ids.
        seconds_to_first_token (`float`, *optional*): after that; both of examples that are timed.
    """

    said: str | None
    before: int
    cache_bytes: int
    too_long: str | None = None
    seconds_before: float | None = None
    seconds_to_first_token: float | None = None


def row_is_too_long(model, row, new_tokens):
    """Why a row and an answer of so many tokens do not fit into the decoder's positions, `str`, or None."""
    try:
        if room_for_answers(model.config, [row]) >= new_tokens:
            return None
    except ValueError:
        pass
    most = most_positions(model.config.decoder_config)
    return f"what is read takes {row_length(row)} positions and an answer {new_tokens}, but the decoder has {most}"


@torch.no_grad()
def ask(model, examples, options, way):
    """
    Asks with one way of keeping the texts.

    Args:
        model ([`C3Model`]): the model.
        examples (`list[AskedExample]`): the questions.
        options ([`Options`]): as many positions go through the decoder at once as that many windows have tokens.
        way (`Callable`): see `baselines/asked_text.py`.

    Returns: `list[Asked]`.
    """
    model = model.answering()
    standing = way(model, examples, options)
    rows = [model.processor.row(s.segments, each.prompt) for s, each in zip(standing, examples, strict=True)]
    reasons = [row_is_too_long(model, row, each.new_tokens) for row, each in zip(rows, examples, strict=True)]
    # The same question after the same text, as at every ratio where the text is raw, is asked once.
    same = {}
    for place, (each, example, reason) in enumerate(zip(standing, examples, reasons, strict=True)):
        if reason is None:
            same.setdefault(_key(each, example, place), []).append(place)
    firsts = [places[0] for places in same.values()]
    answers = answer_rows(
        model,
        [rows[place] for place in firsts],
        [standing[place].values for place in firsts],
        [examples[place].new_tokens for place in firsts],
        options.batch_size * options.window,
    )
    said, seconds = [None] * len(rows), [(None, None)] * len(rows)
    for places, answer in zip(same.values(), answers, strict=True):
        timed = next((place for place in places if examples[place].is_timed), None)
        took = (None, None) if timed is None else _timed(model, examples[timed], options, way)
        for place in places:
            said[place] = answer
            seconds[place] = took if examples[place].is_timed else (None, None)
    return [
        Asked(answer, row_length(each.segments), cache_bytes(model, row_length(row)), reason, *took)
        for answer, each, row, reason, took in zip(said, standing, rows, reasons, seconds, strict=True)
    ]


def _key(standing, example, place):
    """The same of rows that hold the same: of those with latents none."""
    if standing.values is not None:
        return place
    return tuple(tuple(each.ids) for each in standing.segments), example.prompt, example.new_tokens


def answer_rows(model, rows, values, new_tokens, positions):
    """
    Greedy answers to rows.

    Args:
        rows (`list[list[TextSegment or LatentSpan]]`): latents, or tokens, and prompts, see `C3Processor.row`.
        values (`list[torch.Tensor or None]`): the latents of each.
        new_tokens (`list[int]`): of each, at most; an answer ends before where the end-of-text token comes.
        positions (`int`): of a batch, at most, where it is more than one row.

    Returns: `list[str]`.
    """
    answers = [None] * len(rows)
    for places in _batches(list(map(row_length, rows)), positions):
        latents = [values[place] for place in places if values[place] is not None]
        inputs = prompt_embeds(model, [rows[place] for place in places], torch.cat(latents) if latents else None)
        limits = [new_tokens[place] for place in places]
        ids = GenerationMixin.generate(
            model,
            **inputs,
            do_sample=False,
            num_beams=1,
            max_new_tokens=max(limits),
            stopping_criteria=StoppingCriteriaList([StopAtLengths(limits)]),
            eos_token_id=_end_ids(model),
            pad_token_id=_end_ids(model)[0] if _end_ids(model) else 0,
        )
        for place, limit, row in zip(places, limits, ids.tolist(), strict=True):
            answers[place] = model.processor.decode_answer(row[:limit]).strip()
    return answers


def _end_ids(model):
    """The ids that end an answer, `list[int]`: the tokenizer's, as in training, and the model's own."""
    own = model.generation_config.eos_token_id
    ends = [model.processor.tokenizer.eos_token_id, *(own if isinstance(own, list) else [own])]
    return list(dict.fromkeys(each for each in ends if each is not None))


def _batches(lengths, positions):
    """Places in batches, `list[list[int]]`, by length: padded, no more positions than these but for a single row."""
    batches = []
    for place in sorted(range(len(lengths)), key=lengths.__getitem__):
        if batches and (len(batches[-1]) + 1) * lengths[place] <= positions:
            batches[-1].append(place)
        else:
            batches.append([place])
    return batches


def _timed(model, example, options, way):
    """Seconds until what stands before a question is ready, and from there to the first token, of a second run."""
    for _ in range(2):
        start = time.perf_counter()
        (standing,) = way(model, [example], options)
        if standing.values is not None:
            standing.values.flatten()[:1].tolist()  # waits for a GPU
        ready = time.perf_counter()
        row = model.processor.row(standing.segments, example.prompt)
        inputs = prompt_embeds(model, [row], standing.values)
        model(**inputs, use_cache=True, logits_to_keep=1).logits.argmax(-1).tolist()
        end = time.perf_counter()
    return ready - start, end - ready
