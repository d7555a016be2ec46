"""A tiny model that is served, without a network, to the holders of two keys."""

import copy

import pytest
from fastapi.testclient import TestClient

from c3.serving.app import Served, make_app
from c3.serving.context_store import ContextStore
from c3.serving.keys import Keys
from c3.serving.transformers_backend import TransformersBackend
from serving_requests import PASSAGE, bearer

TEMPLATE = (
    "{% for message in messages %}{{ message['role'] + ': ' + message['content'] + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)


@pytest.fixture(scope="session")
def model(make_model, tokenizer):
    """A model that answers, with a chat template, and float32 latents, so that those of equal texts are equal."""
    model = make_model()
    model.processor.tokenizer = copy.deepcopy(tokenizer)
    model.processor.tokenizer.chat_template = TEMPLATE
    return model


@pytest.fixture(scope="session")
def serve(model):
    """`serve(folder, backend=None, **limits)`: a [`TestClient`], to be entered, that has the first key."""

    def make(
        folder,
        backend=None,
        most_bytes=1 << 20,
        most_seconds=3600,
        clock=None,
        most_body=1 << 20,
        of=model,
        keys="one,two",
        body_seconds=30,
        most_characters=1 << 20,
    ):
        clock = {} if clock is None else {"clock": clock}
        store = ContextStore(folder, most_bytes, most_seconds, **clock)
        backend = TransformersBackend(of) if backend is None else backend
        limits = {"most_body": most_body, "body_seconds": body_seconds, "most_characters": most_characters}
        app = make_app(Served(of, backend, store, Keys(keys), **limits))
        return TestClient(app, "http://127.0.0.1", headers=bearer("one"), raise_server_exceptions=False)

    return make


@pytest.fixture(scope="session")
def client(serve, tmp_path_factory):
    """One server for all tests that leave it as it was."""
    with serve(tmp_path_factory.mktemp("contexts")) as client:
        yield client


@pytest.fixture(scope="session")
def second_key():
    """The headers of the other key."""
    return bearer("two")


@pytest.fixture(scope="session")
def latents(model):
    """Those of the passage, as a server has them that was sent it with `ratio=3`."""
    return model.compress(PASSAGE, ratio=3, exact=True)
