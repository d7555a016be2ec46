"""Texts and configs of tiny causal LMs for the tests."""

import json
import random
from dataclasses import replace
from typing import NamedTuple

import yaml
from transformers import AutoConfig

from c3.decoder_rows_c3 import LatentSpan, TextSegment
from c3.training.data.objectives import one_window
from c3.windows_c3 import TextWindow

TRAINING_STEPS = 8
TEXTS = [
    "It was the best of times, it was the worst of times, it was the age of wisdom, it was the age of foolishness.",
    "def add(a, b):\n    return a + b\n",
    "短い文章です。 Émigré naïve café — 42 %",
]
# More than a tiny model's window.
LONG = " ".join(TEXTS) * 3


def token_ids(tokenizer, text):
    """Ids of a text in which nothing is special."""
    return tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]


def tiny_backbone(model_type, vocab_size, hidden_size=32, head_dim=8, **options):
    """Config of a two-layer causal LM."""
    return AutoConfig.for_model(
        model_type,
        vocab_size=vocab_size,
        hidden_size=hidden_size,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=head_dim,
        max_position_embeddings=512,
        bos_token_id=None,
        eos_token_id=0,
        pad_token_id=0,
        **options,
    )


def window_example(processor, ids, num_latents, hidden):
    """The training example of one window that is given back; its context are its ids, of one tokenizer."""
    return one_window(processor, TextWindow(ids, ids), num_latents, None, ids, hidden)


class Seen(NamedTuple):
    """
    What a test looks at in a training example: its windows, `(context, N, text tokens)`; whether the text itself is
    asked for; the ids between latents and target; the target's ids, labels, and which of them are hidden.
    """

    windows: list
    replays: bool
    asked: list
    target: list
    labels: list
    hidden: list


def alone(example):
    """The examples, `list`, that one stands for: each with a row of its own, and lists for arrays."""
    if not hasattr(example.row[-1].ids, "tolist"):
        return [example]

    def row(place):
        for segment in example.row:
            if isinstance(segment, TextSegment):
                given = {name: getattr(segment, name) for name in ("ids", "labels", "hidden")}
                segment = replace(segment, **{k: v[place].tolist() for k, v in given.items() if hasattr(v, "tolist")})
            yield segment

    contexts = [list(map(int, context)) for context in example.contexts]
    return [
        replace(example, contexts=[context], num_latents=[n], row=list(row(place)))
        for place, (context, n) in enumerate(zip(contexts, example.num_latents, strict=True))
    ]


def seen_each(examples):
    """`list[Seen]` of all examples of a batch."""
    return [seen(each) for example in examples for each in alone(example)]


def seen(example):
    (example,) = alone(example)
    *before, target = example.row
    spans = [segment for segment in before if isinstance(segment, LatentSpan)]
    assert [span.num_latents for span in spans] == example.num_latents
    windows = [
        (context, span.num_latents, span.num_tokens) for context, span in zip(example.contexts, spans, strict=True)
    ]
    hidden = [False] * len(target.ids) if target.hidden is None else list(map(bool, target.hidden))
    return Seen(windows, target.replays, before[-1].ids, target.ids, target.labels, hidden)


def history(output, key="loss"):
    """Values of one key of a finished run, by step."""
    entries = json.loads((output / "log_history.json").read_text())
    return {entry["step"]: entry[key] for entry in entries if key in entry}


def write_training_folder(folder, steps=TRAINING_STEPS):
    """A few thousand characters of text, and a recipe of `steps` steps for a tiny model, `folder/recipe.yaml`."""
    shuffle = random.Random(0).shuffle
    words = " ".join(TEXTS).split()
    for name, documents in (("train", 12), ("validation", 3)):
        lines = [{"text": ""}]
        for _ in range(documents):
            shuffle(words)
            lines.append({"text": " ".join(words * 2)})
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    backbone = dict(hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, head_dim=8)
    backbone |= {"model_type": "qwen3", "num_key_value_heads": 2, "max_position_embeddings": 512}
    recipe = {
        "train_data": str(folder / "train.jsonl"),
        "validation_data": str(folder / "validation.jsonl"),
        "tokenizer": {"vocab_size": 300},
        "model": {
            "latent_position_layout": "uniform",
            "window": 32,
            "num_latents": 8,
            "use_mask_embedding": True,
            "tie_word_embeddings": True,
            "encoder_config": backbone,
            "decoder_config": dict(backbone),
        },
        "curriculum": [
            {"until": 0.5, "windows": [16], "ratios": [2, 4]},
            {"until": 1.0, "windows": [16, 32], "ratios": [2, 8]},
        ],
        "tokens_per_batch": 128,
        "dropout_windows": 0.75,
        "random_windows": 0.05,
        "optimizer": {"name": "muon", "lr": 0.003, "muon_lr": 0.02},
        "evaluation": {"ratios": [2, 4], "windows": 2, "window": 24},
        "training": {
            "max_steps": steps,
            "use_cpu": True,
            "disable_tqdm": True,
            "lr_scheduler_type": "cosine",
            "warmup_steps": 2,
            "logging_steps": 1,
            "eval_strategy": "steps",
            "eval_steps": 4,
            "save_steps": 2,
            "save_total_limit": 2,
        },
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump({"output_dir": str(folder / "run")} | recipe))
