"""Training examples and their batches. Run: pytest tests/training/test_examples.py"""

import re
from array import array

import numpy as np
import pytest
import torch

from c3 import C3Processor
from c3.decoder_rows_c3 import LatentSpan, TextSegment
from c3.training.data.collator import C3Collator
from c3.training.data.examples import WindowDataset, random_token_ids
from c3.training.data.instructions import InstructionExamples
from c3.training.data.pools import BatchPool, group_conversations
from c3.training.data.specs import Draw, RowSpec, WindowSpec
from c3.training.data.tokenizer import train_tokenizer
from tiny_models import TEXTS, seen, window_example

IDS = np.arange(5000, dtype=np.int32) % 256


@pytest.fixture
def processor(make_model):
    return make_model("uniform").processor


def test_a_window_is_a_slice_of_the_stream(processor):
    dataset = WindowDataset([IDS, IDS + 1], processor)
    item = seen(dataset[WindowSpec(7, 5, 2, seed=3, source=1)])
    assert item.windows == [([8, 9, 10, 11, 12], 2, 5)] and item.replays
    assert item.asked == processor.encode(processor.reconstruction_prompt)
    assert item.target == item.labels == [8, 9, 10, 11, 12]
    assert item.hidden == [False] * 5
    assert len(dataset) == 10000


def test_a_continuation_follows_its_window(processor):
    spec = WindowSpec(7, 5, 2, seed=3, continuation=3, objective="continuation")
    item = seen(WindowDataset([IDS], processor, dropout_windows=1.0)[spec])
    assert item.windows == [([7, 8, 9, 10, 11], 2, 5)] and item.asked == [] and not item.replays
    assert item.target == item.labels == [12, 13, 14]
    assert not any(item.hidden)


def test_share_of_hidden_tokens(processor):
    """In three windows of four a share of the tokens, uniform between 0 and 1, is hidden."""
    dataset = WindowDataset([IDS], processor, dropout_windows=0.75)
    items = [seen(dataset[WindowSpec(0, 64, 4, seed)]) for seed in range(4000)]
    assert all(item.target == IDS[:64].tolist() for item in items)
    shares = np.array([np.mean(item.hidden) for item in items])
    # A window with dropout shows all of its 64 tokens once in 65 times.
    assert (shares == 0).mean() == pytest.approx(0.25 + 0.75 / 65, abs=0.025)
    assert shares.mean() == pytest.approx(0.375, abs=0.02)
    quartiles = np.quantile(shares[shares > 0], [0.25, 0.5, 0.75])
    assert quartiles == pytest.approx([0.25, 0.5, 0.75], abs=0.04)
    assert seen(dataset[WindowSpec(0, 64, 4, 11)]).hidden == items[11].hidden


def test_dropout_is_halved_at_high_ratios(processor):
    """In windows with more tokens to a latent than that, and in no others; which windows they are is a subset."""
    plain = WindowDataset([IDS], processor, dropout_windows=0.8)
    halved = WindowDataset([IDS], processor, dropout_windows=0.8, dropout_halved_above=16)

    def hidden(dataset, num_latents):
        return [any(seen(dataset[WindowSpec(0, 64, num_latents, seed)]).hidden) for seed in range(2000)]

    assert hidden(halved, 4) == hidden(plain, 4)
    with_dropout, with_half = (np.array(hidden(dataset, 3)) for dataset in (plain, halved))
    assert with_dropout.mean() == pytest.approx(0.8, abs=0.04) and with_half.mean() == pytest.approx(0.4, abs=0.04)
    assert not (with_half & ~with_dropout).any()


def test_random_windows_only_at_low_ratios(processor):
    dataset = WindowDataset([IDS], processor, random_windows=0.25)
    low = [seen(dataset[WindowSpec(0, 64, 8, seed)]).target for seed in range(1000)]
    changed = np.array([ids for ids in low if ids != IDS[:64].tolist()])
    assert len(changed) / 1000 == pytest.approx(0.25, abs=0.04)
    # The share of replaced tokens is uniform between 0 and 1.
    replaced = changed != IDS[:64]
    assert np.quantile(replaced.mean(1), [0.25, 0.5, 0.75]) == pytest.approx([0.25, 0.5, 0.75], abs=0.08)
    assert set(changed[replaced].tolist()) == set(dataset.random_ids.tolist())
    high = [seen(dataset[WindowSpec(0, 64, 7, seed)]).target for seed in range(100)]
    assert all(ids == IDS[:64].tolist() for ids in high)


