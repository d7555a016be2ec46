"""Where placeholders stand in a batch: found where it is made, since reading it off a GPU waits for all of its work."""

from dataclasses import dataclass, replace

import torch

from .packing_c3 import is_packed


@dataclass(frozen=True, eq=False)
class Placeholders:
    """
    The placeholders of a batch of rows, and what else of it a forward pass would have to read off the device.

        batch["latent_places"] = Placeholders.find(batch["input_ids"], batch["attention_mask"], latent_token_id)
        loss = model(**batch).loss

    Args:
        index (`torch.LongTensor` of shape `(placeholders,)`): their places in the flattened rows, window by window.
        padded (`bool`): whether rows have padding.
        packed (`bool`): whether rows hold several windows, see `packing_c3.py`.
        most (`int`): placeholders of the row, or of packed rows the window, that has the most.
    """

    index: torch.Tensor
    padded: bool
    packed: bool
    most: int

    @classmethod
    def find(cls, ids, mask, token_id):
        """
        Args:
            ids (`torch.LongTensor` of shape `(rows, length)`): with `token_id` (`int`) at placeholders.
            mask (`torch.Tensor` of shape `(rows, length)`): 0 at padding; of packed rows the numbers of windows.
        """
        packed = is_packed(mask)
        index = (ids.flatten() == token_id).nonzero().flatten()
        numbers = mask.flatten()[index].long() if packed else index // max(1, ids.shape[1])
        if packed:
            numbers, order = numbers.sort(stable=True)
            index = index[order]
        most = int(numbers.bincount().max()) if len(index) else 0
        return cls(index, not bool(mask.all()), packed, most)

    def __eq__(self, other):
        if not isinstance(other, Placeholders):
            return NotImplemented
        said = ((each.padded, each.packed, each.most) for each in (self, other))
        return len({*said}) == 1 and torch.equal(self.index, other.index)

    def take(self, states):
        """What stands there of `states` (`(rows, length, D)`), `torch.Tensor` of shape `(placeholders, D)`."""
        return states.flatten(0, 1).index_select(0, self.index.to(states.device))

    def put(self, rows, values):
        """`rows` (`(rows, length, D)`) with `values` (`(placeholders, D)`) there, as a new `torch.Tensor`."""
        return rows.flatten(0, 1).index_copy(0, self.index.to(rows.device), values).view_as(rows)

    def to(self, device, non_blocking=False):
        """The same on a device."""
        return replace(self, index=self.index.to(device, non_blocking=non_blocking))

    def pin_memory(self):
        """The same in memory that a GPU reads by itself: `DataLoader` asks for it."""
        return replace(self, index=self.index.pin_memory())


__all__ = ["Placeholders"]
