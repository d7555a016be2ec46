"""
Objectives of global compression: rows of chunks and their latents.
Run: pytest tests/training/test_chunk_objectives.py
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from c3 import C3Model, C3Processor
from c3.decoder_rows_c3 import LatentSpan, TextSegment
from c3.training.checks import RecipeError
from c3.training.data.chunked_instructions import ChunkedInstructionExamples
from c3.training.data.collator import C3Collator
from c3.training.data.curriculum import Curriculum, Phase
from c3.training.data.examples import WindowDataset
from c3.training.data.instructions import InstructionExamples
from c3.training.data.specs import Draw, RowSpec, WindowSpec
from c3.training.data.tokenizer import train_tokenizer
from c3.training.run.stages import train
from c3.window_decoding_c3 import ForceTokens
from image_models import LINE, model_of, model_of_lines
from tiny_models import TEXTS, history

IDS = [np.arange(64) % 50 + 3, np.arange(48) % 40 + 9]
# A document of four blocks, one of 40 tokens, short ones of 7 and 1.
BLOCKS = np.array([[0, 0, 64, 64], [1, 0, 40, 40], [1, 40, 7, 47], [1, 47, 1, 48]])


CHUNK, RATIO = 8, 4
TURNS = [("user", "Who?"), ("assistant", TEXTS[1].strip()), ("user", "When?"), ("assistant", "Never.")]
MESSAGES = [{"role": role, "content": content} for role, content in TURNS]
# A long prompt and answer, with further ones; a prompt whose end stays text; nothing long enough to be compressed.
ROWS = [
    {"context": TEXTS[0], "messages": MESSAGES},
    {"context": "It was the best of times.", "messages": [MESSAGES[0], MESSAGES[3]]},
    {"context": None, "messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": "!"}]},
]


def made(example):
    """Of each segment: whether it is latents, its chunk, its tokens and what is learned of them."""
    return [
        ("v", each.chunk, each.num_latents, each.num_tokens)
        if isinstance(each, LatentSpan)
        else ("c", each.chunk, list(each.ids), list(each.labels))
        for each in example.row
    ]


MULTIBYTE = "短い文章です。🔥🔥 天地玄黄 é"


@pytest.fixture
def dataset(make_model):
    return WindowDataset(IDS, make_model().processor)


def test_rows_by_hand(dataset):
    ids = IDS[0].tolist()
    a, b, c = ids[:8], ids[8:16], ids[16:19]
    example = dataset[WindowSpec(0, 8, 2, 0, continuation=11, objective="multi_turn_reconstruction")]
    assert made(example) == [("v", 1, 2, 8), ("c", 1, a, a), ("v", 2, 2, 8), ("c", 2, b, b)]
    assert (example.contexts, example.num_latents) == ([a, b], [2, 2])
    example = dataset[WindowSpec(0, 8, 2, 0, continuation=11, objective="global_language_modeling")]
    learned = [-100, *a[1:]]
    assert made(example) == [("c", 1, a, learned), ("v", 1, 2, 8), ("c", 2, b, b), ("v", 2, 2, 8), ("c", 3, c, c)]
    assert (example.contexts, example.num_latents) == ([a, b], [2, 2])


def test_documents_are_cut_behind_whole_characters(tokenizer):
    """Where the encoder reads no ids, as prompts are; no character is left out but those that a row's ends cut."""
    dataset = WindowDataset([np.array(tokenizer.encode(MULTIBYTE))], model_of(tokenizer).processor)
    length = len(dataset.ids[0])
    for objective in ("multi_turn_reconstruction", "global_language_modeling"):
        example = dataset[WindowSpec(0, CHUNK, 2, 0, continuation=length - CHUNK, objective=objective)]
        texts = [list(each.ids) for each in example.row if isinstance(each, TextSegment)]
        said = dataset.processor.decode(sum(texts, []))
        assert MULTIBYTE.startswith(said) and (len(said) == len(MULTIBYTE)) is (objective[0] == "g")
        assert all(CHUNK - 3 <= len(each) <= CHUNK for each in texts[:-1]) and len(set(map(len, texts))) > 1
        assert example.contexts == [dataset.processor.decode(each) for each in texts[: len(example.contexts)]]