def test_half_of_the_random_tokens_are_single_bytes(tokenizer):
    ids = random_token_ids(tokenizer)
    single = {index for token, index in tokenizer.get_vocab().items() if len(token) == 1}
    assert len(single) == 256 and set(ids.tolist()) == set(range(len(tokenizer)))
    assert len(ids) == 2 * len(tokenizer)
    assert set(ids[len(tokenizer) :].tolist()) == single


def test_two_tokenizers_see_the_same_text(make_model, tokenizer):
    """The stream holds the decoder's ids; what the encoder reads is the same text in its own."""
    other = train_tokenizer(TEXTS[::-1] * 4, vocab_size=270)
    processor = C3Processor.from_config(make_model("appended").config, tokenizer, other)
    ids = np.array(processor.encode(TEXTS[2] * 3))
    dataset = WindowDataset([ids], processor)
    for start in range(40):
        item = seen(dataset[WindowSpec(start, 20, 4, seed=0)])
        ((context, n, length),) = item.windows
        text = processor.decode(item.target)
        assert text == other.decode(context) and text in TEXTS[2] * 3
        assert (n, length) == (4, len(item.target))


@pytest.mark.parametrize("layout", ["appended", "uniform"])
def test_collated_loss_equals_a_forward_by_hand(layout, make_model):
    """Two windows of different lengths, some inputs hidden: the loss over all text tokens, from unpadded rows."""
    model = make_model(layout, decoder_width=48)
    mask_id, n = model.config.mask_token_id, model.config.latent_token_id
    first, second = model.processor.encode(TEXTS[0])[:12], model.processor.encode(TEXTS[2])[:7]
    examples = [
        window_example(model.processor, first, 3, np.arange(12) % 3 == 0),
        window_example(model.processor, second, 2, np.zeros(7, dtype=bool)),
    ]
    batch = C3Collator(model.processor)(examples)
    prompt = model.processor.encode(model.config.reconstruction_prompt)
    assert batch["logits_to_keep"] == 13
    shown = [mask_id if i % 3 == 0 else token for i, token in enumerate(first)]
    width = 3 + len(prompt) + 12
    assert batch["input_ids"].tolist() == [[n] * 3 + prompt + shown, [0] * 6 + [n] * 2 + prompt + second]
    assert batch["labels"].tolist() == [[-100] * (width - 12) + first, [-100] * (width - 7) + second]
    assert batch["context_attention_mask"].sum(1).tolist() == [15, 9]

    losses = []
    with torch.no_grad():
        output = model(**batch)
        for ids, inputs, count in ((first, shown, 3), (second, second, 2)):
            length = len(ids)
            latents = model.encode_context(torch.tensor([ids + [model.config.query_token_id] * count]))
            rest = model.embed_prompt(torch.tensor([prompt + inputs]))
            if layout == "uniform":
                at = [(i + 0.5) * length / count - 0.5 for i in range(count)]
                positions = torch.tensor([at + list(range(-len(prompt), length))])
            else:
                positions = torch.arange(count + len(prompt) + length)[None]
            embeds = torch.cat([latents[None], rest], dim=1)
            logits = model.decoder(
                inputs_embeds=embeds, position_ids=positions, attention_mask=torch.ones(embeds.shape[:2])
            ).logits[0, -length - 1 : -1]
            losses += torch.nn.functional.cross_entropy(logits, torch.tensor(ids), reduction="none").tolist()
    assert output.logits.shape[1] == 13
    assert len(losses) == 19
    assert output.loss.item() == pytest.approx(sum(losses) / 19, rel=1e-4)


def test_hiding_the_last_token_changes_nothing(make_model):
    model = make_model("uniform")
    collate = C3Collator(model.processor)
    hidden = np.zeros(5, dtype=bool)
    losses = []
    for last in (False, True):
        hidden[-1] = last
        with torch.no_grad():
            losses.append(model(**collate([window_example(model.processor, [5, 6, 7, 8, 9], 2, hidden)])).loss)
    assert torch.equal(*losses)


# Conversations

