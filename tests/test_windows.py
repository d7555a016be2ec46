"""Windows: every token once, every latent the same number of tokens, no window too long."""

import numpy as np
import pytest

from c3.windows_c3 import LazySequence, even_windows, share_latents


def test_even_windows_by_hand():
    # 10 tokens in 3 latents: one stands for 4 tokens, two for 3 each.
    assert even_windows(10, 3, window=8) == [(4, 1), (6, 2)]
    assert even_windows(64, 8, window=32) == [(32, 4), (32, 4)]
    assert even_windows(40, 10, window=32) == [(20, 5), (20, 5)]
    assert even_windows(1, 5, window=32) == [(1, 1)]
    assert even_windows(100, 1, window=32) == [(25, 1)] * 4


def test_even_windows_always():
    rng = np.random.default_rng(0)
    for _ in range(2000):
        length, window = int(rng.integers(1, 3000)), int(rng.integers(1, 300))
        wanted = int(rng.integers(1, length + 1))
        plan = even_windows(length, wanted, window)
        assert sum(tokens for tokens, _ in plan) == length
        assert sum(n for _, n in plan) == max(wanted, -(-length // window))
        assert all(1 <= tokens <= window and n >= 1 and tokens % n == 0 for tokens, n in plan)
        ratios = {tokens // n for tokens, n in plan}
        assert max(ratios) - min(ratios) <= 1


@pytest.mark.parametrize(
    "lengths,wanted,expected",
    [([32, 32], 8, [4, 4]), ([32, 16], 6, [4, 2]), ([32, 32, 1], 4, [2, 1, 1]), ([5, 5], 1, [1, 1])],
)
def test_share_latents(lengths, wanted, expected):
    assert share_latents(lengths, wanted) == expected


def test_lazy_sequence_is_a_sequence():
    made = []
    lazy = LazySequence(lambda i: made.append(i) or i * i, 5)
    assert len(lazy) == 5 and not made
    assert (lazy[3], lazy[-1], lazy[1:4], list(lazy)) == (9, 16, [1, 4, 9], [0, 1, 4, 9, 16])
    assert made == [3, 4, 1, 2, 3, 0, 1, 2, 3, 4]
    with pytest.raises(IndexError):
        lazy[5]
