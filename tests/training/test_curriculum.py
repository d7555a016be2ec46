"""Window lengths, ratios and objectives of the batches of a run. Run: pytest tests/training/test_curriculum.py"""

import math
import pickle
from collections import Counter
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
from accelerate.data_loader import SkipBatchSampler

from c3.training.data.curriculum import Curriculum, Phase, check_curriculum
from c3.training.data.pools import BatchPool, group_blocks, group_conversations
from c3.training.data.sampler import CurriculumSampler
from c3.training.data.specs import WindowSpecs

PHASES = [Phase(0.25, [4], [2, 2]), Phase(0.5, [4, 8], [2, 4]), Phase(1.0, [4, 8, 16], [4, 16])]
# 20 whole blocks, three short ones: documents shorter than a block, or their ends.
SPANS = [(16 * i, 16) for i in range(20)] + [(320, 7), (327, 1), (328, 16), (344, 12)]
BLOCKS = np.array([(0, start, length, start + length) for start, length in SPANS])


def make_sampler(num_batches=40, tokens_per_batch=64, seed=0, phases=PHASES, **options):
    curriculum = Curriculum(phases, num_batches, seed, **options)
    return CurriculumSampler(curriculum, [BatchPool(BLOCKS, BLOCKS[:, 2], tokens_per_batch, seed)])


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


def draws_by_choice(curriculum):
    """Objectives and places as they were once drawn, all before the first batch: checkpoints rest on these draws."""
    weights = np.array(list(curriculum.objectives.values()), dtype=float)
    for index in range(curriculum.num_batches):
        rng = np.random.default_rng([curriculum.seed, 4, index])
        yield str(rng.choice(list(curriculum.objectives), p=weights / weights.sum()))


OBJECTIVES = [
    {"reconstruction": 1.0},
    {"instruction": 2},
    {"reconstruction": 0.7, "continuation": 0.3},
    {"reconstruction": 0.7, "continuation": 0.2, "instruction": 0.1},
    {"instruction": 1, "reconstruction": 3},
]


@pytest.mark.parametrize("seed", [0, 42, 2**40])
@pytest.mark.parametrize("objectives", OBJECTIVES, ids=["one", "conversations", "two", "three", "other order"])
@pytest.mark.parametrize("weights", [None, [1.0], [0.5, 0.2, 0.3]], ids=["all", "one source", "three sources"])
def test_draws_are_those_that_were_always_made(objectives, weights, seed):
    """From any place on, whatever was asked for before."""
    pools = [BatchPool(BLOCKS + [[number, 0, 0, 0]], BLOCKS[:, 2], 64, number) for number in range(len(weights or "1"))]
    conversations = BatchPool(np.arange(9), np.full(9, 32), 64, seed)
    num_batches = 60
    curriculum = Curriculum(PHASES, num_batches, seed, objectives)
    sampler = CurriculumSampler(curriculum, pools, weights, {("instruction", None): conversations})
    drawn = list(draws_by_choice(curriculum))
    shares = np.array(weights or [1.0])
    rng = np.random.default_rng([seed, 5])
    chosen = rng.choice(len(pools), size=num_batches, p=shares / shares.sum()).tolist()
    sources = [len(pools) if each == "instruction" else pool for each, pool in zip(drawn, chosen, strict=True)]
    for index in (50, 3, *range(num_batches)):
        draw = curriculum.draw(index)
        place = sources[:index].count(sources[index])
        assert draw.objective == curriculum.objective(index) == drawn[index]
        if draw.objective == "instruction":
            assert sampler.batch(index) == [(draw, example) for example in conversations.batch(place).tolist()]
        else:
            assert sampler.batch(index) == curriculum.cut(draw, pools[sources[index]].batch(place))


def test_batches_that_nobody_looks_into_are_not_made(monkeypatch):
    """Of a run of years: neither at its start, nor those that a resumed one skips."""
    made = []
    batch = CurriculumSampler.batch
    monkeypatch.setattr(CurriculumSampler, "batch", lambda self, index: made.append(index) or batch(self, index))
    sampler = make_sampler(num_batches=10**12)
    batches = SkipBatchSampler(sampler, skip_batches=1000)
    third = list(islice(batches, 3))[2]
    assert made == []
    assert list(third) == batch(sampler, 1002) == pickle.loads(pickle.dumps(third))
    assert set(made) == {1002}
    # To the workers of a data loader go its windows, not the sampler.
    assert type(pickle.loads(pickle.dumps(third))) is WindowSpecs