ROWS = [
    {
        "context": TEXTS[0],
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "What times?"},
            {"role": "assistant", "content": "The best."},
            {"role": "user", "content": "And?"},
            {"role": "assistant", "content": "The worst."},
        ],
    },
    {
        "context": TEXTS[2] * 3,
        "messages": [{"role": "user", "content": "How much?"}, {"role": "assistant", "content": "42 %<|endoftext|>"}],
    },
]
BAD_ROWS = [
    {"context": "", "messages": ROWS[0]["messages"]},
    {"context": None, "messages": ROWS[0]["messages"]},
    {"context": "a", "messages": []},
    {"context": "a", "messages": ROWS[0]["messages"][1:2]},
    {"context": "a", "messages": [{"role": "tool", "content": "b"}, {"role": "assistant", "content": "c"}]},
    {"context": "a", "messages": [{"role": "user", "content": "b"}, {"role": "assistant", "content": None}]},
    {"context": "a", "messages": [{"role": "user", "content": [{"type": "text", "text": "b"}]}]},
    {"context": "a", "messages": "[]"},
    {"context": 5, "messages": ROWS[0]["messages"]},
]


@pytest.mark.parametrize(("end", "lead"), [(" ", " "), ("\n", ""), ("", "")], ids=["space", "line", "nothing"])
@pytest.mark.parametrize("layout", ["appended", "uniform"])
def test_conversations_are_laid_out_as_generate_does(layout, end, lead, make_model):
    """
    The first answer's inputs are those of `generate`, and the loss covers the answers alone, with the space before them
    where the template ends with one.
    """
    model = make_model(layout, prompt_template=f"<|endoftext|>user {{latents}}\n{{prompt}}\nassistant{end}")
    processor = model.processor
    examples = InstructionExamples(BAD_ROWS + ROWS, processor)
    assert len(examples) == 2
    assert str(examples.unusable).startswith("9 left out: no context, or no alternating messages (data, row 0,")
    assert str(examples.too_long) == "0 left out: a conversation above 1024 tokens"
    draw = Draw(index=0, window=32, ratio=4, objective="instruction")
    items = [examples.example(draw, index) for index in range(2)]
    batch = C3Collator(processor)(items)
    with torch.no_grad():
        output = model(**batch)
    eos = processor.tokenizer.eos_token_id
    answers = [["The best.", "The worst."], ["42 %<|endoftext|>"]]
    for row, texts in enumerate(answers):
        labels = batch["labels"][row]
        wanted = [i for text in texts for i in [*processor.encode(lead + text), eos]]
        assert labels[labels != -100].tolist() == wanted
    amount = {"ratio": 4} if layout == "uniform" else {"num_latents": 8}
    latents = model.compress(TEXTS[0], window=32, dtype="float32", **amount)
    alone = processor.decoder_inputs([processor.row(latents.spans[0], "Be brief.\n\nWhat times?")])
    length = alone["input_ids"].shape[1]
    first = int((batch["labels"][0] != -100).nonzero()[0])
    at = slice(first - length, first)
    assert batch["input_ids"][0, at].tolist() == alone["input_ids"][0].tolist()
    assert batch["position_ids"][0, at].tolist() == alone["position_ids"][0].tolist()
    # The second question stands in the same template, after the first answer.
    text = processor.tokenizer.decode(batch["input_ids"][0, first:])
    second = f"<|endoftext|>user \nAnd?\nassistant{end}The worst.<|endoftext|>"
    assert text == f"{lead}The best.<|endoftext|>{second}"
    with torch.no_grad():
        logits = model(
            input_ids=alone["input_ids"],
            attention_mask=alone["attention_mask"],
            position_ids=alone["position_ids"],
            latents=latents.values,
        ).logits
    kept = output.logits.shape[1]
    shift = batch["labels"].shape[1] - kept
    assert torch.allclose(output.logits[0, first - 1 - shift], logits[0, -1], atol=1e-4)


