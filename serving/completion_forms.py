"""Answers as OpenAI's JSON: whole, and in the chunks of a stream."""

import json
import secrets
import time


class CompletionForm:
    """
    The JSON of one answer.

        form = CompletionForm("org/c3", is_chat=True)
        form.whole("It was Jefferson.", "stop", usage)
        form.chunk("It was"), form.chunk("", "stop"), form.usage_chunk(usage)

    Args:
        model_name (`str`): of the model.
        is_chat (`bool`): whether it is that of `/v1/chat/completions` or that of `/v1/completions`.
    """

    def __init__(self, model_name, is_chat):
        self.is_chat = is_chat
        self.object = "chat.completion" if is_chat else "text_completion"
        self.chunk_object = "chat.completion.chunk" if is_chat else self.object
        prefix = "chatcmpl" if is_chat else "cmpl"
        self.common = {"id": f"{prefix}-{secrets.token_hex(12)}", "created": int(time.time()), "model": model_name}

    def whole(self, text, finish_reason, usage):
        """`dict` of an answer that is complete."""
        said = {"message": {"role": "assistant", "content": text}} if self.is_chat else {"text": text}
        return self._form(self.object, [_choice(said, finish_reason)]) | {"usage": usage}

    def beginning(self):
        """`list` of the chunks before the first piece."""
        return [self._chunk({"role": "assistant", "content": ""})] if self.is_chat else []

    def chunk(self, piece, finish_reason=None):
        """`dict` of a piece of a stream; the last has the reason of its end."""
        if self.is_chat:
            return self._chunk({"content": piece} if piece else {}, finish_reason)
        return self._form(self.chunk_object, [_choice({"text": piece}, finish_reason)])

    def usage_chunk(self, usage):
        """`dict` of what comes after the last piece, where it is asked for."""
        return self._form(self.chunk_object, []) | {"usage": usage}

    def _chunk(self, delta, finish_reason=None):
        return self._form(self.chunk_object, [_choice({"delta": delta}, finish_reason)])

    def _form(self, name, choices):
        return self.common | {"object": name, "choices": choices}


def _choice(said, finish_reason):
    return {"index": 0, **said, "logprobs": None, "finish_reason": finish_reason}


def usage_of(prompt, tokens):
    """
    What an answer took, `dict`.

    Args:
        prompt ([`Prompt`]): whose positions count as its tokens, a latent as one of them; beside it stands how many
            are latents, and how many tokens of text these stand for.
        tokens (`int`): of the answer, without the one that ends it.
    """
    taken = len(prompt.embeds)
    details = {"latent_tokens": prompt.latents, "compressed_text_tokens": prompt.text_tokens}
    return {
        "prompt_tokens": taken,
        "completion_tokens": tokens,
        "total_tokens": taken + tokens,
        "prompt_tokens_details": details,
    }


def event(data):
    """A server-sent event, `str`."""
    return f"data: {data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)}\n\n"
