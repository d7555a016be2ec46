"""Pages that are counted, and how many latents each gets. Run: pytest tests/eval/test_page_data.py"""

import math

import numpy as np
import pytest

from c3.eval.page_data import Page, count_page, own_ratio, wanted_latents
from c3.windows_c3 import even_windows
from eval_files import PAGES


def test_total_is_never_above_the_floor():
    """Over random pages and ratios: as many latents as floor(counted / ratio) allows, and not one more."""
    rng = np.random.default_rng(0)
    seen_floor = 0
    for _ in range(2000):
        window = int(rng.integers(1, 33))
        own = int(rng.integers(1, 3000))
        lengths = [window] * (own // window) + [own % window] * (own % window > 0)
        counted = max(1, round(own * rng.uniform(0.4, 1.5)))
        hundredths = int(rng.choice([rng.integers(100, 5000), 100 * rng.integers(1, 50)]))
        ratio, floor = hundredths / 100, counted * 100 // hundredths
        page = Page("", "", "", counted, own, len(lengths))
        total = wanted_latents(page, ratio)
        plan = even_windows(own, int(own / own_ratio(page, total)), window)
        assert sum(n for _, n in plan) == total
        if floor < len(lengths):
            assert total == len(lengths)
        else:
            assert total == min(floor, own) and counted / total >= ratio
            seen_floor += 1
    assert 500 < seen_floor < 2000


@pytest.mark.parametrize("own, total", [(49, 49), (1, 1), (93, 31), (2**31, 2**31 // 3), (10, 9)])
def test_own_ratio_survives_rounding(own, total):
    ratio = own_ratio(Page("", "", "", 0, own, 1), total)
    assert ratio >= 1 and int(own / ratio) == total


def test_ratio_is_read_as_typed():
    # 201 / 20.1 is 10, though the binary fraction next to 20.1 lies above it.
    assert wanted_latents(Page("", "", "", 201, 300, 1), 20.1) == 10


def test_count_page(make_model, tokenizer):
    model = make_model()
    page = count_page(Page("p", "", PAGES[0] + "<|endoftext|>"), model, None, 16)
    ids = tokenizer(page.text, split_special_tokens=True)["input_ids"]
    assert page.own_tokens == page.counted_tokens == len(ids) and page.min_windows == math.ceil(len(ids) / 16)
    assert count_page(page, model, tokenizer, 16) == page
    with pytest.raises(ValueError, match="page 'p': text is not valid Unicode: a lone surrogate"):
        count_page(Page("p", "", "a\ud800"), model, None, 16)
