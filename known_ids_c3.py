"""Token ids of templates and prompts that stand in every row, asked for once: `known_ids`."""

from weakref import WeakKeyDictionary

# What `known_ids` found, by tokenizer: a processor may be given another one.
_KNOWN_IDS = WeakKeyDictionary()


def known_ids(tokenizer, text, encode):
    """
    `list[int]`: what `encode(tokenizer, text)` gives, asked for once. It is for templates and prompts, which stand in
    every row: to tokenize one takes longer than to lay its row out.
    """
    known = _KNOWN_IDS.setdefault(tokenizer, {})
    # A token that is added may be one of the text's.
    key = encode, text, len(tokenizer)
    if key not in known:
        known[key] = encode(tokenizer, text)
    return list(known[key])


__all__ = ["known_ids"]
