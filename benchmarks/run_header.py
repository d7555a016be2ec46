"""What the numbers of a run depend on; results of other machines, versions or code do not mix."""

import hashlib
import os
from pathlib import Path

import torch

from c3.support.environment import describe_hardware, library_versions
from c3.support.loading import PACKAGE


def describe(setup):
    """Everything that the numbers depend on, `dict`: the beginning of a result file."""
    text = setup.text_file and hashlib.sha256(Path(setup.text_file).read_bytes()).hexdigest()[:16]
    return {
        "size": setup.size,
        "device": setup.device,
        "dtype": setup.dtype,
        "machine": {
            "hardware": _hardware(setup.device),
            "cores": os.cpu_count(),
            "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9),
        },
        "threads": torch.get_num_threads(),
        "keeps_freed_memory": setup.keeps_freed_memory,
        "versions": library_versions(),
        "code": code_fingerprint(PACKAGE),
        "text": text,
        "runs": setup.runs,
        "warm_up": setup.warm_up,
        "smoke": setup.smoke,
        "long": setup.long,
    }


def _hardware(device):
    if device.startswith("cuda"):
        # Of that GPU, which need not be the current one.
        return f"1 x {torch.cuda.get_device_name(device)}"
    return describe_hardware(device.split(":")[0])


def code_fingerprint(package):
    """Of all code that is installed, `str`: the files of a package and of those inside it, which `tests/` is not."""
    digest = hashlib.sha256()
    for path in _files(package):
        digest.update(f"{path.relative_to(package).as_posix()}\n".encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def _files(package):
    inner = sorted(path.parent for path in package.glob("*/__init__.py"))
    return [*sorted(package.glob("*.py")), *(file for each in inner for file in _files(each))]
