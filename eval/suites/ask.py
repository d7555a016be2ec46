"""
Questions about texts, answered from their latents, and from what people take in their place: the raw text, as many of
its tokens as there are latents (its head, tail, both ends, or what BM25 finds), means of states, or nothing.
"""

import hashlib
import json
from array import array
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from c3.checkpoint_c3 import rounded
from c3.eval.answers import answer_scores
from c3.eval.ask_report import DEPTHS, draw, report
from c3.eval.asking import AskedExample, ask, row_is_too_long
from c3.eval.baselines.asked_text import LATENTS, RETRIEVAL, WAYS
from c3.eval.baselines.mean_pooling import MEAN_POOLING, check_mean_pooling
from c3.eval.baselines.retrieval import check_bm25
from c3.eval.harness import Suite, described
from c3.eval.page_data import Page, count_page, own_ratio, wanted_latents
from c3.eval.questions.asked import question_of_row, read_questions
from c3.eval.questions.hub_sets import HUB_SETS, load_hub_set
from c3.eval.questions.material import Material, read_corpus
from c3.eval.questions.rows import Wanted, find_impossible, make_rows
from c3.eval.questions.tasks import find_tasks
from c3.fingerprints_c3 import fingerprint_tensors
from c3.stored_weights_c3 import stored_weights
from c3.support.arguments import compression_ratio, depth, file_name, whole_number

# One or two of each family.
TASKS = (
    "single-words-prose",
    "single-numbers-prose",
    "single-uuids-prose",
    "many_keys-words-needles",
    "many_values-numbers-prose",
    "many_queries-words-prose",
    "facts-words-prose",
    "facts-numbers-prose",
    "variable_tracking-noise",
    "common_words",
    "frequent_words",
    "next_sentence",
    "next_words",
    "numbered_sentence",
    "sentence_order",
    "presence",
)
# Options of questions that are made of a corpus, and what they are by default.
OF_A_CORPUS = {
    "tasks": list(TASKS),
    "lengths": [512, 2048],
    "depths": DEPTHS,
    "number": 1,
    "seed": 0,
}
# Tokens that an answer may have beside those of the right one.
SPARE_TOKENS = 8
# Questions of each length whose time is taken.
TIMED = 3
# Of the latents that a ratio asks for, how many a text has to get: a model makes no more than its lowest ratio allows.
LEAST_SHARE = 0.9


def add_arguments(parser):
    source = parser.add_mutually_exclusive_group()
    about = "ask about these: .parquet or .jsonl files with a column `text`, or .txt files; default the pages of --data"
    source.add_argument("--corpus", nargs="+", type=file_name, metavar="FILE", help=about)
    about = "ask the questions of a file that `c3 data questions` has written"
    source.add_argument("--questions", type=file_name, metavar="FILE", help=about)
    sets = ", ".join(dict.fromkeys(name.split("-")[0] for name in HUB_SETS))
    about = f"ask those of a set of the Hub, as squad or longbench-hotpotqa ({sets}); NAME=FOLDER for files at hand"
    source.add_argument("--dataset", metavar="NAME", help=about)
    about = "of questions about a corpus: names, or how they begin (default: one or two of each family)"
    parser.add_argument("--tasks", nargs="+", metavar="TASK", help=about)
    about = "tokens of a text of the corpus, at most (default: 512 2048)"
    lengths = {"type": whole_number(16, 10**6), "metavar": "TOKENS", "help": about}
    parser.add_argument("--lengths", nargs="+", **lengths)
    parser.add_argument("--ratios", nargs="+", type=compression_ratio, default=[4.0, 8.0, 16.0])
    about = "where the answer stands, 0 the start of a text, 1 its end (default: 0 0.25 0.5 0.75 1)"
    parser.add_argument("--depths", nargs="+", type=depth, metavar="D", help=about)
    about = "questions of each task, length and depth (default: 1)"
    parser.add_argument("--number", type=whole_number(1, 10**6), metavar="N", help=about)
    about = "other questions about the corpus for another one (default: 0)"
    parser.add_argument("--seed", type=whole_number(0, 2**32), help=about)
    about = "beside the latents (default: all)"
    others = [name for name in WAYS if name != LATENTS]
    parser.add_argument("--baselines", nargs="*", choices=others, default=others, help=about)


