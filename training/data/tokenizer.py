"""A byte-level BPE tokenizer trained on the user's own text: any UTF-8 text goes through, nothing is unknown."""

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from c3.support.word_pattern import WORDS

END_OF_TEXT = "<|endoftext|>"


def train_tokenizer(texts, vocab_size):
    """
    Args:
        texts (iterable of `str`): training text.
        vocab_size (`int`): 257 (the bytes and the end of text) or more; little text gives a smaller vocabulary.

    Returns:
        `PreTrainedTokenizerFast` without normalisation, so that decoding gives back the exact text. The end of text is
        its only special token, and its padding.

    Raises:
        ValueError: vocab_size below 257.
    """
    if vocab_size < 257:
        raise ValueError(f"vocab_size must be 257 or more (256 bytes and the end of text), not {vocab_size}.")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORDS), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=[END_OF_TEXT],
        show_progress=False,  # it would go to standard output
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END_OF_TEXT,
        pad_token=END_OF_TEXT,
        clean_up_tokenization_spaces=False,
    )
