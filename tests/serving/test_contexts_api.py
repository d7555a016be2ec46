"""`/v1/contexts`: texts are compressed once, files checked, and nobody sees another's. Run: pytest tests/serving"""

import copy
import threading
import time
from dataclasses import replace

import pytest
import torch

from c3.corrections_c3 import pack, unpack
from c3.latents_c3 import C3Latents
from c3.serving.latents_checks import LatentsChecks
from serving_requests import CHAT, COMPLETIONS, CONTEXTS, PASSAGE, add_text, assert_refused, context_part, message

LATENTS = {"Content-Type": "application/octet-stream"}


def send(client, latents):
    return client.post(CONTEXTS, content=latents if isinstance(latents, bytes) else latents.to_bytes(), headers=LATENTS)


@pytest.fixture
def compressed(model, monkeypatch):
    """The texts that were compressed."""
    texts = []
    compress = model.compress
    monkeypatch.setattr(model, "compress", lambda text, **kw: (texts.append(text), compress(text, **kw))[1])
    return texts


def test_what_is_said_of_a_text(client, model, latents):
    about = client.post(CONTEXTS, json={"text": PASSAGE, "ratio": 3}).json()
    assert about == client.get(f"{CONTEXTS}/{about['id']}").json()
    assert (about["ratio"], about["fidelity"]) == (latents.ratio, latents.fidelity) and about["object"] == "context"
    assert about["cache_bytes"] == latents.cache_bytes(model) and about["text_tokens"] == latents.text_tokens
    # Random weights give nothing back by themselves: the corrections do.
    assert client.get(f"{CONTEXTS}/{about['id']}/text").text == PASSAGE
    fewer = client.post(CONTEXTS, json={"text": PASSAGE, "num_latents": 2}).json()
    assert fewer["ratio"] == model.compress(PASSAGE, num_latents=2).ratio and fewer["id"] != about["id"]


def test_a_text_is_compressed_once(serve, compressed, tmp_path):
    """Also when it is sent by several at the same time, and after the server was started anew."""
    with serve(tmp_path) as client:
        compressed.clear()
        found = []
        threads = [threading.Thread(target=lambda: found.append(add_text(client))) for _ in range(4)]
        [each.start() for each in threads]
        [each.join() for each in threads]
        assert len(found) == 4 and len(set(found)) == 1 and compressed == [PASSAGE]
        assert add_text(client, ratio=2) not in found and len(compressed) == 2
    with serve(tmp_path) as client:
        compressed.clear()
        assert add_text(client) == found[0] and compressed == []
        assert client.get(f"{CONTEXTS}/{found[0]}/text").text == PASSAGE


def test_nobody_sees_another_keys(client, second_key, compressed):
    mine = add_text(client, ratio=2)
    body = {"messages": [message(context_part(mine), "When?")]}
    for answer in (
        client.get(f"{CONTEXTS}/{mine}", headers=second_key),
        client.get(f"{CONTEXTS}/{mine}/text", headers=second_key),
        client.delete(f"{CONTEXTS}/{mine}", headers=second_key),
        client.post(CHAT, json=body, headers=second_key),
        client.post(COMPLETIONS, json={"prompt": "When?", "contexts": [mine]}, headers=second_key),
    ):
        assert assert_refused(answer, 404)["code"] == "context_not_found"
    compressed.clear()
    theirs = client.post(CONTEXTS, json={"text": PASSAGE, "ratio": 2}, headers=second_key).json()["id"]
    assert theirs != mine and compressed == [PASSAGE]  # nor, by the time that it takes, that there is one
    assert client.delete(f"{CONTEXTS}/{theirs}", headers=second_key).json()["deleted"] is True
    assert client.get(f"{CONTEXTS}/{mine}").status_code == 200


def test_what_is_deleted_is_gone(client):
    name = add_text(client, "Soon gone.")
    assert client.delete(f"{CONTEXTS}/{name}").json() == {"id": name, "object": "context", "deleted": True}
    for answer in (client.delete(f"{CONTEXTS}/{name}"), client.get(f"{CONTEXTS}/{name}/text")):
        assert_refused(answer, 404)
    assert add_text(client, "Soon gone.") == name


def test_limits_by_age_and_size(serve, tmp_path, monkeypatch):
    now = [time.time()]
    with serve(tmp_path / "a", most_seconds=100, clock=lambda: now[0]) as client:
        name = add_text(client)
        now[0] += 90
        assert client.get(f"{CONTEXTS}/{name}").status_code == 200
        now[0] += 20
        assert_refused(client.get(f"{CONTEXTS}/{name}"), 404)
        now[0] -= 110
        assert add_text(client) == name and client.get(f"{CONTEXTS}/{name}").status_code == 200
    monkeypatch.setattr("c3.serving.app.SECONDS_BETWEEN_SWEEPS", 0.02)
    with serve(tmp_path / "a", most_seconds=100, clock=lambda: now[0], keys="three") as client:
        (kept,) = (tmp_path / "a").glob("*/ctx-*")
        now[0] += 200
        begun = time.monotonic()
        while kept.exists() and time.monotonic() < begun + 20:
            time.sleep(0.01)
        # Though its key is no longer one.
        assert not kept.exists()
    with serve(tmp_path / "d") as client:
        add_text(client)
    size = next((tmp_path / "d").glob("*/ctx-*")).stat().st_size
    with serve(tmp_path / "b", most_bytes=int(2.5 * size)) as client:
        names = [add_text(client, PASSAGE.replace("times", word)) for word in ("dates", "weeks", "years")]
        found = [client.get(f"{CONTEXTS}/{name}").status_code for name in names]
        assert found == [404, 200, 200]
    with serve(tmp_path / "c", most_bytes=100) as client:
        assert assert_refused(client.post(CONTEXTS, json={"text": PASSAGE}), 413)["code"] == "context_too_large"


