"""Tokenizers that do not give a text back: what they lose, shown by short texts that a C3 must be able to return."""

import unicodedata

from .quoting_c3 import quoted

# What people's texts hold, and some tokenizers drop or change.
PROBES = {
    "repeated spaces": "two  spaces,   three",
    "spaces at the ends": " word ",
    "line ends": "one\ntwo\r\n\r\nthree\n",
    "tabs": "one\ttwo",
    "capital letters": "Capital LETTERS",
    "spaces around punctuation": "it 's , isn't it ?",
    "accents": "naïve café",
    "other scripts": "你好，мир",
    "emoji": "fine 👩‍👧 😀",
    "digits and signs": "x_1 = {3.50: '#$%^~`\\'}",
}


def lossy_text(name, tokenizer, encode):
    """
    Args:
        name (`str`): what the message calls the tokenizer.
        tokenizer (`PreTrainedTokenizerBase`): decodes.
        encode (`Callable[[PreTrainedTokenizerBase, str], list[int]]`): the ids of a text.

    Returns: `str`, a sentence with all that is lost and an example; None where every probe comes back. Text that comes
    back in Unicode's composed form (NFC, as Qwen's tokenizers give it) counts as the same.
    """
    lost = {}
    special = {f"the characters {quoted(token)}": f"a {token} b" for token in tokenizer.all_special_tokens[:1]}
    for kind, text in (PROBES | special).items():
        back = tokenizer.decode(encode(tokenizer, text), skip_special_tokens=True, clean_up_tokenization_spaces=False)
        if unicodedata.normalize("NFC", back) != unicodedata.normalize("NFC", text):
            lost[kind] = text, back
    if not lost:
        return None
    text, back = next(iter(lost.values()))
    return (
        f"The {name} does not give texts back as they were, so this model cannot: {text!r} becomes {back!r}. "
        f"Lost: {', '.join(lost)}. A byte-level BPE loses nothing."
    )
