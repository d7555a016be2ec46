"""Which windows or rows are batched together, over any number of epochs."""

import numpy as np

from c3.training.checks import RecipeError


def check_tokens(name, tokens, tokens_per_batch):
    """Raises `RecipeError` where the data called `name` hold fewer tokens than a batch takes."""
    if tokens < tokens_per_batch:
        raise RecipeError(
            f"{name} hold {tokens} tokens, but a batch takes {tokens_per_batch}; give more text or fewer tokens per "
            "batch."
        )


def group_blocks(lengths, tokens_per_batch, rng):
    """
    Batches of blocks that are alike in length, so that next to nothing is padded.

    Whole blocks are taken in random order; shorter ones (whole documents) are batched with their likes, as many as
    make up the same number of tokens. Whole ones that do not fill a batch go with the longest of the short ones.

    Args:
        lengths (`np.ndarray` of shape `(blocks,)`): tokens of each.
        tokens_per_batch (`int`): what a batch holds at most, unless one block alone is longer.
        rng (`np.random.Generator`): of the order.

    Returns: `list[np.ndarray]`, indices of the blocks of each batch. Their number depends on `lengths` alone.
    """
    longest = int(lengths.max())
    per_batch = max(1, tokens_per_batch // longest)
    order = rng.permutation(len(lengths))
    # Stable, so that blocks of one length still come in random order.
    order = order[np.argsort(-lengths[order], kind="stable")]
    num_whole = int((lengths == longest).sum()) // per_batch * per_batch
    batches = [order[start : start + per_batch] for start in range(0, num_whole, per_batch)]
    start = num_whole
    while start < len(order):
        size = max(1, tokens_per_batch // int(lengths[order[start]]))
        batches.append(order[start : start + size])
        start += size
    return [batches[i] for i in rng.permutation(len(batches))]


def group_conversations(lengths, tokens_per_batch, rng):
    """
    Batches of conversations about a context that are alike in both, in random order. What is in a batch depends on
    `lengths` alone. The windows of the contexts are packed; it is the decoder's rows, latents and conversation, that
    have to be alike.

    Args:
        lengths (`np.ndarray` of shape `(examples, 2)`): tokens of each context and each conversation.
        tokens_per_batch (`int`), rng (`np.random.Generator`): see `group_blocks`.

    Returns: `list[np.ndarray]`, indices of the examples of each batch.
    """
    totals = lengths.sum(-1)
    by_context = np.argsort(lengths[:, 0], kind="stable")
    # As many groups by context as there are batches by conversation in each of them, about.
    num_groups = max(1, round((totals.sum() / tokens_per_batch) ** 0.5 / 2))
    batches, held = [], 0
    for number, group in enumerate(np.array_split(by_context, num_groups)):
        # There and back, so that a batch may go on from one group into the next.
        order = group[np.argsort(lengths[group, 1] * (-1) ** number, kind="stable")]
        for index in order.tolist():
            held += totals[index]
            if not batches or held > tokens_per_batch:
                batches.append([])
                held = totals[index]
            batches[-1].append(index)
    return [np.array(batches[i]) for i in rng.permutation(len(batches))]


class BatchPool:
    """
    Batches of rows over any number of epochs, each in an order of its own.

    Args:
        rows (`np.ndarray` of shape `(rows, …)`): blocks, or indices of examples.
        lengths (`np.ndarray` of shape `(rows,)` or `(rows, 2)`): tokens of each, as `group` takes them.
        tokens_per_batch, seed (`int`): see `group_blocks`.
        name (`str`): for the message.
        group (`Callable`): `group_blocks` or `group_conversations`.

    Attributes:
        batches_per_epoch (`int`): the same for every epoch.

    Raises:
        RecipeError: fewer tokens than a batch takes.
    """

    def __init__(self, rows, lengths, tokens_per_batch, seed=0, name="The data", group=group_blocks):
        self.rows, self.lengths, self.tokens_per_batch, self.seed = rows, lengths, tokens_per_batch, seed
        self.group = group
        self._epoch = (None, None)
        check_tokens(name, lengths.sum(), tokens_per_batch)
        self.batches_per_epoch = len(self._batches(0))

    def _batches(self, epoch):
        if self._epoch[0] != epoch:
            rng = np.random.default_rng([self.seed, 2, epoch])
            self._epoch = (epoch, self.group(self.lengths, self.tokens_per_batch, rng))
        return self._epoch[1]

    def batch(self, place):
        """Rows of the batch that stands at `place`, counted over all epochs."""
        epoch, position = divmod(place, self.batches_per_epoch)
        return self.rows[self._batches(epoch)[position]]
