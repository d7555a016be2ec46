"""Sources, token stream, curriculum and collator. Run: pytest tests/test_data.py"""

import json
import math

import numpy as np
import pytest
import torch

from c3.data_c3 import (
    CurriculumSampler,
    Phase,
    ReconstructionCollator,
    TokenStream,
    WindowDataset,
    WindowSpec,
    check_curriculum,
    check_source,
    load_texts,
)
from tiny_models import TEXTS

datasets = pytest.importorskip("datasets")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


# Sources


def test_load_texts(tmp_path):
    rows = [{"text": text, "source": "x"} for text in TEXTS]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    (tmp_path / "a.json").write_text(json.dumps(rows), encoding="utf-8")
    datasets.Dataset.from_list(rows).to_parquet(str(tmp_path / "a.parquet"))
    for name in ("a.jsonl", "a.json", "a.parquet"):
        for path in (tmp_path / name, str(tmp_path / name)):
            texts = load_texts(path)
            assert texts.column_names == ["text"] and list(texts["text"]) == TEXTS
    assert set(load_texts(tmp_path / "a.parquet", column="source")["text"]) == {"x"}


def test_a_text_file_is_one_text(tmp_path):
    text = "two\n\nparagraphs\n" + TEXTS[2] + "\n"
    (tmp_path / "a.txt").write_text(text, encoding="utf-8")
    assert list(load_texts(tmp_path / "a.txt")["text"]) == [text]


def test_bad_sources(tmp_path):
    (tmp_path / "a.jsonl").write_text(json.dumps({"body": "b", "id": 1}))
    (tmp_path / "a.csv").write_text("text\na\n")
    with pytest.raises(ValueError, match=r"a\.jsonl has no column 'text'; it has body, id"):
        load_texts(tmp_path / "a.jsonl")
    for suffix in ("parquet", "jsonl", "txt", "csv"):
        with pytest.raises(FileNotFoundError, match=rf"No such data file: .*missing\.{suffix}"):
            load_texts(tmp_path / f"missing.{suffix}")
    for path in (tmp_path / "a.csv", tmp_path):
        with pytest.raises(ValueError, match=r"is not a \.parquet, \.jsonl, \.json, \.txt file"):
            load_texts(path)


