"""Where in a text the errors are. Run: pytest tests/eval/test_alignment.py"""

import pytest

from c3.eval.alignment import accuracy_by_position, kept_characters


@pytest.mark.parametrize(
    "reference, output, wanted",
    [
        ("abcd", "abcd", [1, 1, 1, 1]),
        ("abcd", "bcd", [0, 1, 1, 1]),  # by index nothing would be right
        ("abcd", "xxabcd", [1, 1, 1, 1]),
        ("abcd", "abxd", [1, 1, 0, 1]),
        ("abcd", "", [0, 0, 0, 0]),
        ("", "abc", []),
    ],
)
def test_kept_characters_by_hand(reference, output, wanted):
    assert kept_characters(reference, output).tolist() == wanted


def test_accuracy_by_position_by_hand():
    assert accuracy_by_position("abcdefgh", "abcdxfxx", 4) == [1, 1, 0.5, 0]
    assert accuracy_by_position("abcdefgh", "bcdefgh", 2) == [0.75, 1]
    assert accuracy_by_position("ab", "ab", 4) == [1, None, 1, None]
