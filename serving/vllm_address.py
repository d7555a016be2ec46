"""Where a vLLM answers that somebody else started, or [`VllmProcess`] did: its address, its key, and clients for it."""

import asyncio
import ssl
from dataclasses import dataclass, field
from functools import cached_property

import httpx2

from c3.quoting_c3 import in_one_line, printable
from c3.support.errors import UserError

KEY_VARIABLE = "C3_VLLM_API_KEY"
LOOPBACK = ("127.0.0.1", "::1", "localhost")
# To the next part of an answer: the first may wait for those of all others.
TIMEOUT = httpx2.Timeout(300, connect=10)


@dataclass(frozen=True)
class VllmAddress:
    """
    An engine for [`VllmBackend`], which is there or is not.

        async with VllmAddress("http://127.0.0.1:9000/v1", "decoder", key).client() as client: ...

    Args:
        url (`str`): with the `/v1` of OpenAI's API.
        model (`str`): what the engine calls the decoder.
        key (`str`, *optional*): for the engine.
    """

    url: str
    model: str
    key: str | None = field(default=None, repr=False)

    def client(self):
        """An `httpx2.AsyncClient`, to be entered: for one request, so that it belongs to no event loop before."""
        headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        # Through no proxy: what is sent holds texts.
        options = {"verify": self._ssl, "trust_env": False, "timeout": TIMEOUT}
        return httpx2.AsyncClient(base_url=self.url, headers=headers, **options)

    @cached_property
    def _ssl(self):
        """To make one takes far longer than a request."""
        is_encrypted = httpx2.URL(self.url).scheme == "https"
        return httpx2.create_ssl_context() if is_encrypted else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

    async def ready(self):
        """The address itself."""
        return self

    def doubt(self):
        """Nothing can be done here about an engine that failed: False."""
        return False

    async def close(self):
        """It is not ours to end."""


def found_engine(url, key, positions):
    """
    The engine at an address.

    Args:
        url (`str`): as `"http://127.0.0.1:9000/v1"`.
        key (`str` or None): for it.
        positions (`int` or infinity): that it has to have.

    Returns: [`VllmAddress`].

    Raises:
        UserError: as `check_address`; nothing answers there, or it is no such engine.
    """
    check_address(url)
    where = f"--vllm-url {printable(url)}"
    models = asyncio.run(_models(where, VllmAddress(url, "", key)))
    try:
        name, most = models["data"][0]["id"], models["data"][0].get("max_model_len")
    except (AttributeError, IndexError, KeyError, TypeError):
        raise UserError(
            f"{where} serves no models in OpenAI's form: is it a vLLM, and its address ends in /v1?"
        ) from None
    if most is not None and most < positions:
        raise UserError(
            f"{where}: the engine has {most} positions, the model {positions}: start it with --max-model-len"
        )
    return VllmAddress(url, name, key)


def check_address(url):
    """Raises `UserError` for what is no address of an engine; nothing of it is said, it may hold a password."""
    if "@" in url:
        raise UserError(f"--vllm-url may hold no user name or password: give the engine's key in {KEY_VARIABLE}")
    parts = _parts(url)
    is_http = parts is not None and parts.scheme in ("http", "https") and parts.host
    if not is_http or not (parts.port is None or 0 < parts.port < 1 << 16):
        raise UserError("--vllm-url is no address of an engine, such as http://127.0.0.1:9000/v1")


def is_open(url):
    """Whether what is sent to an address leaves this machine, and unencrypted."""
    parts = _parts(url)
    return parts is not None and parts.scheme == "http" and parts.host not in LOOPBACK


async def _models(where, address):
    try:
        async with address.client() as client:
            answer = await client.get("/models")
    except httpx2.HTTPError as error:
        raise UserError(f"{where}: nothing answers there ({in_one_line(error) or type(error).__name__})") from error
    if answer.status_code in (401, 403):
        raise UserError(f"{where} wants a key, or another one: give it in {KEY_VARIABLE}")
    try:
        return answer.json()
    except ValueError:
        return None


def _parts(url):
    try:
        return httpx2.URL(url)
    except httpx2.InvalidURL:
        return None