def test_names_of_hub_datasets_may_have_dots(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert not check_source("org/data-v1.5")
    assert not check_source("wikitext")


# Token stream


def make_stream(texts, processor, block_size=16):
    rows = {"text": texts, "id": list(range(len(texts)))}
    return TokenStream(datasets.Dataset.from_dict(rows), processor, block_size)


@pytest.fixture
def processor(make_model):
    return make_model("uniform").processor


def test_blocks_cover_every_token(processor):
    exact = processor.decode(processor.encode(TEXTS[0])[:32])
    texts = [TEXTS[0] * 3, "", "a", TEXTS[1], exact, None, TEXTS[2]]
    stream = make_stream(texts, processor)
    lengths = [len(processor.encode(text)) if text else 0 for text in texts]
    assert lengths[4] == 32
    assert (stream.num_documents, stream.num_empty) == (7, 2)
    assert stream.ids.dtype == np.int32 and stream.blocks.dtype == np.int64
    assert stream.ids.tolist() == [i for text in texts if text for i in processor.encode(text)]
    starts = np.cumsum([0, *lengths])
    blocks = stream.blocks.tolist()
    for start, length in zip(starts.tolist(), lengths, strict=False):
        inside = [each for each in blocks if start <= each[0] < start + length]
        # No block crosses into another document, and all its tokens are in one.
        covered = {i for first, size in inside for i in range(first, first + size)}
        assert covered == set(range(start, start + length))
        assert [size for _, size in inside] == [min(16, length)] * math.ceil(length / 16)
    assert len(blocks) == sum(math.ceil(length / 16) for length in lengths)


def test_special_tokens_in_documents_are_text(processor):
    assert 0 not in make_stream(["a<|endoftext|>b"], processor).ids


@pytest.mark.parametrize("texts", [["", None, ""], [""] * 300 + ["a"]], ids=["empty", "late"])
def test_streams_of_nearly_nothing(texts, processor):
    stream = make_stream(texts, processor)
    assert stream.num_documents == len(texts)
    assert stream.num_empty == sum(not text for text in texts)
    assert stream.blocks.tolist() == ([[0, 1]] if "a" in texts else [])
    assert stream.blocks.shape[1] == 2 and stream.ids.dtype == np.int32


def test_no_documents(processor):
    with pytest.raises(ValueError, match="no documents to train on"):
        make_stream([], processor)


# Curriculum

PHASES = [Phase(0.25, [4], [2, 2]), Phase(0.5, [4, 8], [2, 4]), Phase(1.0, [4, 8, 16], [4, 16])]
# 20 whole blocks, three short ones: documents shorter than a block, or their ends.
BLOCKS = np.array([(16 * i, 16) for i in range(20)] + [(320, 7), (327, 1), (328, 16), (344, 12)])


def make_sampler(num_batches=40, tokens_per_batch=64, seed=0, phases=PHASES):
    return CurriculumSampler(BLOCKS, phases, num_batches, tokens_per_batch, seed)


def test_a_batch_depends_on_seed_and_index_alone():
    batches = list(make_sampler())
    assert len(batches) == len(make_sampler()) == 40
    # In any order, and from any place, as in a resumed run.
    fresh = make_sampler()
    assert [fresh.batch(i) for i in (39, 3, 17)] == [batches[i] for i in (39, 3, 17)]
    assert list(make_sampler()) == batches
    assert list(make_sampler(seed=1)) != batches
    seeds = [spec.seed for batch in batches for spec in batch]
    assert len(set(seeds)) == len(seeds)


def test_windows_and_ratios_of_each_phase():
    sampler = make_sampler(num_batches=400)
    seen = {phase.until: set() for phase in PHASES}
    for index, batch in enumerate(sampler):
        phase = sampler.phase(index)
        assert phase is PHASES[0 if index < 100 else 1 if index < 200 else 2]
        longest = max(spec.length for spec in batch)
        assert longest <= max(phase.windows)
        whole = [spec for spec in batch if spec.length == longest]
        # One length, one number of latents, and every latent stands for equally many tokens.
        assert len({spec.num_latents for spec in whole}) == 1
        ratio = longest // whole[0].num_latents
        assert longest == ratio * whole[0].num_latents
        seen[phase.until].add(ratio)
        for spec in batch:
            assert spec.num_latents >= 1 and spec.length <= ratio * spec.num_latents
            # Shorter windows are those of documents shorter than a block.
            assert spec in whole or spec.start >= 320
    for phase in PHASES:
        low, high = phase.ratios
        assert seen[phase.until] <= set(range(low, high + 1)) and {low, high} <= seen[phase.until]
    assert sampler.phase(0) is PHASES[0] and sampler.phase(399) is PHASES[-1]


def test_a_ratio_above_the_window_makes_one_latent_of_it():
    sampler = make_sampler(phases=[Phase(1.0, [4], [16, 16])])
    for batch in sampler:
        assert batch and all(spec.num_latents == 1 and spec.length <= 4 for spec in batch)


def test_an_epoch_visits_every_block_once():
    """At ratio 4 and window 4 every whole block gives all of its tokens, a short one whole windows of it."""
    sampler = make_sampler(tokens_per_batch=64, phases=[Phase(0.5, [4], [4, 4]), Phase(1.0, [16], [4, 4])])
    per_epoch = len(BLOCKS) // 4
    for epoch in range(3):
        tokens = [
            i
            for index in range(epoch * per_epoch, (epoch + 1) * per_epoch)
            for spec in sampler.batch(index)
            for i in range(spec.start, spec.start + spec.length)
        ]
        assert len(set(tokens)) == len(tokens)
        assert set(range(356)) - set(tokens) == {324, 325, 326}
    first, second = ([spec.start for spec in sampler.batch(epoch * per_epoch)] for epoch in range(2))
    assert first != second


def test_a_batch_takes_as_many_blocks_as_fit():
    for tokens, blocks in ((64, 4), (79, 4), (16, 1), (1, 1)):
        assert make_sampler(tokens_per_batch=tokens).blocks_per_batch == blocks
    with pytest.raises(ValueError, match="The data give 24 blocks of 16 tokens, but a batch takes 25; give more text"):
        make_sampler(tokens_per_batch=400)


@pytest.mark.parametrize(
    ("phases", "message"),
    [
        ([], r"`until` must rise from above 0 to exactly 1.0, not \[\]"),
        ([Phase(0.5, [4], [2, 2])], "exactly 1.0"),
        ([Phase(0.0, [4], [2, 2]), Phase(1.0, [4], [2, 2])], "above 0"),
        ([Phase(1.0, [4], [2, 2]), Phase(1.0, [4], [2, 2])], "must rise"),
        ([Phase("all", [4], [2, 2])], "`until` must rise"),
        ([Phase(1.0, [], [2, 2])], r"windows must be a list of token counts of 1 or more, not \[\]"),
        ([Phase(1.0, [0], [2, 2])], "windows must be"),
        ([Phase(1.0, 64, [2, 2])], "windows must be .* not 64"),
        ([Phase(1.0, [6.5], [2, 2])], "windows must be"),
        ([Phase(1.0, [4], [4, 2])], r"ratios must be \[lowest, highest\], whole and at least 1, not \[4, 2\]"),
        ([Phase(1.0, [4], [0.5, 2])], "ratios must be"),
        ([Phase(1.0, [4], [2])], "ratios must be"),
        ([Phase(1.0, [4], 2)], "ratios must be .* not 2"),
        ([Phase(1.0, [4], [2, math.inf])], "ratios must be"),
    ],
)
def test_bad_curricula(phases, message):
    with pytest.raises(ValueError, match=message):
        check_curriculum(phases)


# Windows

IDS = np.arange(5000, dtype=np.int32) % 256


def test_a_window_is_a_slice_of_the_stream():
    item = WindowDataset(IDS, vocab_size=300)[WindowSpec(7, 5, 2, seed=3)]
    assert item["ids"] == [7, 8, 9, 10, 11] and item["num_latents"] == 2
    assert item["hidden"].tolist() == [False] * 5
    assert len(WindowDataset(IDS, vocab_size=300)) == 5000


def test_share_of_hidden_tokens():
    """In three windows of four a share of the tokens, uniform between 0 and 1, is hidden."""
    dataset = WindowDataset(IDS, vocab_size=300, dropout_windows=0.75)
    items = [dataset[WindowSpec(0, 64, 4, seed)] for seed in range(4000)]
    assert all(item["ids"] == IDS[:64].tolist() for item in items)
    shares = np.array([item["hidden"].mean() for item in items])
    # A window with dropout shows all of its 64 tokens once in 65 times.
    assert (shares == 0).mean() == pytest.approx(0.25 + 0.75 / 65, abs=0.025)
    assert shares.mean() == pytest.approx(0.375, abs=0.02)
    quartiles = np.quantile(shares[shares > 0], [0.25, 0.5, 0.75])
    assert quartiles == pytest.approx([0.25, 0.5, 0.75], abs=0.04)
    again = dataset[WindowSpec(0, 64, 4, 11)]
    assert again["hidden"].tolist() == items[11]["hidden"].tolist()


def test_random_windows_only_at_low_ratios():
    dataset = WindowDataset(IDS, vocab_size=300, random_windows=0.25)
    low = [dataset[WindowSpec(0, 64, 8, seed)]["ids"] for seed in range(1000)]
    changed = [ids for ids in low if ids != IDS[:64].tolist()]
    assert len(changed) / 1000 == pytest.approx(0.25, abs=0.04)
    tokens = np.concatenate(changed)
    assert tokens.min() == 0 and tokens.max() == 299
    assert tokens.mean() == pytest.approx(149.5, abs=3)
    high = [dataset[WindowSpec(0, 64, 7, seed)]["ids"] for seed in range(100)]
    assert all(ids == IDS[:64].tolist() for ids in high)


# Collator


@pytest.mark.parametrize("layout", ["appended", "uniform"])
def test_collated_loss_equals_a_forward_by_hand(layout, make_model):
    """Two windows of different lengths, some inputs hidden: the loss over all text tokens, from unpadded rows."""
    model = make_model(layout, decoder_width=48)
    mask_id, n = model.config.mask_token_id, model.config.latent_token_id
    first, second = model.processor.encode(TEXTS[0])[:12], model.processor.encode(TEXTS[2])[:7]
    examples = [
        {"ids": first, "num_latents": 3, "hidden": np.arange(12) % 3 == 0},
        {"ids": second, "num_latents": 2, "hidden": np.zeros(7, dtype=bool)},
    ]
    batch = ReconstructionCollator(model.processor, mask_id)(examples)
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
    collate = ReconstructionCollator(model.processor, model.config.mask_token_id)
    hidden = np.zeros(5, dtype=bool)
    losses = []
    for last in (False, True):
        hidden[-1] = last
        with torch.no_grad():
            losses.append(model(**collate([{"ids": [5, 6, 7, 8, 9], "num_latents": 2, "hidden": hidden}])).loss)
    assert torch.equal(*losses)