@pytest.mark.parametrize("objective", ["multi_turn_reconstruction", "global_language_modeling"])
@pytest.mark.parametrize("chunks", [(1, 1), (2, 4), (8, 8)])
def test_every_document_gives_rows(objective, chunks, dataset):
    """No token is in two rows, and none is left out but those that make no whole window."""
    curriculum = Curriculum([Phase(1.0, [8], [2, 4], chunks=list(chunks))], 20, objectives={objective: 1.0})
    drawn = set()
    for index in range(20):
        draw = curriculum.draw(index)
        drawn.add(draw.chunks)
        specs = curriculum.cut(draw, BLOCKS)
        taken = [(s.source, place) for s in specs for place in range(s.start, s.start + s.length + s.continuation)]
        assert len(taken) == len(set(taken))
        predicts = objective == "global_language_modeling"
        most = max(2, draw.chunks) if predicts else draw.chunks
        assert not predicts or all(spec.continuation > 0 for spec in specs)
        for source, start, length, end in BLOCKS[: 3 if predicts else 4].tolist():
            sizes = {spec.length for spec in specs if spec.source == source and start <= spec.start < end}
            covered = [place for number, place in taken if number == source and start <= place < end]
            # From the start of each document.
            assert covered == list(range(start, start + len(covered))) and length - len(covered) <= max(sizes)
        for spec in specs:
            assert spec.length + spec.continuation <= most * spec.length <= most * 8
            assert spec.length == spec.num_latents * draw.ratio or spec.length < draw.ratio
            example = dataset[spec]
            assert len(example.contexts) == len(example.num_latents) == sum(each[0] == "v" for each in made(example))
    assert drawn == set(range(chunks[0], chunks[1] + 1))
    # Of a single token nothing follows: it is given back.
    (spec,) = curriculum.cut(draw, BLOCKS[-1:])
    expected = "reconstruction" if objective == "global_language_modeling" else objective
    assert spec.objective == expected


def test_dropout_hides_what_is_given_back(make_model):
    dataset = WindowDataset(IDS, make_model().processor, dropout_windows=1.0)
    spec = WindowSpec(0, 16, 4, 3, continuation=16, objective="multi_turn_reconstruction")
    hidden = [each.hidden for each in dataset[spec].row if isinstance(each, TextSegment)]
    assert all(len(each) == 16 and any(each) for each in hidden) and hidden[0] != hidden[1]
    assert [each.hidden for each in dataset[spec].row if isinstance(each, TextSegment)] == hidden


@pytest.mark.parametrize("layout", ["appended", "uniform"])
def test_the_loss_is_that_of_each_chunk_after_the_latents_before(layout, make_model):
    """Rows of unlike lengths together; where latents see no text, each chunk follows latents that stand alone."""
    model = make_model(layout, latents_see_chunk=False)
    dataset = WindowDataset(IDS, model.processor)
    specs = [(0, 0, 24), (1, 0, 5)]
    for objective in ("multi_turn_reconstruction", "global_language_modeling"):
        examples = [
            dataset[WindowSpec(start, 8, 2, 0, source, following, objective)] for source, start, following in specs
        ]
        losses, counts = [], []
        for example in examples:
            values = model.encode_windows(example.contexts, example.num_latents)
            row = example.row
            for place, segment in enumerate(row):
                if isinstance(segment, TextSegment):
                    before = [each for each in row[:place] if isinstance(each, LatentSpan)]
                    batch = model.processor.decoder_inputs([[*before, segment]])
                    assert "chunk_ids" not in batch
                    count = int((batch["labels"] != -100).sum())
                    latents = values[: sum(span.num_latents for span in before)]
                    losses.append(model(**batch, latents=latents).loss * count)
                    counts.append(count)
        batch = C3Collator(model.processor)(examples)
        torch.testing.assert_close(model(**batch).loss, sum(losses) / sum(counts), rtol=1e-4, atol=1e-4)


def model_that_reads(kind, make_model, tokenizer, **options):
    """A model whose encoder reads the decoder's ids, those of another tokenizer, or pictures."""
    if kind == "pictures":
        return model_of(tokenizer, **options)
    model = make_model(**options)
    if kind == "other ids":
        model.processor = C3Processor.from_config(model.config, tokenizer, train_tokenizer(TEXTS[:1] * 4, 280))
    return model


