"""Several windows in one row of the encoder's batch, none of which sees another: less padding where lengths differ."""

import heapq

import torch

# Rows get up to this many times as long as the longest window.
LONGEST_ROW = 4
# Of all positions; below it rows are not packed any further.
LITTLE_PADDING = 0.025
# Positions in a row at which attention, most of which is masked then, would cost as much as all of the rest: six times
# the width of an encoder, about that of 1.5 billion parameters.
DOUBLING_LENGTH = 8192


def pack_rows(lengths):
    """
    Rows of windows: of several numbers of rows, over which the windows are spread evenly (longest processing time
    first), the one with the least to compute.

    Args:
        lengths (`list[int]`): positions that each window takes.

    Returns: `list[list[int]]`: indices of the windows of each row; one each where packing would save nothing.
    """
    longest, filled = max(lengths), sum(lengths)
    rows = [[index] for index in range(len(lengths))]
    area, cost = len(rows) * longest, _cost(len(rows), longest)
    count = len(rows)
    longest_first = sorted(range(count), key=lambda index: -lengths[index])
    while filled < (1 - LITTLE_PADDING) * area:
        count = min(count - 1, count * 24 // 25)
        if count < 1 or filled > count * LONGEST_ROW * longest:
            break
        found, length = _spread(lengths, longest_first, count)
        if length <= LONGEST_ROW * longest and _cost(count, length) < cost:
            rows, area, cost = found, count * length, _cost(count, length)
    return rows


def _cost(rows, length):
    return rows * length * (1 + length / DOUBLING_LENGTH)


def _spread(lengths, order, count):
    """
    `count` rows of indices, and the length of the longest: in this order each window goes into the row that is shortest
    so far.
    """
    # A row's length times `count` plus its number: a heap of whole numbers is three times as fast as one of pairs.
    rows = list(range(count))
    members = [[] for _ in rows]
    for index in order:
        shortest = rows[0]
        heapq.heapreplace(rows, shortest + lengths[index] * count)
        members[shortest % count].append(index)
    return members, max(rows) // count


def is_packed(attention_mask):
    """Whether a mask `(rows, length)` numbers windows, 1, 2, 3…, instead of only marking what is no padding."""
    return bool((attention_mask > 1).any())


def number_rows(attention_mask):
    """`torch.LongTensor` of the mask's shape with each row's number, from 1, where the mask is not 0."""
    rows = torch.arange(1, len(attention_mask) + 1, device=attention_mask.device)
    return attention_mask.bool() * rows.unsqueeze(-1)


def count_within(marks, window_numbers):
    """
    Args:
        marks (`torch.BoolTensor` of shape `(rows, length)`): what is counted.
        window_numbers (`torch.LongTensor` of shape `(rows, length)`): of windows, each of which lies in one piece.

    Returns: two `torch.LongTensor` of that shape: marks from the window's beginning up to and with each position, and
    marks in the whole window.
    """
    marks = marks.long()
    counts = marks.cumsum(-1)
    starts = torch.ones_like(marks, dtype=torch.bool)
    starts[:, 1:] = window_numbers[:, 1:] != window_numbers[:, :-1]
    before = (counts - marks).masked_fill(~starts, 0).cummax(-1).values
    totals = marks.new_zeros(int(window_numbers.numel()) + 1).scatter_add(0, window_numbers.flatten(), marks.flatten())
    return counts - before, totals[window_numbers]
