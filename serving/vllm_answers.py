"""One answer of vLLM's, over HTTP: the request for it, the tokens that come, and what may go wrong meanwhile."""

import base64
import io
import json
import secrets
import sys

import httpx2
import torch

from c3.quoting_c3 import printable_lines

from .errors import ApiError

JSON = {"Content-Type": "application/json"}
LARGEST_SEED = 2**63 - 1
LONGEST_REASON = 2000
AGAIN = "ask again"


def request_body(address, embeds, sampling, ends):
    """
    The request to continue a row, `bytes` of JSON. All that an engine could add of its own, from its
    `generation_config` or a cache of prompts, is switched off.

    Args:
        address ([`VllmAddress`]): of the engine.
        embeds (`torch.Tensor` of shape `(length, D_dec)`): at positions 0, 1, 2, …
        sampling ([`Sampling`]): how to choose.
        ends (`set[int]`): the ids that end a text.
    """
    packed = io.BytesIO()
    # A copy: a view would be saved with all that it is a view of.
    torch.save(embeds.detach().cpu().clone(), packed)
    body = {
        "model": address.model,
        "prompt_embeds": base64.b64encode(packed.getvalue()).decode(),
        "max_tokens": sampling.max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": 0,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "stop_token_ids": sorted(ends),
        "ignore_eos": True,  # it would be the engine's own
        "skip_special_tokens": False,
        "return_token_ids": True,
        "stream": True,
        # Blocks of the engine's cache of prompts are shared by requests with one salt: by none.
        "cache_salt": secrets.token_hex(16),
    }
    if sampling.seed is not None:
        body["seed"] = sampling.seed & LARGEST_SEED  # to vLLM -1 is none
    return json.dumps(body).encode()


async def streamed_tokens(address, body, ends):
    """
    An asynchronous generator over the tokens of an answer, without the one that ends it. To close it closes the
    connection, by which vLLM ends the work.

    Args:
        address ([`VllmAddress`]): of the engine.
        body (`bytes`): see `request_body`.
        ends (`set[int]`): as there.

    Raises:
        ApiError: 503 `engine_unavailable`, no connection, and nothing was sent; 503 `engine_timeout`; 503
            `engine_overloaded`; 502 `engine_refused`; 502 `engine_failed`, also when the answer is not whole.
    """
    reason = None
    try:
        async with (
            address.client() as client,
            client.stream("POST", "/completions", content=body, headers=JSON) as answer,
        ):
            if answer.status_code != 200:
                raise _refusal(answer.status_code, (await answer.aread()).decode(errors="replace"))
            async for event in httpx2.EventSource(answer):
                if event.data == "[DONE]":
                    break
                tokens, ended = _taken(event)
                reason = ended or reason
                for token in tokens:
                    if token in ends:
                        return
                    yield token
    except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
        message = f"The engine that answers is not there: {AGAIN} later."
        raise _noted(ApiError(503, message, code="engine_unavailable"), error) from None
    except httpx2.TimeoutException as error:
        message = f"The engine did not answer in time: {AGAIN} later."
        raise _noted(ApiError(503, message, code="engine_timeout"), error) from None
    except httpx2.HTTPError as error:
        raise _failed(error) from None
    if reason not in ("stop", "length"):
        raise _failed(f"its answer ended with {reason!r}")


def _taken(event):
    """Tokens of an event, and why the answer ended with it, None where it did not."""
    try:
        chunk = event.json()
        if "error" in chunk:
            raise _failed(chunk["error"])
        if not chunk["choices"]:
            return [], None
        choice = chunk["choices"][0]
        return [*map(int, choice["token_ids"])], choice["finish_reason"]
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):
        raise _failed(f"it sent {event.data[:LONGEST_REASON]}") from None


def _refusal(status, text):
    if status in (429, 503):
        error = ApiError(
            503, f"The engine has too much to do, or is not ready: {AGAIN} later.", code="engine_overloaded"
        )
    elif status < 500:
        error = ApiError(502, "The engine refused the request; the server's log says why.", code="engine_refused")
    else:
        return _failed(f"{status} {text}")
    return _noted(error, f"{status} {text}")


def _failed(reason):
    return _noted(
        ApiError(502, f"The engine failed before its answer was whole: {AGAIN}.", code="engine_failed"), reason
    )


def _noted(error, reason):
    """An error, after what the engine says of it, which may name files, went to standard error."""
    reason = str(reason) or type(reason).__name__
    print(f"c3: {error.code}: {printable_lines(reason[:LONGEST_REASON])}", file=sys.stderr, flush=True)
    return error
