"""Where the time of a training step goes: the parts of `Trainer`'s step, timed on the host and on the device."""

import statistics
import time
from contextlib import contextmanager
from functools import wraps

import torch
from torch.profiler import ProfilerActivity, profile
from transformers import TrainerCallback

from .random_training import wait_for

# Calls of a `Trainer` that are timed, by the name of their part, less those within; the rest of a step is "trainer".
PARTS = {
    "data": "get_batch_samples",
    "copies": "to_device",
    "forward": "compute_loss",
    "clipping": "_clip_grad_norm",
}
# Operations that must know a number, or how many there are, and so wait for the device: as torch names them.
WAITS = ("aten::_local_scalar_dense", "aten::nonzero", "aten::equal", "aten::_unique2", "aten::masked_select")
# Calls of CUDA, by what they count as.
LAUNCHES = ("cudaLaunchKernel", "cuLaunchKernel", "cudaGraphLaunch")
CUDA_WAITS = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize")


class StepClock(TrainerCallback):
    """
    Times the steps of a trainer and their parts.

        clock = StepClock(trainer)
        trainer.train()
        clock.medians(warm_up=5)

    The host's time is that of the thread where there is no GPU, so that what else the machine does does not count.

    Args:
        trainer ([`C3Trainer`]): before it trains; it is given this callback.
        profiled (`int`, *optional*): number, from 0, of a step whose operations are counted; its times are left out.
    """

    def __init__(self, trainer, profiled=None):
        self.trainer, self.profiled = trainer, profiled
        self.device = trainer.args.device
        self.now = time.perf_counter if self.device.type == "cuda" else time.thread_time
        self.steps, self.counts = [], None
        self._current, self._started, self._profiler = None, None, None
        self._open = []
        for part, name in PARTS.items():
            setattr(trainer, name, self._timed(part, getattr(trainer, name)))
        trainer.accelerator.backward = self._timed("backward", trainer.accelerator.backward)
        trainer.add_callback(self)

    def on_train_begin(self, args, state, control, optimizer=None, **kwargs):
        optimizer.step = self._timed("optimizer", optimizer.step)
        self._begin()

    def on_step_end(self, args, state, control, **kwargs):
        wait_for(self.device)
        self._current["step"] = self.now() - self._started
        if self._profiler is not None:
            self._profiler.__exit__(None, None, None)
            self.counts, self._profiler = count_operations(self._profiler, self.device), None
        else:
            self.steps.append(self._current)
        self._begin()

    def _begin(self):
        self._current = {}
        if self.profiled is not None and self.counts is None and len(self.steps) == self.profiled:
            activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * (self.device.type == "cuda")
            self._profiler = profile(activities=activities)
            self._profiler.__enter__()
        self._started = self.now()

    def _timed(self, part, function):
        @wraps(function)
        def timed(*args, **kwargs):
            with self._span(part):
                return function(*args, **kwargs)

        return timed

    @contextmanager
    def _span(self, part):
        events = None
        if self.device.type == "cuda":
            events = [torch.cuda.Event(enable_timing=True) for _ in range(2)]
            events[0].record()
        started = self.now()
        self._open.append(part)
        try:
            yield
        finally:
            self._open.pop()
            seconds = self.now() - started
            self._current[part] = self._current.get(part, 0.0) + seconds
            for outer in self._open[-1:]:
                self._current[outer] = self._current.get(outer, 0.0) - seconds
            if events:
                events[1].record()
                self._current.setdefault("events", {}).setdefault(part, []).append(events)

    def medians(self, warm_up):
        """
        `dict` of milliseconds, medians over the steps after the warm-up: `host` with `step`, its parts and what is left
        of it, `trainer`; on CUDA `device` with those parts between events of the device, those within included.
        """
        kept = self.steps[warm_up:]
        parts = [*PARTS, "backward", "optimizer"]
        host = {part: [1000 * step.get(part, 0.0) for step in kept] for part in ("step", *parts)}
        host["trainer"] = [step - sum(rest) for step, *rest in zip(*host.values(), strict=True)]
        found = {"host": {part: statistics.median(values) for part, values in host.items()}}
        if self.device.type == "cuda":
            device = {part: [_elapsed(step, part) for step in kept] for part in parts}
            found["device"] = {part: statistics.median(values) for part, values in device.items()}
        return found


def _elapsed(step, part):
    """Milliseconds of a part on the device."""
    return sum(first.elapsed_time(last) for first, last in step.get("events", {}).get(part, []))


def count_operations(profiler, device):
    """
    What a profiled stretch did, `dict[str, int]`: `operations` that Python or autograd dispatched, those of them that
    wait for the device (`waits`), and on CUDA the `kernels` launched and the host's `synchronisations`.
    """
    events = profiler.events()
    dispatched = [
        each
        for each in events
        if each.name.startswith("aten::") and not (each.cpu_parent and each.cpu_parent.name.startswith("aten::"))
    ]
    counts = {
        "operations": len(dispatched),
        "waits": sum(each.name in WAITS for each in events),
    }
    if device.type == "cuda":
        counts["kernels"] = sum(each.name.startswith(LAUNCHES) for each in events)
        counts["synchronisations"] = sum(each.name.startswith(CUDA_WAITS) for each in events)
    return counts