# -------------------------------------------------------------------------------------------------------- questions


def prepare(args, pages, model, counter, window):
    _set_defaults(args)
    if model.only_repeats():
        raise ValueError(
            "this model was trained to give texts back and nothing else (config.reconstruction_only): it answers no "
            "questions; name with --model one that was trained on some, see docs/training.md"
        )
    model = model.answering()
    if RETRIEVAL in args.baselines:
        check_bm25()
    if MEAN_POOLING in args.baselines:
        check_mean_pooling(model)
    questions, left_out = _questions(args, pages, model)
    # Questions about the same text lie together, and so do the ratios of each, so that little is done twice.
    texts = {}
    for question in questions:
        texts.setdefault(question.context, len(texts))
    questions.sort(key=lambda question: texts[question.context])
    examples, too_much, counts, timed = [], {}, Counter(), Counter()
    for question in questions:
        text_id = texts[question.context]
        page = Page(f"{text_id}:{counts[text_id]}", "", question.context)
        counts[text_id] += 1
        example = _example(question, count_page(page, model, counter, window), text_id, model.processor)
        example = replace(example, is_timed=timed[example.length] < TIMED)
        timed[example.length] += 1
        ids = array("i", model.processor.encode(question.context))
        for ratio in sorted(set(args.ratios)):
            latents = wanted_latents(example.page, ratio)
            asked = replace(example, setting=f"{ratio:g}x", latents=latents)
            asked, reason = _as_planned(model, asked, ids, window)
            if reason:
                too_much.setdefault((example.length, ratio), []).append(reason)
            else:
                examples.append(asked)
    for (length, ratio), reasons in sorted(too_much.items()):
        left_out.append(f"{length} tokens at {ratio:g}x: {len(reasons)} questions, as {reasons[0]}")
    if not examples:
        raise ValueError("no question can be asked: " + "; ".join(left_out))
    return examples, left_out


def _set_defaults(args):
    """Sets options that are not given; raises `ValueError` for those that would count for nothing."""
    (source,) = [name for name in ("corpus", "questions", "dataset") if getattr(args, name)] or [None]
    if source and args.data:
        raise ValueError(f"--data and --{source} both say what is asked about: leave one of them out")
    for name, default in OF_A_CORPUS.items():
        if getattr(args, name) is None:
            setattr(args, name, None if source in ("questions", "dataset") else default)
        elif source in ("questions", "dataset"):
            raise ValueError(
                f"--{name} is for questions that are made of a corpus: leave it out, as --{source} brings questions "
                "of its own; c3 data questions writes others"
            )


def _questions(args, pages, model):
    """`list[AskedQuestion]`, and a line for each kind that was left out, `list[str]`."""
    if args.questions:
        return read_questions(args.questions, args.limit), []
    if args.dataset:
        return load_hub_set(args.dataset, args.limit), []
    texts = [page.text for page in pages]
    for file in args.corpus or ():
        texts += read_corpus([file])[: args.limit]
    if not texts:
        raise ValueError("the suite ask needs something to ask about: give --corpus, --questions or --dataset")
    material = Material(texts, model.processor.tokenizer, "test")
    tasks, lengths = find_tasks(args.tasks), sorted(set(args.lengths))
    impossible = find_impossible(material, tasks, lengths, args.seed)
    left_out = [f"{task} in {length} tokens: {reason}" for (task, length), reason in impossible.items()]
    depths = sorted(set(args.depths))
    wanted = [
        Wanted(task, length, depths[index % len(depths)], index)
        for length in lengths
        for task in tasks
        if (task, length) not in impossible
        for index in range(args.number * len(depths))
    ]
    return [question_of_row(row) for row in make_rows(material, wanted, args.seed)], left_out


