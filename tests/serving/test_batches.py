"""Rows that are answered together get what each gets alone, whenever they come. Run: pytest tests/serving"""

import asyncio
import copy
from contextlib import aclosing, suppress

import pytest
import torch
from backend_requests import alone, ask, together

from c3.serving import transformers_backend
from c3.serving.backends import Sampling
from c3.serving.batches import Batch, BatchRow
from c3.serving.canary import check_canary
from c3.serving.errors import ApiError
from c3.serving.token_choice import draw, make_generator
from c3.serving.transformers_backend import TransformersBackend
from c3.support.errors import CommandError
from gpu_stand_in import stand_in_gpu


@pytest.fixture(scope="module")
def rows(model):
    """Embeddings of different lengths."""
    generator = torch.Generator().manual_seed(0)
    lengths = [5, 31, 2, 17, 9, 40, 1]
    return [torch.randn(length, model.config.hidden_size, generator=generator) for length in lengths]


@pytest.fixture
def backend(model):
    backend = TransformersBackend(model)
    yield backend
    asyncio.run(backend.close())
    assert not backend._thread.is_alive()


@pytest.mark.parametrize("most_rows", [64, 3])
def test_the_same_as_one_by_one(model, rows, most_rows, monkeypatch):
    """Though rows come while others run, leave before them, and wait for a place."""
    joined = []
    join = Batch.join
    monkeypatch.setattr(Batch, "join", lambda ours, theirs: (joined.append(len(theirs.rows)), join(ours, theirs)))
    backend = TransformersBackend(model, most_rows)
    counts = [40, 3, 25, 60, 1, 33, 12]
    asked = [
        ask(backend, embeds, n, after=0.02 * place) for place, (embeds, n) in enumerate(zip(rows, counts, strict=True))
    ]
    found = together(*asked)
    asyncio.run(backend.close())
    assert found == [alone(model, embeds, n) for embeds, n in zip(rows, counts, strict=True)]
    assert len({tuple(each[:3]) for each in found}) > 2 and joined


def test_rows_of_other_settings_share_a_batch(model, rows, backend):
    """And a seed draws the same alone and among others."""
    drawn = {"max_tokens": 12, "temperature": 1.0, "top_p": 0.9, "seed": 3}
    (by_itself,) = together(ask(backend, rows[0], **drawn))
    found = together(
        ask(backend, rows[1], max_tokens=12), ask(backend, rows[0], **drawn), ask(backend, rows[3], **drawn)
    )
    assert found[:2] == [alone(model, rows[1], 12), by_itself] and found[2] != by_itself != alone(model, rows[0], 12)


def test_the_end_of_a_text(model, rows):
    """Is no token of it, and ends one row and not the others."""
    model = copy.deepcopy(model)
    expected = [alone(model, embeds, 20) for embeds in rows[:3]]
    end = expected[0][4]
    model.generation_config.eos_token_id = [end, 0]
    model.generation_config.repetition_penalty = 1.7  # is not applied
    backend = TransformersBackend(model)
    found = together(*(ask(backend, embeds, max_tokens=20) for embeds in rows[:3]))
    asyncio.run(backend.close())
    assert found == [each[: each.index(end)] if end in each else each for each in expected]
    assert found[0] != expected[0] and found[1:] != [[], []]


def test_caches_that_cannot_be_joined(model, rows, monkeypatch):
    """As those of sliding windows: who comes later waits for the end of the batch."""
    monkeypatch.setattr(transformers_backend, "can_join", lambda model: False)
    monkeypatch.setattr(Batch, "join", None)
    backend = TransformersBackend(model)
    found = together(*(ask(backend, embeds, 15, after=0.03 * place) for place, embeds in enumerate(rows[:4])))
    asyncio.run(backend.close())
    assert found == [alone(model, embeds, 15) for embeds in rows[:4]]


