"""What the windows of a batch hold: token ids, what is hidden from the decoder, and what it is to say."""

import numpy as np
from torch.utils.data import Dataset

# Random tokens carry their full entropy, about five times that of text, so that high ratios could not hold them.
RANDOM_WINDOW_RATIO = 8


def random_token_ids(tokenizer):
    """
    `np.ndarray` of token ids to draw random tokens from: half of the draws fall on the vocabulary at large, half on its
    single characters, with which a byte-level tokenizer spells whatever is rare in the training text.
    """
    single = [index for token, index in tokenizer.get_vocab().items() if len(token) == 1]
    size = len(tokenizer)
    return np.concatenate([np.arange(size), np.resize(sorted(single), size if single else 0)])


class WindowDataset(Dataset):
    """
    Training windows by `WindowSpec`, and instruction examples by `(Draw, index)`.

    Decoder-input dropout: in a share `dropout_windows` of the windows that are to be given back, a share of the
    decoder's input tokens drawn uniformly from 0 to 1 is hidden behind the mask embedding, so that the decoder must
    read the latents rather than its own past; without it a model that scores well under teacher forcing falls apart
    when it runs freely. Where a latent stands for more than `dropout_halved_above` tokens the share of the windows is
    half of that.

    In a share `random_windows` of those at ratios up to `RANDOM_WINDOW_RATIO`, a share of the tokens drawn uniformly
    from 0 to 1 is replaced by random ones (`random_token_ids`), so that rare tokens are learned and copying does not
    lean on the language.

    Args:
        ids (`list[np.ndarray]`): the encoder's token ids of each source.
        dropout_windows, random_windows (`float`), dropout_halved_above (`float`, *optional*): see above.
        processor ([`C3Processor`]): brings the decoder's tokenizer where it is another one.
        instructions (`InstructionExamples`, *optional*): see `training/data/instructions.py`.
    """

    def __init__(
        self,
        ids,
        processor,
        dropout_windows=0.0,
        random_windows=0.0,
        dropout_halved_above=None,
        instructions=None,
    ):
        self.ids, self.processor, self.instructions = ids, processor, instructions
        self.dropout_windows, self.dropout_halved_above = dropout_windows, dropout_halved_above
        self.random_windows = random_windows
        self.random_ids = random_token_ids(processor.context_tokenizer or processor.tokenizer)

    def __len__(self):
        # In tokens: the sampler, not an index, says what a window is.
        return sum(map(len, self.ids))

    def __getitem__(self, spec):
        """
        `dict` of a text to compress, `windows` (`list[tuple[list[int], int, int]]`: the encoder's ids, N, and how many
        tokens the decoder makes of it), a `prompt` (None: give the text back), the `target` ids, their `labels`, and
        which of the target's tokens are `hidden` (`np.ndarray`).
        """
        if isinstance(spec, tuple):
            return self.instructions.example(*spec)
        rng = np.random.default_rng(spec.seed)
        share = rng.uniform() if rng.uniform() < self._dropout_share(spec) else 0.0
        end = spec.start + spec.length
        ids = self.ids[spec.source][spec.start : end]
        if spec.continuation:
            context, text = self._both(ids)
            _, target = self._both(self.ids[spec.source][end : end + spec.continuation])
            return _example(context, spec.num_latents, len(text), "", target, np.zeros(len(target), dtype=bool))
        if spec.length <= RANDOM_WINDOW_RATIO * spec.num_latents and rng.uniform() < self.random_windows:
            replaced = rng.uniform(size=spec.length) < rng.uniform()
            ids = np.where(replaced, rng.choice(self.random_ids, size=spec.length), ids)
        context, text = self._both(ids)
        return _example(context, spec.num_latents, len(text), None, text, rng.uniform(size=len(text)) < share)

    def _dropout_share(self, spec):
        """The share of windows like this one that get dropout."""
        above = self.dropout_halved_above
        halved = above is not None and spec.length > above * spec.num_latents
        return self.dropout_windows / 2 if halved else self.dropout_windows

    def _both(self, ids):
        """A piece of the stream as the encoder's and the decoder's ids."""
        ids = ids.tolist()
        context_tokenizer = self.processor.context_tokenizer
        if context_tokenizer is None:
            return ids, ids
        # The characters that the cuts went through are left out; both sides are then made of the same text.
        text = context_tokenizer.decode(ids, clean_up_tokenization_spaces=False)
        text = text.strip("\ufffd") or text
        return self.processor.encode_context(text), self.processor.encode(text)


def _example(context, num_latents, text_length, prompt, target, hidden):
    return {
        "windows": [(context, num_latents, text_length)],
        "prompt": prompt,
        "target": target,
        "labels": target,
        "hidden": hidden,
    }
