"""What steps leave to be looked at, read from the device now and then: a look waits until the device is done."""

import torch

from c3.decoder_rows_c3 import IGNORED_LABEL
from c3.training.devices.distributed import least_of_all

# Micro-batches between two looks.
BETWEEN_LOOKS = 16
MASKS = ("attention_mask", "context_attention_mask")


class StepTally:
    """
    Losses, learned tokens and padding of a process's micro-batches.

        tally = StepTally(args.device)
        tally.add(step, inputs, loss)
        tally.look()

    Args:
        device (`torch.device`): of the run.

    Attributes:
        bad_step (`int`, *optional*): the first step whose loss was not a finite number, in any process, known after a
            look; `bad_loss` (`float`, *optional*) is this process's loss there, if it was here.
        learned (`int`): tokens that were learned from, of this process.
    """

    def __init__(self, device):
        self.device = device
        self.bad_step = self.bad_loss = None
        self.learned = 0
        self._steps, self._losses, self._learned = [], [], []
        self._filled, self._positions = [], 0

    def add(self, step, inputs, loss):
        """Takes note of a micro-batch (`dict`) of a step (`int`) and its loss (`torch.Tensor`)."""
        self._steps.append(step)
        self._losses.append(loss)
        self._learned.append((inputs["labels"] != IGNORED_LABEL).sum())
        for mask in (inputs[name] for name in MASKS if name in inputs):
            self._filled.append((mask > 0).sum())
            self._positions += mask.numel()

    @property
    def is_full(self):
        """Whether it is time for a look."""
        return len(self._steps) >= BETWEEN_LOOKS

    def look(self):
        """Reads what was added since the last look. Every process must look equally often."""
        losses = [float(each) for each in _read(self._losses)]
        bad = [place for place, loss in enumerate(losses) if loss - loss != 0]
        first = self._steps[bad[0]] if bad else torch.iinfo(torch.long).max
        least = least_of_all(first, self.device)
        if least < torch.iinfo(torch.long).max:
            self.bad_step, self.bad_loss = least, losses[bad[0]] if first == least else None
        self.learned += sum(int(each) for each in _read(self._learned))
        self._steps, self._losses, self._learned = [], [], []

    def padding(self):
        """The share of positions since the last call that were padding (`float`); None where there were none."""
        if not self._positions:
            return None
        share = 1 - sum(int(each) for each in _read(self._filled)) / self._positions
        self._filled, self._positions = [], 0
        return share


def _read(scalars):
    """`list` of the numbers in tensors of one, in one copy."""
    return torch.stack(scalars).tolist() if scalars else []
