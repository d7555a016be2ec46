"""Muon under ZeRO: DeepSpeed's own, which gathers whole matrices, with the settings of `MuonWithAdamW`."""

import torch


def zero_muon(hidden, rest, momentum=0.95, betas=(0.9, 0.95)):
    """
    ZeRO cuts weights and gradients into flat shares, of which `torch.optim.Muon` can make nothing. DeepSpeed's Muon
    orthogonalises whole gradients where ZeRO gathers them, and equals `MuonWithAdamW` as long as gradients are not
    clipped (`sharding.check_deepspeed`).

    Args:
        hidden (`list[dict]`): groups of matrices for Muon, `params`, `lr` and `weight_decay`.
        rest (`list[dict]`): groups of all other parameters for AdamW, likewise.
        momentum (`float`): Muon's, in Nesterov's form.
        betas (`tuple[float, float]`): AdamW's.

    Returns:
        `torch.optim.Optimizer` for `deepspeed.initialize`.
    """
    from deepspeed.runtime.zero.muon.muon_optimizer import MuonWithAuxAdam

    for groups, use_muon in ((hidden, True), (rest, False)):
        for group in groups:
            for parameter in group["params"]:
                # Where ZeRO looks it up.
                parameter.use_muon = use_muon
    groups = [
        {**group, "use_muon": True, "momentum": momentum, "ns_method": "standard", "name": f"muon-{index}"}
        for index, group in enumerate(hidden)
    ]
    groups += [
        {**group, "use_muon": False, "betas": tuple(betas), "eps": 1e-8, "name": f"adamw-{index}"}
        for index, group in enumerate(rest)
    ]
    fused = any(parameter.is_cuda for group in rest for parameter in group["params"])
    return MuonWithAuxAdam(groups, adam_optimizer=torch.optim.AdamW, adam_optimizer_kwargs={"fused": fused or None})