@pytest.mark.parametrize(
    ("kind", "layout", "sees"),
    [
        ("ids", "appended", True),
        ("ids", "uniform", True),
        ("ids", "uniform", False),
        ("other ids", "appended", True),
        ("other ids", "uniform", False),
        ("pictures", "uniform", True),
    ],
)
def test_instruction_rows_are_what_generation_reads(kind, layout, sees, make_model, tokenizer):
    """
    A batch with the mask gives the logits that generation in chunks gives, token by token, and their loss: both cut at
    the same places, where the encoder reads no ids behind whole characters, and compress to the same latents.
    """
    options = {"latent_position_layout" if kind == "pictures" else "layout": layout}
    options |= {"latents_see_chunk": sees, "prompt_template": "a{latents}b{prompt}c"}
    model = model_that_reads(kind, make_model, tokenizer, **options)
    said = [*(row["messages"][1]["content"] for row in ROWS), MULTIBYTE]
    rows = [*ROWS, {"context": None, "messages": [MESSAGES[0], {"role": "assistant", "content": MULTIBYTE}]}]
    rows = ChunkedInstructionExamples(rows, model.processor)
    draw = Draw(0, CHUNK, RATIO, "instruction_in_chunks")
    examples = [rows.example(draw, index) for index in range(len(said))]
    lengths = [len(each.ids) for each in examples[-1].row if isinstance(each, TextSegment) and each.labels is not None]
    assert len(lengths) > 4 and (set(lengths[:-1]) == {CHUNK}) is (kind == "ids")
    batch = C3Collator(model.processor)(examples)
    with torch.no_grad():
        output = model(**batch)
    labels, losses = batch["labels"][:, -output.logits.shape[1] :], []
    prompts = [f"{TEXTS[0]}\n\nWho?", "It was the best of times.\n\nWho?", "?", "Who?"]
    for number, (prompt, answer) in enumerate(zip(prompts, said, strict=True)):
        ids = [*model.processor.encode(answer.strip()), model.processor.tokenizer.eos_token_id]
        learned = (labels[number] != -100).nonzero().flatten()
        assert labels[number, learned].tolist() == ids
        generated = model.generate(
            None,
            prompt,
            compress_every=CHUNK,
            ratio=RATIO,
            max_new_tokens=len(ids),
            do_sample=False,
            logits_processor=[ForceTokens(torch.tensor([ids]))],
            return_dict_in_generate=True,
            output_logits=True,
        )
        assert generated.sequences[0].tolist() == ids
        logits = torch.cat(generated.logits)
        torch.testing.assert_close(output.logits[number, learned - 1], logits, rtol=1e-4, atol=1e-4)
        losses.append(torch.nn.functional.cross_entropy(logits, torch.tensor(ids), reduction="none"))
        read = [] if generated.latents[0] is None else generated.latents[0].latent_lengths.tolist()
        assert read == examples[number].num_latents and bool(read) is (number != 2)
    torch.testing.assert_close(output.loss, torch.cat(losses).mean(), rtol=1e-4, atol=1e-4)


def test_instruction_rows_by_hand(make_model):
    """The end of a prompt is compressed only where it is longer than a chunk's latents; what is not learned is said."""
    processor, draw = make_model().processor, Draw(0, 4, 2, "instruction_in_chunks")
    answer = [*processor.encode(MESSAGES[1]["content"]), processor.tokenizer.eos_token_id]
    for length in range(1, 30):
        ids = processor.encode(TEXTS[0][:length].strip())
        messages = [{"role": "user", "content": TEXTS[0][:length]}, MESSAGES[1]]
        example = ChunkedInstructionExamples([{"context": "", "messages": messages}], processor).example(draw, 0)
        texts = [each for each in example.row if isinstance(each, TextSegment)]
        learned = [each for each in texts if each.labels is not None]
        asked = [each for each in texts if each.labels is None and len(each.ids)]
        assert sum((list(each.ids) for each in asked), []) == ids
        assert sum((list(each.labels) for each in learned), []) == answer and learned[0].ids == answer[:4]
        rest = sum(len(each.ids) for each in asked if not each.chunk)
        assert rest == (len(ids) % 4 if len(ids) % 4 <= 2 else 0)
        numbers = [each.chunk for each in [*asked, *learned] if each.chunk]
        assert numbers == list(range(1, len(numbers) + 1))
        spans = [each.chunk for each in example.row if isinstance(each, LatentSpan)]
        assert spans == numbers[:-1] and len(example.contexts) == len(example.num_latents) == len(spans)


