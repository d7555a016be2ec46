"""Bodies of `/v1/chat/completions` and `/v1/completions`: their fields, of which none is ignored."""

from dataclasses import dataclass

from c3.quoting_c3 import quoted

from .backends import Sampling
from .context_store import ID
from .errors import ApiError
from .fields import boolean, checked, number, of_type, string, strings, whole_number

ROLES = ("system", "user", "assistant")
MOST_MESSAGES, MOST_CONTEXTS, MOST_STOPS, LONGEST_STOP = 1000, 1000, 4, 256
LARGEST = 2**63 - 1
# Fields of OpenAI's that are not served, with the values that ask for nothing.
NEUTRAL = {
    "n": (1,),
    "best_of": (1,),
    "echo": (False,),
    "logprobs": (False,),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "logit_bias": ({},),
    "tools": ([],),
    "store": (False,),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
}


@dataclass(frozen=True)
class CompletionRequest:
    """
    What is asked for.

    Args:
        messages (`list[dict]` or None): of a chat; or else
        prompt (`str`), contexts (`list[str]`): a string, after contexts with these ids.
        options (`dict`): `max_tokens`, `temperature`, `top_p` and `seed`, those that are given.
        stops (`list[str]`): strings that end the answer.
        stream (`bool`), with_usage (`bool`): whether it comes in pieces, and its usage after them.
    """

    messages: list | None
    prompt: str | None
    contexts: list
    options: dict
    stops: list
    stream: bool
    with_usage: bool

    def sampling(self, max_tokens):
        """The [`Sampling`] that is asked for."""
        return Sampling(**self.options | {"max_tokens": max_tokens})


def chat_request(body, model_name):
    """
    The [`CompletionRequest`] of the body of a chat.

        chat_request({"messages": [{"role": "user", "content": "Who wrote it?"}]}, "org/c3")

    Args:
        body (`dict`): from JSON.
        model_name (`str`): the only one that may be asked for.

    Raises:
        ApiError: 400, a field that is wrong, or not known; 404, another model.
    """
    return _request(body, model_name, {"messages": _messages, "max_completion_tokens": whole_number(1, LARGEST)})


def text_request(body, model_name):
    """
    The [`CompletionRequest`] of the body of a plain completion: `prompt` is a string, `contexts`, which OpenAI does not
    have, a list of ids. Arguments and errors as for `chat_request`.
    """
    return _request(body, model_name, {"prompt": string, "contexts": _contexts})


def check_model(body, model_name):
    """Raises `ApiError` 404 where a body asks for another model than that, 400 where for none that could be."""
    asked = string("model", body["model"]) if body.get("model") is not None else model_name
    if asked != model_name:
        raise ApiError(
            404, f"There is no model {quoted(asked)} here, only {quoted(model_name)}.", "model", "model_not_found"
        )


def _request(body, model_name, own):
    check_model(body, model_name)
    needed = next(iter(own))
    fields = checked(body, FIELDS | own, NEUTRAL)
    if needed not in fields:
        raise ApiError(400, f"{needed} is missing.", needed)
    limits = {fields[name] for name in ("max_tokens", "max_completion_tokens") if name in fields}
    if len(limits) > 1:
        raise ApiError(400, "max_tokens and max_completion_tokens differ: give one.", "max_tokens")
    if "stream_options" in fields and not fields.get("stream"):
        raise ApiError(400, "stream_options are for stream=true.", "stream_options")
    options = {name: fields[name] for name in ("temperature", "top_p", "seed") if name in fields}
    return CompletionRequest(
        messages=fields.get("messages"),
        prompt=fields.get("prompt"),
        contexts=fields.get("contexts", []),
        options=options | {"max_tokens": limits.pop() if limits else None},
        stops=fields.get("stop", []),
        stream=fields.get("stream", False),
        with_usage=fields.get("stream_options", {}).get("include_usage", False),
    )


def _stream_options(name, value):
    value = of_type(dict, "an object")(name, value)
    return checked(value, {"include_usage": boolean}, where=f"{name}: ")


def _contexts(name, value):
    ids = of_type(list, "a list of ids of contexts")(name, value)
    if len(ids) > MOST_CONTEXTS:
        raise ApiError(400, f"{name} must be at most {MOST_CONTEXTS} ids, not {len(ids)}.", name)
    return [_context_id(name, each) for each in ids]


def _context_id(name, value):
    if not isinstance(value, str) or not ID.fullmatch(value):
        raise ApiError(400, f"The id of a context must be one that /v1/contexts gave, not {quoted(value)}.", name)
    return value


def _messages(name, value):
    messages = of_type(list, "a list of messages")(name, value)
    if not 1 <= len(messages) <= MOST_MESSAGES:
        raise ApiError(400, f"{name} must be 1 to {MOST_MESSAGES} messages, not {len(messages)}.", name)
    return [_message(f"{name}[{place}]", each) for place, each in enumerate(messages)]


def _message(name, value):
    where = f"{name}: "
    message = checked(of_type(dict, "an object")(name, value), {"role": string, "content": _content}, where=where)
    if message.get("role") not in ROLES:
        raise ApiError(400, f"{where}role must be one of {', '.join(ROLES)}, not {quoted(message.get('role'))}.", name)
    if "content" not in message:
        raise ApiError(400, f"{where}content is missing.", name)
    return message


def _content(name, value):
    if isinstance(value, str):
        return value
    if not isinstance(value, list) or not value:
        raise ApiError(400, f"{name} must be a string or a list of parts, not {quoted(value)}.", name)
    if len(value) > MOST_CONTEXTS:
        raise ApiError(400, f"{name} must be at most {MOST_CONTEXTS} parts, not {len(value)}.", name)
    return [_part(f"{name}[{place}]", each) for place, each in enumerate(value)]


def _part(name, value):
    part = of_type(dict, "an object")(name, value)
    own = {"text": {"text": string}, "context": {"id": _context_id}}.get(str(part.get("type")))
    if own is None:
        raise ApiError(400, f"{name}: type must be text or context, not {quoted(part.get('type'))}.", name)
    part = checked(part, {"type": string} | own, where=f"{name}: ")
    for needed in own:
        if needed not in part:
            raise ApiError(400, f"{name}: {needed} is missing.", name)
    return part


FIELDS = {
    "model": string,
    "max_tokens": whole_number(1, LARGEST),
    "temperature": number(0, 2),
    "top_p": number(0, 1, above=True),
    "stop": strings(MOST_STOPS, LONGEST_STOP),
    "seed": whole_number(-LARGEST, LARGEST),
    "stream": boolean,
    "stream_options": _stream_options,
}