def test_conversations_about_the_text_itself(make_model):
    """The text stands where its latents would; the first row of a batch keeps those of a window, for the gradients."""
    model = make_model("uniform", ratio_range=[4, 16])
    processor = model.processor
    rows = {"instruction_on_text": InstructionExamples(ROWS, processor)}
    draw = Draw(index=0, window=32, ratio=2, objective="instruction_on_text")
    dataset = WindowDataset([IDS], processor, rows=rows)
    first, second = dataset.__getitems__([RowSpec(draw, 0), RowSpec(draw, 1)])
    answers = rows["instruction_on_text"].examples
    ids = processor.encode(ROWS[1]["context"])
    by_hand = processor.row([TextSegment(ids)], answers[1].prompt, list(answers[1].target), list(answers[1].labels))
    assert second.row == by_hand and not second.contexts
    ids = processor.encode(ROWS[0]["context"])
    window, *_ = plan = processor.plan_ids(array("i", ids), ratio=2, window=32, limit=False).windows
    span = LatentSpan(first.num_latents[0], len(window.text_ids))
    assert first.row[1:3] == [span, TextSegment(ids[len(window.text_ids) :])] and first.contexts == [window.context]
    # As few tokens to a latent as are drawn, whatever a user may ask for.
    assert sum(rows["instruction_on_text"].example(draw, 0).num_latents) == len(ids) // 2
    assert len(plan) > 1 and sum(processor.plan(ROWS[0]["context"], ratio=2).num_latents) == len(ids) // 4
    model.train()
    model(**C3Collator(processor)([first, second])).loss.backward()
    assert all(parameter.grad is not None for name, parameter in model.named_parameters() if "mask_emb" not in name)


def test_no_conversation_can_be_used(make_model):
    processor = make_model("uniform").processor
    with pytest.raises(ValueError, match="bad.jsonl: no row can be trained on: 9 left out: no context, or no altern"):
        InstructionExamples(BAD_ROWS, processor, name="bad.jsonl")


def test_conversations_that_are_too_long(make_model):
    """Counted with their first prompt; what is compressed has a limit of its own."""
    processor = make_model("uniform").processor
    whole = InstructionExamples(ROWS, processor)
    contexts = [len(each.context) for each in whole.examples]
    conversations = [len(processor.encode(each.prompt)) + len(each.target) for each in whole.examples]
    assert whole.lengths.tolist() == [list(each) for each in zip(contexts, conversations, strict=True)]
    for options, kept in (
        ({"max_target_length": max(conversations)}, [0, 1]),
        ({"max_target_length": max(conversations) - 1}, [int(np.argmin(conversations))]),
        ({"max_context_length": max(contexts)}, [0, 1]),
        ({"max_context_length": max(contexts) - 1}, [int(np.argmin(contexts))]),
    ):
        examples = InstructionExamples(ROWS, processor, **options)
        assert examples.examples == [whole.examples[index] for index in kept]
        assert examples.too_long.first == [f"data, row {index}" for index in (0, 1) if index not in kept]
    message = "1024 tokens, or a context above 3 (data, row 0, data, row 1)"
    with pytest.raises(ValueError, match=re.escape(f"2 left out: a conversation above {message}")):
        InstructionExamples(ROWS, processor, max_context_length=3)


@pytest.mark.parametrize("layout", ["appended", "uniform"])
def test_padding_of_conversations_of_mixed_lengths(layout, make_model):
    """At most 5 % of whole epochs, although windows are cut as `compress` cuts them and contexts differ in length."""
    processor = make_model(layout).processor
    rng = np.random.default_rng(0)
    words = " ".join(TEXTS).split()

    def text(low, high):
        return " ".join(rng.choice(words, size=rng.integers(low, high)))

    rows = [
        {
            "context": text(12, 200),
            "messages": [{"role": "user", "content": text(2, 6)}, {"role": "assistant", "content": text(2, 12)}],
        }
        for _ in range(1500)
    ]
    examples = InstructionExamples(rows, processor)
    lengths = examples.lengths
    pool = BatchPool(np.arange(len(examples)), lengths, tokens_per_batch=4096, group=group_conversations)
    batches = [pool.batch(place).tolist() for place in range(pool.batches_per_epoch)]
    assert sorted(index for batch in batches for index in batch) == list(range(1500))
    assert max(lengths[batch].sum() for batch in batches) <= 4096
    for window, ratio in ((64, 4), (64, 16), (256, 20)):
        draw = Draw(index=0, window=window, ratio=ratio, objective="instruction")
        padding, made = [], [[examples.example(draw, index) for index in batch] for batch in batches[::4]]
        for pack in (True, False):
            collator = C3Collator(processor, pack=pack)
            filled = positions = 0
            for inputs in map(collator, made):
                for name in ("attention_mask", "context_attention_mask"):
                    filled, positions = filled + int((inputs[name] > 0).sum()), positions + inputs[name].numel()
            padding.append(1 - filled / positions)
        assert padding[0] < 0.05 < 0.08 < padding[1]