def test_a_batch_of_short_instruction_rows_has_latents(make_model):
    """So that the encoder has a gradient: of the first prompt, and of no other."""
    model = make_model()
    rows = {"instruction_in_chunks": ChunkedInstructionExamples(ROWS[2:] * 2, model.processor)}
    draw = Draw(0, CHUNK, RATIO, "instruction_in_chunks")
    examples = WindowDataset(IDS, model.processor, rows=rows).__getitems__([RowSpec(draw, 0), RowSpec(draw, 1)])
    assert [each.num_latents for each in examples] == [[1], []]
    model(**C3Collator(model.processor)(examples)).loss.backward()
    assert all(each.grad.abs().sum() > 0 for each in (model.projector.linear_1.weight, model.context_queries.weight))


def test_rows_that_a_picture_does_not_show_get_more_latents():
    """Which of them a batch holds, at which ratio, is drawn while a model is trained: none stops the run."""
    processor = model_of_lines().processor
    said = {"messages": [{"role": "user", "content": LINE * 8}, {"role": "assistant", "content": LINE * 8}]}
    chunked = ChunkedInstructionExamples([{"context": None} | said], processor)
    asked = chunked.example(Draw(0, CHUNK, CHUNK, "instruction_in_chunks"), 0)
    plain = InstructionExamples([{"context": LINE * 8} | said], processor)
    about = plain.example(Draw(0, CHUNK, CHUNK, "instruction"), 0)
    with pytest.raises(ValueError, match="do not show all of its characters apart"):
        processor.plan(LINE * 8, ratio=CHUNK)
    for example, least in ((asked, 2), (about, 1)):
        assert len(example.contexts) >= least and min(example.num_latents) > 1
        assert example.num_latents == [span.num_latents for span in example.row if isinstance(span, LatentSpan)]


def test_instruction_rows_that_cannot_be_used(make_model):
    rows = [*ROWS[:1], {"context": 5, "messages": MESSAGES}, {"context": "", "messages": MESSAGES[:1]}]
    found = ChunkedInstructionExamples(rows, make_model().processor, name="rows")
    assert len(found) == 1 and "2 left out: no alternating messages (rows, row 1, rows, row 2)" in str(found)


@pytest.mark.parametrize("streaming", [False, True])
def test_a_run(streaming, load_training, make_model, tmp_path):
    """All objectives in chunks beside reconstruction; on two kinds of data, with the attention for training on CPUs."""
    tokenizer = tmp_path / "tokenizer"
    make_model().processor.tokenizer.save_pretrained(tokenizer)
    rows = tmp_path / "rows.jsonl"
    rows.write_text("\n".join(map(json.dumps, ROWS * 4)), encoding="utf-8")
    phases = "[{until: 1.0, windows: [16], ratios: [2, 4], chunks: [1, 4]}]"
    objectives = {"reconstruction": 1, "multi_turn_reconstruction": 1, "global_language_modeling": 2}
    recipe = load_training(
        f"chunks {streaming}",
        f"train_data={json.dumps({'path': load_training('texts').train_data[0].path, 'streaming': streaming})}",
        f"tokenizer={tokenizer}",
        f"curriculum={phases}",
        f"objectives={json.dumps(objectives | {'instruction_in_chunks': 2})}",
        f"instruction_data={rows}",
        "attn_implementation=cpu_matmul",
        "training.max_steps=8",
        "training.eval_strategy=no",
        "training.save_strategy=no",
    )
    assert (recipe.longest_window, recipe.longest_text) == (16, 64)
    model = C3Model.from_pretrained(train(recipe))
    assert not model.config.reconstruction_only
    assert all(np.isfinite(loss) for loss in history(Path(recipe.output_dir)).values())
    options = {"compress_every": 16, "ratio": 4, "max_new_tokens": 20, "do_sample": False}
    assert isinstance(model.generate(None, "It was", **options), str)


def test_bad_chunks(load_training):
    for chunks in ("[0, 2]", "[3, 2]", "4", "[1, 2, 3]"):
        with pytest.raises(RecipeError, match="chunks must be .lowest, highest., whole and at least 1"):
            load_training("bad", f"curriculum=[{{until: 1.0, windows: [16], ratios: [2, 4], chunks: {chunks}}}]")
    with pytest.raises(RecipeError, match="must not be below the longest row of chunks of the curriculum"):
        load_training("bad", "curriculum=[{until: 1.0, windows: [16], ratios: [2, 4], chunks: [1, 9]}]")