def _example(question, page, text_id, processor):
    """The [`AskedExample`] of a question, as yet at no ratio."""
    # Of texts from elsewhere the next power of two, so that those of like lengths stand together.
    length = question.length or 1 << max(7, (page.own_tokens - 1).bit_length())
    answers = question.answers if question.any_of else [", ".join(question.answers)]
    return AskedExample(
        page=page,
        group=f"{length} tokens",
        setting="",
        latents=0,
        prompt=question.prompt,
        answers=question.answers,
        any_of=question.any_of,
        task=question.task,
        depth=question.depth,
        length=length,
        text_id=text_id,
        new_tokens=max(len(processor.encode(answer)) for answer in answers) + SPARE_TOKENS,
        is_timed=False,
    )


def _as_planned(model, example, ids, window):
    """
    An example with as many latents as its text, whose ids are `ids`, gets, and why it cannot be asked, `str`, or None.
    """
    asked = {"ratio": own_ratio(example.page, example.latents), "window": window}
    try:
        if model.processor.modality.reads_ids(model.processor):
            plan = model.processor.plan_ids(ids, **asked)
        else:
            plan = model.processor.plan(example.page.text, **asked)
    except ValueError:
        return example, None  # which `leave_out_impossible` says
    planned = sum(plan.num_latents)
    if planned < LEAST_SHARE * example.latents:
        return example, f"the model makes {planned} latents of so much text, not {example.latents}"
    row = model.processor.row(plan.spans, example.prompt)
    return replace(example, latents=planned), row_is_too_long(model, row, example.new_tokens)


# ------------------------------------------------------------------------------------------------------------- ways


def ways(args, model, examples):
    """How the questions are asked, by name, and what else the numbers depend on."""
    on_gpu = model.device.type == "cuda"
    asked = json.dumps([(each.page.text, each.prompt, each.answers) for each in examples])
    depends_on = {
        "questions_sha256": hashlib.sha256(asked.encode()).hexdigest(),
        "hardware": torch.cuda.get_device_name(model.device) if on_gpu else f"{torch.get_num_threads()} CPU threads",
    }
    if model.config.prompt_adapter is not None:
        # Which no fingerprint of the model tells.
        answering = model.answering()
        depends_on["adapter_fingerprint"] = fingerprint_tensors(stored_weights(answering), rounded)
        depends_on["prompt_template"] = answering.config.prompt_template
    if names := _sources(args):
        depends_on["data"] = [{"name": name, "benchmark": None} for name in names]
    chosen = [name for name in WAYS if name == LATENTS or name in args.baselines]
    return {name: partial(ask, way=WAYS[name]) for name in chosen}, depends_on


def _sources(args):
    """What the questions are about, `list[str]`, without folders; none where it is the pages of --data."""
    files = args.corpus or ([args.questions] if args.questions else [])
    return [Path(file).name for file in files] or ([args.dataset.split("=")[0]] if args.dataset else [])


def row(method, example, asked):
    """One question's entry in the result file; the scores are None where it was not asked."""
    scores = dict.fromkeys(answer_scores(("",), ""))
    if asked.said is not None:
        scores = answer_scores(example.answers, asked.said, example.any_of)
    return {
        **described(method, example, example.latents),
        "task": example.task,
        "length": example.length,
        "depth": example.depth,
        "text_id": example.text_id,
        "vectors_before": asked.before,
        "cache_bytes": asked.cache_bytes,
        "seconds_before": asked.seconds_before,
        "seconds_to_first_token": asked.seconds_to_first_token,
        "too_long": asked.too_long,
        "scores": scores,
        "output": {"question": example.prompt, "answers": list(example.answers), "said": asked.said},
    }


SUITE = Suite(
    summary="questions answered from latents, and from the raw text, parts of it, what BM25 finds, and nothing",
    add_arguments=add_arguments,
    prepare=prepare,
    report=report,
    draw=draw,
    methods=ways,
    row=row,
    needs_data=False,
)
