"""What a byte-level BPE takes for a word: no token goes across its ends."""

# Qwen2's pre-tokenisation (and GPT-4's, with single digits): words with their leading space, digits one by one.
WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
