"""An adaptive ratio: as many latents for a window as its fidelity needs. Run: pytest tests/test_adaptive_ratio.py"""

import random
from pathlib import Path

import numpy as np
import pytest
import torch

from c3 import C3Latents, C3Model, CompressionWarning
from c3.adaptive_ratio_c3 import fit_windows, ladder, ladders_of_windows
from c3.measured_windows_c3 import MeasuredWindows
from tiny_models import LONG, TEXTS

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def shipped():
    return C3Model.from_pretrained(ROOT)


@pytest.fixture(scope="module")
def page():
    return (ROOT / "examples" / "jefferson_1805.txt").read_text(encoding="utf-8")[:900]


def test_ladders_are_short_and_reach_their_end():
    assert ladder(3, 10) == [3, 4, 5, 6, 7, 9, 10] and ladder(5, 5) == [5] and ladder(7, 2) == [7]
    for first in range(1, 40):
        for most in range(first, 129):
            numbers = ladder(first, most)
            assert numbers[0] == first and numbers[-1] == most and len(numbers) <= 19
            assert all(a < b <= max(a + 1, 1.3 * a) for a, b in zip(numbers, numbers[1:], strict=False))


def test_they_end_at_the_lowest_ratio(shipped, make_model):
    assert [each[-1] for each in ladders_of_windows(shipped.config, [64, 63, 5, 3], [2, 2, 1, 1])] == [16, 15, 1, 1]
    appended = make_model("appended").config
    assert ladders_of_windows(appended, [32, 2], [6, 8]) == [[6, 7, 8], [8]]
    assert ladders_of_windows(make_model("uniform").config, [32], [2])[0][-1] == 8


@pytest.mark.parametrize("keep", [True, False])
def test_the_fewest_latents_that_hold(keep):
    """Whatever the windows need: nothing is tried twice, and none that holds is tried again."""
    draw = random.Random(0)
    for _ in range(50):
        lengths = [draw.randrange(5, 60) for _ in range(draw.randrange(1, 12))]
        ladders = [sorted(draw.sample(range(1, 50), draw.randrange(1, 5))) for _ in lengths]
        needs = [
            {n: draw.choice([0, 1, 2, length]) for n in each} for each, length in zip(ladders, lengths, strict=True)
        ]
        measured, tried = MeasuredWindows(lengths, exact=False), []

        def encode(places, counts, needs=needs, lengths=lengths, tried=tried, measured=measured):
            assert len(places) <= 4
            tried += zip(places, counts, strict=True)
            found = [dict.fromkeys(range(needs[i][n]), 7) for i, n in zip(places, counts, strict=True)]
            latents = [torch.full((n, 1), float(i)) for i, n in zip(places, counts, strict=True)]
            return latents, [measured.note(i, each, [7] * lengths[i]) for i, each in zip(places, found, strict=True)]

        counts, kept = fit_windows(encode, ladders, measured, 0.96, 4, show_progress=False, keep=keep)
        expected = []
        for i, numbers in enumerate(ladders):
            holding = [n for n in numbers if 1 - needs[i][n] / lengths[i] >= 0.96]
            chosen = holding[0] if holding else min(numbers, key=lambda n, i=i: (needs[i][n], n))
            expected.append(chosen)
            assert [n for place, n in tried if place == i] == numbers[
                : numbers.index(holding[0]) + 1 if holding else None
            ]
            assert measured.counts[i] == needs[i][chosen]
        assert counts == expected
        assert kept is None if not keep else [len(each) for each in kept] == counts


def test_windows_that_hold_stay_and_others_get_more(shipped, page, tmp_path):
    texts = [page, TEXTS[1]]
    fixed = shipped.compress(texts, ratio=45, measure=True)
    latents = shipped.compress(texts, ratio=45, min_fidelity=0.99, batch_size=3)
    assert torch.equal(latents.text_lengths, fixed.text_lengths)
    assert min(latents.window_fidelities) >= 0.99 > min(fixed.window_fidelities)
    held = torch.tensor(fixed.window_fidelities) >= 0.99
    assert torch.equal(latents.latent_lengths > fixed.latent_lengths, ~held) and held.any()
    assert latents.text_lengths.div(latents.latent_lengths).min() >= 4
    # They are those of windows with so many latents, in whatever order they were tried.
    windows = [window for text in texts for window in shipped.processor.plan(text, ratio=45).windows]
    values = shipped.encode_windows([each.context for each in windows], latents.latent_lengths.tolist())
    torch.testing.assert_close(latents.values, values.bfloat16(), atol=0.05, rtol=0.02)
    # With a file, and with corrections.
    written = shipped.compress(texts, ratio=45, min_fidelity=0.99, batch_size=3, output=tmp_path / "a.c3")
    assert written == C3Latents.load(tmp_path / "a.c3") and torch.equal(written.latent_lengths, latents.latent_lengths)
    assert torch.equal(written.correction_counts, latents.correction_counts)
    torch.testing.assert_close(written.values, latents.values, atol=0.05, rtol=0.02)
    exact = shipped.compress(texts, ratio=45, min_fidelity=0.99, exact=True, output=tmp_path / "b.c3")
    assert torch.equal(exact.latent_lengths, latents.latent_lengths) and shipped.expand(exact) == texts


def test_windows_that_do_not_hold_are_marked(make_model, recwarn):
    """A model that knows nothing: all that can be tried is, and that is said once."""
    model = make_model("uniform", unreliable_characters={"digits": "U+30-39"})
    for amount in ({"ratio": 10}, {"num_latents": 3}):
        recwarn.clear()
        latents, skipped = model.compress([LONG, "", TEXTS[0]], **amount, min_fidelity=0.9, on_error="skip")
        assert list(skipped) == [1] and len(latents) == 2
        below = sum(each < 0.9 for each in latents.window_fidelities)
        assert below > 1
        said = [str(each.message) for each in recwarn if each.category is CompressionWarning]
        assert len(said) == 1 and recwarn[0].filename == __file__
        assert said[0].startswith(f"{below} of {latents.num_windows} windows do not reach min_fidelity=0.9 with any ")


def test_the_appended_layout_has_what_it_was_trained_with(make_model, monkeypatch):
    model = make_model("appended")
    with pytest.warns(CompressionWarning, match="windows do not reach min_fidelity=0.9"):
        latents = model.compress(LONG, num_latents=2, min_fidelity=0.9)
    assert latents.latent_lengths.min() >= 2 and latents.latent_lengths.max() <= 8
    assert isinstance(model.expand(latents), str)
    monkeypatch.setattr(type(model), "encode_context", None)
    for amount in ({}, {"num_latents": 8}):
        with pytest.raises(ValueError, match="min_fidelity has nothing to try: every window has the 8 latents"):
            model.compress(LONG, **amount, min_fidelity=0.9)


@pytest.mark.parametrize("value", [0, -1, 1.01, float("nan"), "0.9", True, [0.9]])
def test_bad_fidelities(value, uniform):
    with pytest.raises(ValueError, match="min_fidelity must be a number above 0 and at most 1"):
        uniform.compress("text", min_fidelity=value)


def test_one_bar_for_what_is_tried(shipped, page, capsys):
    latents = shipped.compress(page, ratio=45, min_fidelity=np.float64(0.99), show_progress=True)
    bar = capsys.readouterr().err
    assert f"{latents.num_windows}/{latents.num_windows}" in bar and bar.count("100%") == 1
