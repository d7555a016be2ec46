"""Muon that orthogonalises matrices of one shape together, whole or in blocks, in a dtype the device is fast in."""

import torch

from .orthogonalise import orthogonalise

# Numbers in one batch: larger ones gain no speed, and would take memory for copies of a whole model.
BATCH_NUMBERS = 1 << 22


class BatchedMuon(torch.optim.Muon):
    """
    `torch.optim.Muon`, whose updates it equals but for rounding, faster for many small matrices.

    With a `block_size` the longer side of every matrix (the rows of a square one) is cut into blocks of so many, each
    of which is orthogonalised by itself, as Group Muon does to groups of heads (arXiv 2605.08933). With a
    `block_period` as well, whole matrices are orthogonalised in every so many-th step, the first among them:
    block-periodic Muon (MuonBP, arXiv 2510.16981). The arithmetic falls with the size of the blocks; the root mean
    square of an update stays that of the whole matrix's.

    Args:
        params: as for `torch.optim.Muon`.
        block_size (`int`, *optional*): must divide the longer side of every matrix above it.
        block_period (`int`, *optional*): steps from one with whole matrices to the next; without it there are none.
        **options: as for `torch.optim.Muon`.

    Raises:
        ValueError: a matrix that cannot be cut into such blocks, or a period without a size.
    """

    def __init__(self, params, block_size=None, block_period=None, **options):
        if block_period and not block_size:
            raise ValueError("optimizer.block_period: without optimizer.block_size there are no blocks.")
        super().__init__(params, **options)
        for group in self.param_groups:
            # In the groups, so that copies and saved states have it.
            group |= {"block_size": block_size, "block_period": block_period, "steps_done": 0}
            for parameter in group["params"]:
                longest = max(parameter.shape)
                if block_size and longest > block_size and longest % block_size:
                    raise ValueError(
                        f"optimizer.block_size: {block_size} does not divide the longer side of a matrix of "
                        f"{' x '.join(map(str, parameter.shape))}."
                    )

    @torch.no_grad()
    def step(self, closure=None):
        """One step; returns what `closure` returns."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            params = [each for each in group["params"] if each.grad is not None]
            if params:
                self._step(group, params)
        return loss

    def _step(self, group, params):
        grads = [each.grad for each in params]
        for each in params:
            if "momentum_buffer" not in self.state[each]:
                self.state[each]["momentum_buffer"] = torch.zeros_like(each)
        buffers = [self.state[each]["momentum_buffer"] for each in params]
        torch._foreach_lerp_(buffers, grads, 1 - group["momentum"])
        updates = torch._foreach_lerp(grads, buffers, group["momentum"]) if group["nesterov"] else buffers
        if group["weight_decay"]:
            torch._foreach_mul_(params, 1 - group["lr"] * group["weight_decay"])
        by_shape, block_size = {}, self._block_size(group)
        polynomials = (group["ns_coefficients"],) * group["ns_steps"]
        for parameter, update in zip(params, updates, strict=True):
            scale = _adjustment(parameter, group["adjust_lr_fn"])
            places, pieces = (_blocks(each, block_size) for each in (parameter, update))
            scale *= (min(parameter.shape) / (len(pieces) * min(pieces[0].shape))) ** 0.5
            key = (pieces[0].shape, scale, update.dtype, update.device)
            by_shape.setdefault(key, []).extend(zip(places, pieces, strict=True))
        for (shape, scale, *_), blocks in by_shape.items():
            at_once = max(1, BATCH_NUMBERS // shape.numel())
            for start in range(0, len(blocks), at_once):
                places, pieces = zip(*blocks[start : start + at_once], strict=True)
                found = orthogonalise(torch.stack(pieces), polynomials, group["eps"])
                torch._foreach_add_(list(places), list(found.to(places[0].dtype)), alpha=-group["lr"] * scale)

    @staticmethod
    def _block_size(group):
        """That of this step, which is counted. States of torch.optim.Muon, which has no blocks, lack all of it."""
        period, done = group.get("block_period"), group.get("steps_done", 0)
        group["steps_done"] = done + 1
        return None if period and done % period == 0 else group.get("block_size")


def _adjustment(parameter, name):
    """What torch multiplies the learning rate of a matrix by, see `torch.optim.Muon`."""
    rows, columns = parameter.shape
    return 0.2 * max(rows, columns) ** 0.5 if name == "match_rms_adamw" else max(1, rows / columns) ** 0.5


def _blocks(matrix, block_size):
    """Views `[rows, columns]` of the blocks of a matrix, the shorter side first."""
    whole = matrix if matrix.shape[0] >= matrix.shape[1] else matrix.T
    blocks = whole.split(block_size or len(whole))
    return [each if each.shape[0] <= each.shape[1] else each.T for each in blocks]
