"""A key that asks for much leaves the others their share of the places, and their turns. Run: pytest tests/serving"""

import threading

import pytest

from c3.serving import transformers_backend
from c3.serving.errors import ApiError
from c3.serving.fair_shares import check_share, place_in_turn
from c3.serving.transformers_backend import TransformersBackend
from c3.serving.turns import Turns
from serving_requests import COMPLETIONS, assert_refused, until


@pytest.mark.parametrize(
    ("holders", "status"),
    [
        ("", None),
        ("aaaaa", None),
        ("aaaaaa", 503),
        ("bbbbbb", None),
        ("aabbbb", None),
        ("aaabbb", 429),
        ("aaab", 429),
        ("aabc", 429),
        ("abc", None),
        ("bcdefghi", None),
        ("abcdefghi", 429),
    ],
)
def test_who_may_have_one_more_of_six(holders, status):
    if status is None:
        check_share("a", holders, 6)
        return
    with pytest.raises(ApiError, match=f"^{holders.count('a')} requests") as caught:
        check_share("a", holders, 6)
    assert caught.value.status == status and ("others ask" in str(caught.value)) == (status == 429)


def test_owners_stand_in_turns():
    queue = []
    for owner in "aaaabbca":
        queue.insert(place_in_turn(owner, queue), owner)
    assert "".join(queue) == "abcabaaa"


def test_over_http(serve, model, second_key, tmp_path, monkeypatch):
    """While nothing is answered one key fills all places; the other is let in, and stands before the rest of these."""
    monkeypatch.setattr(transformers_backend, "MOST_WAITING", 3)
    backend, body, answers = TransformersBackend(model), {"prompt": "When? ", "max_tokens": 2}, []
    monkeypatch.setattr(backend, "_has_room", lambda rows: False)
    with serve(tmp_path, backend) as client:

        def ask(**options):
            count = len(backend._waiting)
            asking = threading.Thread(target=lambda: answers.append(client.post(COMPLETIONS, json=body, **options)))
            asking.start()
            until(lambda: len(backend._waiting) > count)
            return asking

        asking = [ask() for _ in range(3)]
        assert assert_refused(client.post(COMPLETIONS, json=body), 503)["code"] == "overloaded"
        asking.append(ask(headers=second_key))
        first, second, *rest = [row.owner for row in backend._waiting]
        assert first != second and rest == [first, first]
        refused = client.post(COMPLETIONS, json=body)
        assert assert_refused(refused, 429)["type"] == "rate_limit_error" and refused.headers["retry-after"] == "1"
        monkeypatch.undo()
        [each.join() for each in asking]
        assert [answer.status_code for answer in answers] == [200] * 4
        assert client.post(COMPLETIONS, json=body).status_code == 200


def test_texts_to_compress(monkeypatch):
    monkeypatch.setattr("c3.serving.turns.MOST_WAITING", 2)
    turns, go = Turns(), threading.Event()
    with turns.waiting_for("one", go.wait, 20) as first, turns.waiting_for("one", go.wait, 21):
        with turns.waiting_for("two", len, "abc") as other:
            with pytest.raises(ApiError, match="its share") as caught, turns.waiting_for("one", go.wait, 22):
                pass
            go.set()
            assert caught.value.status == 429 and other.result(20) == 3 and first.result(20)
