"""AdamW, and Muon for the hidden matrices with AdamW for the rest, as one optimizer."""

import torch

from .muon import BatchedMuon
from .parts import parameter_groups


def adamw(model, lr=1e-5, learning_rates=None, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0):
    """`torch.optim.AdamW` over `parameter_groups`, in one kernel for many parameters."""
    groups = [_options(each) for each in parameter_groups(model, lr, learning_rates, weight_decay)]
    return torch.optim.AdamW(groups, lr=lr, betas=tuple(betas), eps=eps, fused=True)


class MuonWithAdamW(torch.optim.Optimizer):
    """
    Muon (`training/optim/muon.py`) for the 2-D weights inside the layers, of adapters too, and `torch.optim.AdamW` for
    embeddings, norms, queries, mask embedding and projector (https://kellerjordan.github.io/posts/muon).

    Args:
        model ([`C3Model`] or `peft.PeftModel`): the model; parameters that need no gradient are left out.
        lr (`float`): AdamW's learning rate.
        muon_lr (`float`): Muon's; the update of a matrix is scaled by sqrt(max(1, rows / columns)).
        learning_rates (`dict[str, float]`, *optional*): AdamW's rate of single parts (`parts.py`); Muon's rate of that
            part changes in the same proportion.
        momentum (`float`): Muon's, in Nesterov's form.
        betas (`tuple[float, float]`): AdamW's.
        weight_decay (`float`): for the hidden matrices only.
        ns_steps (`int`): Newton-Schulz iterations of an update.

    Raises:
        ValueError: the model has no trainable matrices inside `layers`.
    """

    def __init__(
        self,
        model,
        lr=3e-3,
        muon_lr=0.02,
        learning_rates=None,
        momentum=0.95,
        betas=(0.9, 0.95),
        weight_decay=0.0,
        ns_steps=5,
    ):
        hidden, rest, _ = muon_groups(model, lr, muon_lr, learning_rates, weight_decay)
        self.optimizers = [BatchedMuon(hidden, lr=muon_lr, momentum=momentum, ns_steps=ns_steps)]
        if rest:  # nothing is, where adapters alone are trained
            self.optimizers.append(torch.optim.AdamW(rest, lr=lr, betas=tuple(betas), fused=True))
        # The rate among the defaults is for schedules that read it there, such as the polynomial one.
        super().__init__([group for each in self.optimizers for group in each.param_groups], {"lr": lr})
        self._share()

    def _share(self):
        # A scheduler writes learning rates into this object's groups and the parts read theirs: they are the same.
        self.param_groups = [group for each in self.optimizers for group in each.param_groups]

    def __getstate__(self):
        # torch's own, which copies and pickles use, would leave the two optimizers out.
        return super().__getstate__() | {"optimizers": self.optimizers}

    @torch.no_grad()
    def step(self, closure=None):
        """One step of both; returns what `closure` returns."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for each in self.optimizers:
            each.step()
        return loss

    def state_dict(self):
        """The optimizers' states, `{"optimizers": [Muon's, AdamW's]}`."""
        return {"optimizers": [each.state_dict() for each in self.optimizers]}

    def load_state_dict(self, state_dict):
        """Loads what `state_dict` gave; `ValueError` for the state of another optimizer."""
        if set(state_dict) != {"optimizers"}:
            raise ValueError("This is not a state of MuonWithAdamW: the checkpoint was written with another optimizer.")
        for each, state in zip(self.optimizers, state_dict["optimizers"], strict=True):
            each.load_state_dict(state)
        self._share()


def make_optimizer(model, name, *, zero_stage=0, **options):
    """
    The optimizer of a recipe.

    Args:
        model (`C3Model`): the model, or a `PeftModel` of it.
        name (`str`): one of `OPTIMIZERS`.
        zero_stage (`int`): above 0, Muon is DeepSpeed's, see `training/optim/zero_muon.py`.
        **options: keywords of the optimizer.
    """
    if name == "muon" and zero_stage:
        from .zero_muon import zero_muon

        hidden, rest, others = muon_groups(model, **options)
        return zero_muon(hidden, rest, **others)
    return OPTIMIZERS[name](model, **options)


def muon_groups(model, lr=3e-3, muon_lr=0.02, learning_rates=None, weight_decay=0.0, **others):
    """
    Groups of matrices for Muon, groups of the rest for AdamW, each with `lr` and `weight_decay`, and the keywords that
    are left.

    Raises:
        ValueError: there is nothing for Muon.
    """
    groups = parameter_groups(model, lr, learning_rates, weight_decay)
    hidden = [_options(each) | {"lr": muon_lr * each["lr"] / lr} for each in groups if each["hidden"]]
    rest = [_options(each) | {"weight_decay": 0.0} for each in groups if not each["hidden"]]
    if not hidden:
        raise ValueError("Muon needs trainable matrices inside `layers`, and found none; use another optimizer.")
    return hidden, rest, others


def _options(group):
    """What torch is to see of a group of `parameter_groups`."""
    return {name: group[name] for name in ("params", "lr", "weight_decay")}


OPTIMIZERS = {"muon": MuonWithAdamW, "adamw": adamw}