def test_a_file_of_latents(client, model, latents):
    about = send(client, latents).json()
    assert about["ratio"] == latents.ratio and about["fidelity"] == latents.fidelity
    for again in (latents, C3Latents.from_bytes(latents.to_bytes())):
        assert send(client, again).json()["id"] == about["id"]
    assert client.get(f"{CONTEXTS}/{about['id']}/text").text == PASSAGE
    answer = client.post(COMPLETIONS, json={"prompt": "When? ", "contexts": [about["id"]], "max_tokens": 8}).json()
    assert answer["choices"][0]["text"] == model.generate(latents, "When? ", max_new_tokens=8)
    assert send(client, model.compress(PASSAGE)).json()["fidelity"] is None


def damaged(latents, **parts):
    """Bytes of latents, some of whose parts are others, with a checksum that is right."""
    file = copy.copy(latents)
    vars(file).update(parts)
    return file.to_bytes()


def test_files_that_are_refused(client, model, latents):
    """Before the decoder sees them."""
    ours, exact = model.compress(PASSAGE, ratio=3), latents
    forged = unpack(exact.corrections[0], exact.text_lengths.tolist())
    forged.windows[0][0] = 10**6
    data, values = ours.to_bytes(), ours.values
    with_nan = values.clone()
    with_nan[1, 1] = torch.nan
    tripled = values.clone()
    tripled[0] *= 50
    zeros = values.clone()
    zeros[0] = 0
    cases = {
        "no file": b"",
        "safetensors": b"It was the best of times",
        "pickled": b"PK\x03\x04" + bytes(60),
        "truncated or damaged": data[:-9],
        "does not hold what was saved": data[:-2] + bytes([data[-2] ^ 1]) + data[-1:],
        "trillions": (1 << 50).to_bytes(8, "little") + data[8:],
        "not finite": damaged(ours, values=with_nan),
        "norms": damaged(ours, values=tripled),
        "norms from 0": damaged(ours, values=zeros),
        "wide": damaged(ours, values=values[:, :-1].contiguous()),
        "values must be": damaged(ours, values=values.long()),
        "say which model": damaged(ours, provenance=replace(ours.provenance, weights_fingerprint="")),
        "another model": damaged(ours, provenance=replace(ours.provenance, weights_fingerprint="0" * 16)),
        "must be one text": model.compress([PASSAGE, "Short."]).to_bytes(),
        "cannot have made": damaged(ours, text_lengths=ours.text_lengths + 10**9),
        "latent_lengths sums": damaged(ours, latent_lengths=ours.latent_lengths + 1),
        "token 1000000": damaged(exact, corrections=[pack(forged, exact.text_lengths.tolist())]),
    }
    said = {
        why: assert_refused(send(client, file), 409 if why == "another model" else 400)["message"]
        for why, file in cases.items()
    }
    unsaid = {"no file": "truncated", "trillions": "not a safetensors file", "pickled": "C3 never unpickles"}
    assert said["truncated or damaged"].startswith("this file is truncated or damaged")
    assert {why: message for why, message in said.items() if unsaid.get(why, why) not in message} == {}


def test_windows_above_the_highest_ratio(client, model, monkeypatch):
    """The decoder knows little of them, and would work on their text for long. Ratios are rounded up, for a window."""
    monkeypatch.setattr(model.config, "ratio_range", [2.0, 6.0])
    for ratio in (1, 2, 5.9, 6):
        for text in ("a", PASSAGE, PASSAGE * 5):
            assert send(client, model.compress(text, ratio=ratio, window=model.config.window)).status_code == 200
    ours = model.compress(PASSAGE, ratio=6)
    longer = ours.text_lengths.clone()
    longer[0] = 6 * (ours.latent_lengths[0] + 1)
    for latents in (damaged(ours, text_lengths=longer), model.compress(PASSAGE, ratio=30)):
        assert "at most 6 tokens per latent" in assert_refused(send(client, latents), 400)["message"]


def test_another_models_context_is_no_context(serve, make_model, tmp_path):
    """Where a folder was another model's."""
    with serve(tmp_path) as client:
        name = add_text(client)
    with serve(tmp_path, of=make_model(seed=1)) as client:
        assert assert_refused(client.get(f"{CONTEXTS}/{name}"), 409)["code"] == "other_model"
        assert add_text(client) != name


def test_damage_on_the_disk_is_found(serve, tmp_path):
    with serve(tmp_path) as client:
        name = add_text(client)
        (path,) = tmp_path.glob("*/ctx-*")
        path.write_bytes(path.read_bytes()[:-1] + b"\x77")
        assert "was damaged" in assert_refused(client.get(f"{CONTEXTS}/{name}"), 404)["message"]
        assert not path.exists() and add_text(client) == name
        # Who sends the text again need not know that it was damaged.
        path.write_bytes(path.read_bytes()[:-1] + b"\x77")
        assert add_text(client) == name and client.get(f"{CONTEXTS}/{name}").status_code == 200


def test_the_norms_of_all_kinds_of_texts_are_allowed(model):
    checks = LatentsChecks(model)
    for text in ("a", "A" * 300, "短い文章です。" * 9, "\n" * 200, "😀" * 40, "def f(x):\n    return x\n" * 9):
        for ratio in (1, 4, 20):
            checks.check(model.compress(text, ratio=ratio))
