"""Muon that orthogonalises matrices of one shape together, in a dtype the device is fast in."""

import torch

from .orthogonalise import orthogonalise

# Numbers in one batch: on CPUs larger ones gain no speed, and would take memory for copies of a whole model; GPUs want
# few calls.
CPU_BATCH_NUMBERS, BATCH_NUMBERS = 1 << 22, 1 << 26


class BatchedMuon(torch.optim.Muon):
    """`torch.optim.Muon`, whose arguments and updates (but for rounding) it has, faster for many small matrices."""

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
        by_shape = {}
        for parameter, update in zip(params, updates, strict=True):
            place, piece = _wide(parameter), _wide(update)
            key = (piece.shape, _adjustment(parameter, group["adjust_lr_fn"]), update.dtype, update.device)
            by_shape.setdefault(key, []).append((place, piece))
        polynomials = (group["ns_coefficients"],) * group["ns_steps"]
        for (shape, scale, *_), matrices in by_shape.items():
            numbers = CPU_BATCH_NUMBERS if matrices[0][0].device.type == "cpu" else BATCH_NUMBERS
            at_once = max(1, numbers // shape.numel())
            for start in range(0, len(matrices), at_once):
                places, pieces = zip(*matrices[start : start + at_once], strict=True)
                found = orthogonalise(torch.stack(pieces), polynomials, group["eps"])
                torch._foreach_add_(list(places), list(found.to(places[0].dtype)), alpha=-group["lr"] * scale)


def _adjustment(parameter, name):
    """What torch multiplies the learning rate of a matrix by, see `torch.optim.Muon`."""
    rows, columns = parameter.shape
    return 0.2 * max(rows, columns) ** 0.5 if name == "match_rms_adamw" else max(1, rows / columns) ** 0.5


def _wide(matrix):
    """View of a matrix, the shorter side first."""
    return matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