def test_windows_and_ratios_of_each_phase():
    sampler = make_sampler(num_batches=400)
    seen = {phase.until: set() for phase in PHASES}
    for index, batch in enumerate(sampler):
        phase = sampler.curriculum.phase(index)
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
    assert sampler.curriculum.phase(0) is PHASES[0] and sampler.curriculum.phase(399) is PHASES[-1]


def test_numbers_of_latents_instead_of_ratios():
    """The paper's way: windows of any length get N latents."""
    sampler = make_sampler(num_batches=50, phases=[Phase(1.0, [8, 16], num_latents=[2, 4])])
    seen = set()
    for index, batch in enumerate(sampler):
        draw = sampler.curriculum.draw(index)
        seen.add((draw.window, draw.num_latents))
        for spec in batch:
            assert spec.num_latents == min(draw.num_latents, spec.length)
            assert spec.length == draw.window or spec.start >= 320
    assert seen == {(8, 2), (8, 4), (16, 2), (16, 4)}


def test_a_ratio_above_the_window_makes_one_latent_of_it():
    sampler = make_sampler(phases=[Phase(1.0, [4], [16, 16])])
    for batch in sampler:
        assert batch and all(spec.num_latents == 1 and spec.length <= 4 for spec in batch)


def tokens_of(sampler, batches):
    return [
        i for index in batches for spec in sampler.batch(index) for i in range(spec.start, spec.start + spec.length)
    ]


def test_an_epoch_visits_every_block_once():
    """At ratio 4 and window 4 every whole block gives all of its tokens, a short one whole windows of it."""
    sampler = make_sampler(phases=[Phase(0.5, [4], [4, 4]), Phase(1.0, [16], [4, 4])])
    per_epoch = sampler.pools[0].batches_per_epoch
    assert per_epoch == 6  # 21 whole blocks and three short ones, four to a batch
    for epoch in range(3):
        tokens = tokens_of(sampler, range(epoch * per_epoch, (epoch + 1) * per_epoch))
        assert len(set(tokens)) == len(tokens)
        assert set(range(356)) - set(tokens) == {324, 325, 326}
    first, second = ([spec.start for spec in sampler.batch(epoch * per_epoch)] for epoch in range(2))
    assert first != second


def test_batches_hold_blocks_of_like_lengths():
    """Of documents of very different lengths less than 5 % of a batch would be padding."""
    rng = np.random.default_rng(0)
    lengths = np.concatenate([rng.integers(1, 256, 3000), np.full(500, 256)])
    batches = group_blocks(lengths, 4096, rng)
    assert sorted(np.concatenate(batches).tolist()) == list(range(3500))
    padded = sum(len(batch) * lengths[batch].max() for batch in batches)
    assert 1 - lengths.sum() / padded < 0.02
    sizes = [lengths[batch].sum() for batch in batches]
    assert max(sizes) <= 4096 and np.median(sizes) > 0.97 * 4096
    assert len(group_blocks(lengths, 4096, np.random.default_rng(1))) == len(batches)


def test_a_block_above_the_batch_is_a_batch():
    assert sorted(map(len, group_blocks(np.array([16, 16, 3]), 8, np.random.default_rng(0)))) == [1, 1, 1]


def test_too_little_text_for_a_batch():
    with pytest.raises(ValueError, match="The data hold 356 tokens, but a batch takes 400; give more text"):
        make_sampler(tokens_per_batch=400)


def test_weights_of_sources():
    pools = [BatchPool(np.full((9, 4), index), np.full(9, 16), 16, seed=index) for index in range(2)]
    for pool in pools:
        pool.rows[:, 2:] = 16
    curriculum = Curriculum([Phase(1.0, [16], [4, 4])], num_batches=1000)
    sampler = CurriculumSampler(curriculum, pools, weights=[3, 1])
    sources = [batch[0].source for batch in sampler]
    assert np.mean(sources) == pytest.approx(0.25, abs=0.04)
    # Each source goes on where it was, whatever came from the other in between.
    places = [place for pool, place in zip(sampler._pool, sampler._place, strict=True) if pool == 1]
    assert places == list(range(len(places)))


