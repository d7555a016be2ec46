"""Which texts an index picks of latents, and what it cannot pick. Run: pytest tests/test_latents_index.py"""

import numpy
import pytest
import torch

from c3.latents_c3 import C3Latents
from latent_examples import PROVENANCE, assert_same


@pytest.mark.parametrize(
    "index, texts",
    [
        (0, [0]),
        (-1, [2]),
        (slice(1, None), [1, 2]),
        (slice(None), [0, 1, 2]),
        (slice(None, None, -1), [2, 1, 0]),
        ([2, 0, 2], [2, 0, 2]),
        ([-1, 1], [2, 1]),
        ((0, 1), [0, 1]),
        (range(1, 3), [1, 2]),
        (torch.tensor(1), [1]),
        (numpy.int64(-1), [2]),
        (torch.tensor([2, 0]), [2, 0]),
        (numpy.array([-1, 1], dtype=numpy.int32), [2, 1]),
        ([numpy.int64(2), torch.tensor(0)], [2, 0]),
        (torch.tensor([True, False, True]), [0, 2]),
        (numpy.array([False, True, True]), [1, 2]),
        ([True, False, False], [0]),
        (slice(3, None), []),
        (slice(2, 1), []),
        ([], []),
        (torch.tensor([], dtype=torch.long), []),
        (numpy.array([False] * 3), []),
    ],
    ids=str,
)
def test_index(latents, index, texts):
    picked = latents[index]
    assert isinstance(picked, C3Latents) and len(picked) == len(texts)
    assert picked.window_counts.tolist() == [(1, 3, 2)[text] for text in texts]
    assert picked.text_lengths.tolist() == sum(([[8], [5, 12, 8], [3, 16]][text] for text in texts), [])
    rows = sum((list(range(*[(0, 2), (2, 8), (8, 13)][text])) for text in texts), [])
    assert torch.equal(picked.values, latents.values[torch.tensor(rows, dtype=torch.long)])
    assert picked.provenance == PROVENANCE


def test_no_texts(latents, latents_path):
    none = latents[:0]
    assert (len(none), list(none), none.windows(), none.ratios, none.text_tokens) == (0, [], [], [], 0)
    assert none.ratio != none.ratio and repr(none).startswith("C3Latents(texts=0, windows=0, latents=0, width=4, ")
    assert none + latents == latents and none == latents[[]] and none != latents
    assert none.to(torch.bfloat16).dtype == torch.bfloat16
    none.save(latents_path)
    assert_same(C3Latents.load(latents_path), none)


def test_neighbours_share_memory(latents):
    assert latents[1:].values.data_ptr() == latents.values[2].data_ptr()
    assert latents[[1, 2]].values.data_ptr() == latents.values[2].data_ptr()


def test_iteration(latents):
    texts = list(latents)
    assert [len(text) for text in texts] == [1, 1, 1]
    assert [text.num_windows for text in texts] == [1, 3, 2]
    assert_same(C3Latents.cat(texts), latents)


@pytest.mark.parametrize(
    "index, error, message",
    [
        (3, IndexError, "text 3 is out of range: there are 3 texts"),
        (-4, IndexError, "text -4 is out of range"),
        ([0, 5], IndexError, r"text \[0, 5\] is out of range"),
        (torch.tensor([0, 5]), IndexError, r"text \[0, 5\] is out of range"),
        ([True, False], IndexError, "a mask holds one boolean for each of the 3 texts"),
        ([True, 1, 2], IndexError, "a mask holds one boolean for each of the 3 texts"),
        (True, TypeError, "one boolean does not pick texts"),
        ("0", TypeError, "texts are picked by an int, a slice, or ints or booleans in a list, not by"),
        (1.0, TypeError, "texts are picked by an int, a slice, or ints or booleans in a list, not by"),
        (numpy.array([1.0]), TypeError, "texts are picked by an int, a slice, or ints or booleans in a list, not by"),
        (torch.tensor([[0]]), TypeError, "texts are picked by an int, a slice, or ints or booleans in a list, not by"),
    ],
)
def test_wrong_index(latents, index, error, message):
    with pytest.raises(error, match=message):
        latents[index]