def test_who_goes_away_ends_the_work(model, rows, backend):
    steps = []

    async def leave():
        async with aclosing(backend.answer(rows[0], Sampling(max_tokens=400))) as tokens:
            async for _ in tokens:
                return

    hook = model.register_forward_hook(lambda *_: steps.append(1))
    try:
        together(leave())
        assert together(ask(backend, rows[1], max_tokens=4)) == [alone(model, rows[1], 4)]
        before = len(steps)
        assert before < 200
        together(asyncio.sleep(0.05))
        assert len(steps) == before
    finally:
        hook.remove()


def test_a_failure_is_told_and_the_next_request_works(model, rows, backend, monkeypatch, capsys):
    run = Batch.run
    monkeypatch.setattr(Batch, "run", lambda *_: 1 / 0)
    with pytest.raises(ApiError, match="its log says why") as error:
        together(ask(backend, rows[0], max_tokens=4))
    assert error.value.status == 500 and "ZeroDivisionError" in capsys.readouterr().err
    monkeypatch.setattr(Batch, "run", run)
    assert together(ask(backend, rows[0], max_tokens=4)) == [alone(model, rows[0], 4)]


def test_too_many_wait(rows, backend, monkeypatch):
    monkeypatch.setattr(transformers_backend, "MOST_WAITING", 0)
    with pytest.raises(ApiError, match="wait already") as error:
        together(ask(backend, rows[0], max_tokens=4))
    assert error.value.status == 503


def test_who_goes_away_waits_no_longer(model, rows, backend, monkeypatch):
    """And takes nobody's place."""
    monkeypatch.setattr(transformers_backend, "MOST_WAITING", 1)
    monkeypatch.setattr(backend, "_has_room", lambda rows: False)

    async def leave():
        task = asyncio.ensure_future(ask(backend, rows[0], max_tokens=4))
        await asyncio.sleep(0.05)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        return len(backend._waiting)

    assert together(leave()) == [0]


@pytest.mark.parametrize("temperature", [1e-3, 1e-38, 5e-324])
def test_low_temperatures_take_the_likeliest(temperature):
    scores = torch.tensor([[2.0, 80.0, -torch.inf, 79.0]])
    sampling = Sampling(max_tokens=1, temperature=temperature)
    assert draw(scores, sampling, make_generator(sampling, "cpu")) == 1


def test_a_closed_backend_says_so(model, rows):
    backend = TransformersBackend(model)

    async def close_meanwhile():
        asking = asyncio.ensure_future(ask(backend, rows[0], max_tokens=450))
        await asyncio.sleep(0.05)
        await backend.close()
        return await asyncio.gather(asking, ask(backend, rows[1], max_tokens=1), return_exceptions=True)

    assert [each.status for each in asyncio.run(close_meanwhile())] == [503, 503]


def test_the_canary(model, backend):
    check_canary(model, backend)

    class Wrong:
        async def answer(self, embeds, sampling):
            yield 7

    with pytest.raises(CommandError, match="does not answer as the model does"):
        check_canary(model, Wrong())


def test_tensors_meet_on_one_device(make_model, rows):
    """Of a GPU, or what stands in for one, see `gpu_stand_in.py`."""
    on_cpu = make_model()
    expected = [alone(on_cpu, embeds, 6) for embeds in rows[:4]]
    with stand_in_gpu():
        model = on_cpu.to("cuda")
        asked = [
            BatchRow(embeds.to("cuda"), Sampling(6 - place), lambda _: None) for place, embeds in enumerate(rows[:4])
        ]
        batch, other = Batch(model, asked[:2], {0}), Batch(model, asked[2:], {0})
        for each in (batch, other):
            each.run(lambda: True)
        batch.join(other)
        asked[0].is_cancelled = True
        while batch.rows:
            batch.run(lambda: len(batch.rows) > 1)
            batch.drop_done()
    assert [row.tokens for row in asked[1:]] == [each[: 6 - place] for place, each in enumerate(expected)][1:]
    assert asked[0].tokens == expected[0][:1]