def test_objectives_are_mixed_by_weight():
    sampler = make_sampler(num_batches=1000, objectives={"reconstruction": 3, "continuation": 1}, continuation_length=6)
    plain = make_sampler(num_batches=1000)
    continued = 0
    for index, batch in enumerate(sampler):
        draw = sampler.curriculum.draw(index)
        other = plain.curriculum.draw(index)
        assert (draw.window, draw.ratio) == (other.window, other.ratio)
        assert len({bool(spec.continuation) for spec in batch}) == 1
        if not batch[0].continuation:
            assert batch == plain.batch(index)
            continue
        continued += 1
        ends = {start: start + length for start, length in SPANS}
        for spec in batch:
            # From the document's start, and no further than its end.
            assert spec.start in ends and spec.start + spec.length + spec.continuation <= ends[spec.start]
            assert 1 <= spec.continuation <= 6 and 1 <= spec.length <= draw.window
            assert spec.length <= spec.num_latents * draw.ratio
    assert continued / 1000 == pytest.approx(0.25, abs=0.04)


def test_a_document_of_one_token_is_given_back_instead_of_continued():
    curriculum = Curriculum([Phase(1.0, [4], [2, 2])], num_batches=1, objectives={"continuation": 1.0})
    (spec,) = curriculum.cut(curriculum.draw(0), np.array([[0, 5, 1, 6]]))
    assert (spec.start, spec.length, spec.num_latents, spec.continuation) == (5, 1, 1, 0)


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
        ([Phase(1.0, [4])], "either ratios or num_latents"),
        ([Phase(1.0, [4], [2, 2], [2])], "either ratios or num_latents"),
        ([Phase(1.0, [4], num_latents=[0])], r"num_latents must be a list of numbers of 1 or more, not \[0\]"),
        ([Phase(1.0, [8, 4], num_latents=[2, 5])], "5 latents are more than a window of 4 tokens"),
        ([Phase(1.0, [4], 2)], "ratios must be .* not 2"),
        ([Phase(1.0, [4], [2, math.inf])], "ratios must be"),
        *(
            ([Phase(1.0, [4], [2, 2], longest_context=longest)], f"longest_context must be a whole .* not {longest!r}")
            for longest in (0, True, 6.5, "all")
        ),
    ],
)
def test_bad_curricula(phases, message):
    with pytest.raises(ValueError, match=message):
        check_curriculum(phases)


def test_longer_contexts_come_in_later_phases():
    """The rows of each limit are taken in turn, in whatever phases; texts come as without them."""
    phases = [replace(phase, longest_context=longest) for phase, longest in zip(PHASES, (8, None, 8), strict=True)]
    assert phases[0].most_latents_of(np.array([1, 4, 5, 8, 9]), "instruction").tolist() == [2, 2, 4, 4, 0]
    lengths, pools = np.array([[4, 1], [8, 1], [9, 1], [40, 1]]), {}
    for longest, rows in ((8, [0, 1]), (None, [0, 1, 2, 3])):
        pool = BatchPool(np.array(rows), lengths[rows], 10, group=group_conversations)
        pools["instruction", longest] = pool
    curriculum = Curriculum(phases, 80, objectives={"instruction": 1, "reconstruction": 1})
    texts = BatchPool(BLOCKS, BLOCKS[:, 2], 64)
    sampler, taken = CurriculumSampler(curriculum, [texts], row_pools=pools), Counter()
    for index in range(80):
        draw = curriculum.draw(index)
        longest = None if 20 <= index < 40 else 8
        assert curriculum.rows(index) == (draw.objective, longest)
        which = longest if draw.objective == "instruction" else "texts"
        if which == "texts":
            assert sampler.batch(index) == curriculum.cut(draw, texts.batch(taken[which]))
        else:
            rows = pools["instruction", longest].batch(taken[which]).tolist()
            assert sampler.batch(index) == [(draw, row) for row in rows]
        taken[which] += 1
    assert min(taken[which] for which in (8, None, "texts")) > 4


def test_ratios_of_single_objectives():
    """Those of the others stay what they were."""
    objectives = {"reconstruction": 1, "instruction": 1}
    plain = Curriculum([Phase(1.0, [16], [4, 16])], 200, objectives=objectives)
    own = Curriculum([Phase(1.0, [16], [4, 16], objective_ratios={"instruction": [2, 3]})], 200, objectives=objectives)
    ratios = set()
    for index in range(200):
        draw = own.draw(index)
        if draw.objective == "instruction":
            ratios.add(draw.ratio)
        else:
            assert draw == plain.draw(index)
    assert ratios == {2, 3}
    assert own.phases[0].lowest_ratio == 2 and own.phases[0].most_latents == 8
