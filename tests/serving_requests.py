"""What the tests of the server send, and read."""

import json
import random
import time

CHAT, COMPLETIONS, CONTEXTS = "/v1/chat/completions", "/v1/completions", "/v1/contexts"
PASSAGE = "It was the best of times, it was the worst of times, it was the age of wisdom."


def bearer(key):
    return {"Authorization": f"Bearer {key}"}


def add_text(client, text=PASSAGE, **fields):
    """The id of a context."""
    answer = client.post(CONTEXTS, json={"text": text, **fields})
    assert answer.status_code == 200, answer.text
    return answer.json()["id"]


def context_part(name):
    return {"type": "context", "id": name}


def message(*parts):
    """A user's message of strings and parts."""
    parts = [{"type": "text", "text": each} if isinstance(each, str) else each for each in parts]
    return {"role": "user", "content": parts}


def events(answer):
    """The chunks of a stream, which has its end."""
    lines = [line for line in answer.text.split("\n\n") if line]
    assert all(line.startswith("data: ") for line in lines) and lines[-1] == "data: [DONE]", answer.text
    return [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]


def until(is_so):
    """Waits until `is_so()`, for twenty seconds at most."""
    begun = time.monotonic()
    while not is_so():
        assert time.monotonic() < begun + 20
        time.sleep(0.002)


def mutated(data):
    """Bytes, a few of which are others, missing, or more."""
    data = bytearray(data)
    for _ in range(random.randint(1, 3)):
        place = random.randrange(len(data))
        data[place : place + random.randint(0, 3)] = random.choice([b"", b'"', b"{", b"9", b"\xff", b"null", b","])
    return bytes(data)


def assert_refused(answer, *statuses):
    """An error in OpenAI's form, whose message is one line that says something; returns it."""
    assert answer.status_code in (statuses or range(400, 500)), (answer.status_code, answer.text)
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"} and answer.json().keys() == {"error"}
    assert len(error["message"]) > 15 and "\n" not in error["message"] and "/tmp" not in error["message"]
    return error
