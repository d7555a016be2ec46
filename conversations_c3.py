"""Chat messages as prompts: what they must hold, and how the tokenizer's chat template lays them out."""

import re

from .texts_c3 import check_text


def is_conversation(prompt):
    """Whether a prompt is chat messages: a list of mappings."""
    return isinstance(prompt, (list, tuple)) and bool(prompt) and all(isinstance(each, dict) for each in prompt)


def check_conversation(messages):
    """Raises `ValueError` for messages without a role or a content, both strings, or with text that is no Unicode."""
    for message in messages:
        if not all(isinstance(message.get(name), str) for name in ("role", "content")):
            raise ValueError(f"A chat message must have a role and a content, both strings, not {message!r}.")
        check_text(message["content"], f"the {message['role']}'s message")


def conversation_pieces(tokenizer, messages):
    """
    What the chat template makes of messages and a request for an answer, in pieces.

    Returns: `list[tuple[str, bool]]`, each piece and whether it is the template's, whose special tokens are special, or
    a message's, in which all is text.
    """
    # Marks in the place of the messages, which are then encoded apart from the template's special tokens.
    marked = [message | {"content": f"\ue000{index}\ue001"} for index, message in enumerate(messages)]
    text = tokenizer.apply_chat_template(marked, tokenize=False, add_generation_prompt=True)
    pieces = re.split("\ue000([0-9]+)\ue001", text)
    return [
        (messages[int(piece)]["content"], False) if index % 2 else (piece, True) for index, piece in enumerate(pieces)
    ]


__all__ = ["check_conversation", "conversation_pieces", "is_conversation"]
