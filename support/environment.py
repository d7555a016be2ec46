"""What a model was trained on: devices and library versions."""

import platform
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

CPU_INFO = "/proc/cpuinfo"
LIBRARIES = "torch transformers tokenizers accelerate datasets peft deepspeed liger-kernel".split()


def describe_hardware(device_type, count=1):
    """
    Args:
        device_type (`str`): of the run's devices, as in `TrainingArguments.device.type`.
        count (`int`): devices of all processes together; on CPUs, processes.

    Returns: `str`, for example `4 x NVIDIA H200`.
    """
    import torch

    if device_type == "cuda":
        return f"{count} x {torch.cuda.get_device_name()}"
    if device_type == "cpu":
        return f"{count} x {torch.get_num_threads()} threads of {_cpu_name()}"
    return f"{count} x {device_type}"


def library_versions():
    """Versions of Python, of c3 and of the libraries that are installed, `dict[str, str]`."""
    from c3.version_c3 import VERSION

    versions = {"c3": VERSION, "Python": platform.python_version()}
    for name in LIBRARIES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions


def _cpu_name():
    try:
        named = re.search(r"^model name\s*:\s*(.+)$", Path(CPU_INFO).read_text(), re.MULTILINE)
    except OSError:
        named = None
    return named[1].strip() if named else platform.processor() or platform.machine()
