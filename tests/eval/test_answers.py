"""How right answers are, by hand. Run: pytest tests/eval/test_answers.py"""

import pytest

from c3.eval.answers import answer_f1, answer_scores, exact_match, normalised, share_found, squad_normalised


@pytest.mark.parametrize(
    ("answers", "said", "right", "found"),
    [
        (["bright-river"], ' "Bright-River." ', True, 1),
        (["bright-river"], "It is bright-river.", False, 1),
        (["bright-river"], "bright-rivers", False, 0),
        (["The end, and more."], "the end, and  more", True, 1),
        (["12", "345"], "345 and 12", True, 1),
        (["12", "345"], "345, 12.", True, 1),
        (["12", "345"], "12\n345", True, 1),
        (["12", "345"], "12", False, 0.5),
        (["12", "345"], "12, 345, 6", False, 1),
        (["12", "12"], "12", False, 1),
        (["12", "345"], "1 2 345", False, 0.5),
        (["天地", "玄黄"], "玄黄、天地。", True, 1),
        (["北京"], "答案是北京。", False, 1),
        (["12"], "答案是12。", False, 1),
        (["有"], "没有", False, 0),
        (["yes"], "", False, 0),
        (["..."], "…", False, 0),
        (["A"], "B", False, 0),
    ],
)
def test_all_answers_in_any_order_and_nothing_else(answers, said, right, found):
    assert exact_match(answers, said) is right
    assert share_found(answers, said) == found


def test_one_of_several_will_do():
    answers = ["the Nile", "Nile river"]
    assert exact_match(answers, "Nile", any_of=True) and not exact_match(answers, "Nile")
    assert exact_match(["A", "B"], "a.", any_of=True) and not exact_match(["A"], "the", any_of=True)
    assert share_found(answers, "It is the Nile river, I think", any_of=True) == 1
    assert not exact_match(answers, "the Nile river delta", any_of=True)


def test_f1_over_words_by_hand():
    # Of what was said 2 of 3 words, of the answer 2 of 4.
    assert answer_f1(["one two three four"], "The one two, five!", any_of=True) == pytest.approx(2 * 2 / 7)
    assert answer_f1(["six", "one two"], "two one", any_of=True) == 1
    assert answer_f1(["one", "two"], "two") == pytest.approx(2 / 3)
    # Of characters where words are not told apart.
    assert answer_f1(["北京市"], "在，北京。") == pytest.approx(2 / 3)
    assert answer_f1(["one"], "") == 0 and answer_f1(["one"], "six") == 0


def test_normalised_texts():
    assert squad_normalised("The  well-known (an) a.") == "wellknown"
    assert normalised("«Ça  va?»") == "ça va" and normalised("!?") == "!?"
    assert answer_scores(["x"], "X") == {"exact_match": 1, "found": 1, "f1": 1}
