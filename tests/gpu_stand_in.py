"""
A stand-in for a GPU on machines without one: tensors "on cuda:0" are kept and computed with on the CPU, but raise, as
those of a GPU do, where they meet tensors of the CPU or are asked for their numbers without being brought back. So it
finds what would fail on a GPU, and nothing of how fast or exact one is.
"""

from contextlib import contextmanager
from unittest.mock import patch

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

IS_NEEDED = not torch.cuda.is_available()
GPU = torch.device("cuda", 0)
aten = torch.ops.aten
# Where torch takes tensors of both: what brings numbers over, and places on the CPU in a tensor on a GPU.
COPIES = (aten.copy_.default, aten._to_copy.default)
INDEXING = (aten.index.Tensor, aten.index_put_.default, aten.index_put.default)


class TensorOnGpu(torch.Tensor):
    """A tensor that says it is on the GPU; `held` has its numbers."""

    @staticmethod
    def __new__(cls, held):
        # For C++ it is on the CPU: that of a build without CUDA knows no other device.
        facts = {"strides": held.stride(), "storage_offset": held.storage_offset(), "dtype": held.dtype}
        made = torch.Tensor._make_wrapper_subclass(cls, held.shape, **facts)
        made.held = held
        return made

    device = property(lambda self: GPU)
    is_cuda = property(lambda self: True)

    def tolist(self):
        return self.held.tolist()

    def numpy(self, **options):
        raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() first")

    def cpu(self):
        return self.held.clone()

    def to(self, *args, copy=False, **options):
        other = [each for each in args if isinstance(each, torch.Tensor)]
        device, dtype, *_ = (other[0].device, other[0].dtype) if other else torch._C._nn._parse_to(*args, **options)
        if device is not None and device.type == "cpu":
            return self.held.to(dtype or self.dtype, copy=True)
        is_same = dtype in (None, self.dtype)
        return self if is_same and not copy else super().to(dtype or self.dtype, copy=copy)

    def __deepcopy__(self, memo):
        copied = self.detach().clone()
        is_parameter = isinstance(self, torch.nn.Parameter)
        return memo.setdefault(id(self), torch.nn.Parameter(copied, self.requires_grad) if is_parameter else copied)

    def __repr__(self):
        return f"TensorOnGpu({self.held})"

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        with Computing():
            return func(*args, **(kwargs or {}))


class Computing(TorchDispatchMode):
    """Runs each operation on what tensors on the GPU hold; raises `RuntimeError` where they meet those of the CPU."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        known, has_others = {}, False

        def hold(value):
            nonlocal has_others
            if isinstance(value, TensorOnGpu):
                known[id(value.held)] = value
                return value.held
            if isinstance(value, torch.Tensor):
                # Single numbers may come from anywhere.
                has_others = has_others or value.ndim > 0
            return value

        held = [_each(hold, value) for value in args]
        held_by_name = {name: _each(hold, value) for name, value in kwargs.items()}
        indexed = func in INDEXING and isinstance(args[0], TensorOnGpu)
        if known and has_others and func not in COPIES and not indexed:
            raise RuntimeError(f"{func}: Expected all tensors to be on the same device, but found cuda:0 and cpu")
        is_ours = isinstance(args[0], TensorOnGpu) if func is aten.copy_.default else bool(known)
        if kwargs.get("device") is not None:
            is_ours = kwargs["device"].type == "cuda"
            held_by_name["device"] = torch.device("cpu")
        if is_ours and kwargs.get("generator") is not None:
            raise RuntimeError("Expected a 'cuda' device type for generator but found 'cpu'")
        found = func(*held, **held_by_name)
        if not is_ours or func is aten._local_scalar_dense.default:
            return found
        # What an operation in place returns is what it was given.
        return _each(lambda value: known[id(value)] if id(value) in known else _on_gpu(value), found)


class NamingDevices(TorchFunctionMode):
    """Calls torch with `cuda:0` where `cuda` is said, of which C++ would ask CUDA for the number."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is torch.device:
            return func(*args, **(kwargs or {}))
        kwargs = kwargs or {}
        if any(isinstance(each, str | torch.device) for each in (*args, *kwargs.values())):
            args = [_numbered(each) for each in args]
            kwargs = {name: _numbered(each) for name, each in kwargs.items()}
        if func in (torch.tensor, torch.as_tensor) and kwargs.get("device") == GPU:
            # Made without asking the mode above.
            return func(*args, **kwargs | {"device": "cpu"}).to(GPU)
        return func(*args, **kwargs)


def _each(function, value):
    """A function of a value, or of each in a list or tuple."""
    return type(value)(map(function, value)) if type(value) in (list, tuple) else function(value)


def _on_gpu(value):
    return TensorOnGpu(value) if isinstance(value, torch.Tensor) else value


def _numbered(value):
    return GPU if isinstance(value, str | torch.device) and str(value) in ("cuda", "cuda:0") else value


@contextmanager
def stand_in_gpu():
    """Meanwhile there is a GPU, `cuda`, in this process, see above; where there is one anyway it is that."""
    if not IS_NEEDED:
        yield
        return
    swaps = torch.__future__.get_swap_module_params_on_conversion()
    # So that weights which parts share still are one after `model.to`.
    torch.__future__.set_swap_module_params_on_conversion(True)
    facts = {
        "_lazy_init": None,
        "is_available": True,
        "synchronize": None,
        "get_device_name": "a stand-in",
        "max_memory_allocated": 1,
        "reset_peak_memory_stats": None,
    }
    try:
        with patch.multiple(torch.cuda, **{name: _giving(value) for name, value in facts.items()}):
            with NamingDevices(), Computing():
                yield
    finally:
        torch.__future__.set_swap_module_params_on_conversion(swaps)


def _giving(value):
    return lambda *args, **kwargs: value
