"""Chat messages as prompts: what they must hold, and how the tokenizer's chat template lays them out."""

import re
from itertools import takewhile

from .texts_c3 import check_text

PARTS = "{'type': 'text', 'text': …} or {'type': 'context', 'latents': …}"


def is_conversation(prompt):
    """Whether a prompt is chat messages: a list of mappings."""
    return isinstance(prompt, (list, tuple)) and bool(prompt) and all(isinstance(each, dict) for each in prompt)


def are_conversations(prompt):
    """Whether it is several: a list of lists of mappings."""
    return isinstance(prompt, (list, tuple)) and bool(prompt) and all(map(is_conversation, prompt))


def message_parts(message):
    """What a chat message holds, `list[dict]` of parts; one of text where its content is a string."""
    content = message["content"]
    return [{"type": "text", "text": content}] if isinstance(content, str) else list(content)


def contexts_of(messages):
    """
    The latents among the parts of chat messages, in order.

        contexts_of([{"role": "user", "content": [{"type": "context", "latents": latents}]}])  # [latents]

    Returns: `list`, of whatever stands there as `latents`, for [`C3Model`] to check.

    Raises:
        ValueError: messages that cannot be, see `check_conversation`.
    """
    check_conversation(messages)
    return [part["latents"] for message in messages for part in message_parts(message) if part["type"] == "context"]


def check_conversation(messages):
    """
    Raises `ValueError` for messages without a role or a content, for a content that is neither a string nor a list of
    parts, and for text that is no Unicode.
    """
    for message in messages:
        role, content = message.get("role"), message.get("content")
        if not isinstance(role, str) or not (isinstance(content, str) or _is_parts(content)):
            raise ValueError(
                f"A chat message must have a role and a content, both strings, not {message!r}; a content may also be "
                f"a list of parts {PARTS}."
            )
        for part in message_parts(message):
            if part["type"] == "text":
                check_text(part["text"], f"the {role}'s message")


def conversation_pieces(tokenizer, messages):
    """
    What the chat template makes of messages and a request for an answer, in pieces.

    Returns: `list[str or dict]`: strings are the template's, whose special tokens are special, and parts a message's,
        in whose text all is text.

    Raises:
        ValueError: the template leaves out a part with latents, repeats it or puts it elsewhere.
    """
    # Marks in the place of the parts, which are then encoded apart from the template's special tokens.
    parts, marked = [], []
    for message in messages:
        own = message_parts(message)
        marks = [f"\ue000{index}\ue001" for index in range(len(parts), len(parts) + len(own))]
        parts += own
        marked.append(message | {"content": "".join(marks)})
    text = tokenizer.apply_chat_template(marked, tokenize=False, add_generation_prompt=True)
    pieces = [
        parts[int(piece)] if index % 2 else piece for index, piece in enumerate(re.split("\ue000([0-9]+)\ue001", text))
    ]
    laid_out = [id(piece) for piece in pieces if not isinstance(piece, str) and piece["type"] == "context"]
    if laid_out != [id(part) for part in parts if part["type"] == "context"]:
        raise ValueError(
            "The chat template of the decoder's tokenizer does not lay out every context once and in order: put them "
            "into the user's messages."
        )
    return pieces


def special_tokens_around(before, after, special):
    """
    The special tokens of a prompt template that stand directly around its latents, as `<img>` and `</img>`.

    Args:
        before, after (`list[int]`): its ids before and after the latents.
        special (`Collection[int]`): ids of special tokens.

    Returns: two `list[int]`.
    """
    opening = list(takewhile(special.__contains__, reversed(before)))
    return opening[::-1], list(takewhile(special.__contains__, after))


def _is_parts(content):
    return isinstance(content, (list, tuple)) and bool(content) and all(map(_is_part, content))


def _is_part(part):
    if not isinstance(part, dict):
        return False
    kind = part.get("type")
    return (kind == "text" and isinstance(part.get("text"), str)) or (kind == "context" and "latents" in part)


__all__ = [
    "are_conversations",
    "check_conversation",
    "contexts_of",
    "conversation_pieces",
    "is_conversation",
    "special_tokens_around",
]
