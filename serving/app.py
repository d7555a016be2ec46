"""The app: what is served, at which addresses."""

import asyncio
import math
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from c3.position_limits_c3 import most_positions

from .backends import Backend
from .bodies import SECONDS
from .completions_api import add_completions
from .contexts import Contexts
from .contexts_api import add_contexts
from .errors import ApiError, add_error_handlers, logged
from .keys import Keys
from .latents_checks import LatentsChecks
from .own_names import OwnNamesOnly
from .prompts import Prompts
from .request_heads import HeadChecks
from .turns import Turns
from .unread_bodies import CloseUnread

MOST_BODY = 64 << 20
# Of a text, whose tokenizing nobody interrupts: some seconds of a CPU, where it has no words.
MOST_CHARACTERS = 1 << 20
SECONDS_BETWEEN_SWEEPS = 3600.0


@dataclass
class Served:
    """
    A model, and all that its server needs.

        app = make_app(Served(model, TransformersBackend(model), ContextStore(folder, 1 << 30, 3600), Keys()))

    Args:
        model ([`C3Model`]): compresses, gives back, and embeds prompts; at consecutive positions.
        backend ([`Backend`]): answers.
        store ([`ContextStore`]): keeps contexts.
        keys ([`Keys`]): who may ask.
        batch_size (`int`): windows that are encoded or decoded at once.
        most_body (`int`): bytes of a request's body.
        body_seconds (`float`): that one may take, see `read_body`.
        most_characters (`int`): of a text to compress.
    """

    model: object
    backend: Backend
    store: object
    keys: Keys
    batch_size: int = 8
    most_body: int = MOST_BODY
    body_seconds: float = SECONDS
    most_characters: int = MOST_CHARACTERS
    started: int = field(default_factory=lambda: int(time.time()))
    turns: Turns = field(default_factory=Turns)

    def __post_init__(self):
        positions = self.model.answering().config.prompt_positions
        if positions != "consecutive":
            raise ValueError(
                f"this model reads prompts at positions {positions} (prompt_positions), but only consecutive ones can "
                "be served"
            )
        checks = LatentsChecks(self.model)
        self.name = checks.provenance.model_name or "c3"
        self.contexts = Contexts(self.model, checks, self.store, self.batch_size)
        self.prompts = Prompts(self.model, self.contexts)
        # Before each pass: a batch of windows may take hundreds, as where somebody made up its latents.
        parts = self.model.encoder, self.model.decoder.base_model
        self.hooks = [part.register_forward_pre_hook(lambda *_: self.turns.pause()) for part in parts]

    async def close(self):
        """Ends what is being worked on."""
        await self.backend.close()
        # The pass that is being made cannot be stopped, and is not waited for.
        self.turns.close()
        for hook in self.hooks:
            hook.remove()

    def is_working(self):
        """Whether a text is still being compressed or given back."""
        return self.turns.is_working()


def make_app(served):
    """The FastAPI app for what is served; its end closes that."""

    @asynccontextmanager
    async def lifespan(app):
        sweeping = asyncio.create_task(_sweep_ever_again(served.store))
        yield
        sweeping.cancel()
        await served.close()

    # Without its pages of documentation, which load scripts from elsewhere.
    app = FastAPI(
        title="c3", lifespan=lifespan, openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False
    )
    if not served.keys:
        app.add_middleware(OwnNamesOnly)
    app.add_middleware(HeadChecks)
    app.add_middleware(CloseUnread)
    add_error_handlers(app)
    add_completions(app, served)
    add_contexts(app, served)

    @app.get("/health")
    async def health():
        return JSONResponse({"status": "ok"})

    def described():
        most = most_positions(served.model.config.decoder_config)
        return {
            "id": served.name,
            "object": "model",
            "created": served.started,
            "owned_by": "c3",
            "max_positions": most if math.isfinite(most) else None,
            "only_gives_texts_back": served.model.only_repeats(),
        }

    @app.get("/v1/models")
    async def models(request: Request):
        served.keys.owner(request.headers.get("authorization"))
        return JSONResponse({"object": "list", "data": [described()]})

    @app.get("/v1/models/{name:path}")
    async def model(request: Request, name: str):
        served.keys.owner(request.headers.get("authorization"))
        if name != served.name:
            raise ApiError(404, "There is no such model here: see /v1/models.", code="model_not_found")
        return JSONResponse(described())

    return app


async def _sweep_ever_again(store):
    while True:
        await asyncio.sleep(SECONDS_BETWEEN_SWEEPS)
        try:
            await asyncio.to_thread(store.sweep)
        except Exception as error:  # the store cannot be reached, say: it may be the next time
            logged(error)
