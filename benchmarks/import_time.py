"""
Starting: `import c3` and `c3 --help`, each in a Python process of its own.

Baseline: `import transformers`, which is lazy; Python's own start and `import torch` stand beside it. Floor: Python's
start. To be reached: at most 0.3 s more than `import transformers`, and `c3 --help` without importing torch.
"""

import subprocess
import sys

from .fresh_process import python_seconds
from .harness import Benchmark, at_most, check_row, of_cpu_alone, summarize, value_row

HELP = "import sys; from c3.cli.main import main; main(['--help']); sys.exit('torch' in sys.modules)"
COMMANDS = {
    "import transformers": ("-c", "import transformers"),
    "import c3": ("-c", "import c3"),
    "c3 --help": ("-m", "c3", "--help"),
    "Python's start": ("-c", "pass"),
    "import torch": ("-c", "import torch"),
}
BASELINE = "import transformers"
JUDGED = ("import c3", "c3 --help")


def measure(setup):
    seconds = setup.alternate(*(lambda argv=argv: python_seconds(*argv) for argv in COMMANDS.values()))
    found = dict(zip(COMMANDS, seconds, strict=True))
    rows = []
    for name in COMMANDS:
        more = summarize([ours - theirs for ours, theirs in zip(found[name], found[BASELINE], strict=True)])
        if name != BASELINE:
            rows.append(
                value_row(
                    f"{name}, more than {BASELINE}",
                    more["median"],
                    "s",
                    at_most(0.3) if name in JUDGED else None,
                    quartiles=more["quartiles"],
                    ours=summarize(found[name]) | {"unit": "s"},
                    baseline=summarize(found[BASELINE]) | {"unit": "s"},
                )
            )
    torch_was_imported = subprocess.run([sys.executable, "-c", HELP], stdout=subprocess.DEVNULL).returncode
    return [*rows, check_row("c3 --help without torch", float(not torch_was_imported))]


BENCHMARK = Benchmark("import c3 and c3 --help against import transformers", measure, why_not=of_cpu_alone)
