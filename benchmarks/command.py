"""`c3 bench`: the ratios to baselines, and beside them what is measured on its own."""

from c3.support.errors import needing

from . import ratios

OTHERS_HELP = """
Measured on their own (c3 bench NAME --help):
  profile           where the time of compress and of expand goes
  large-cpu         a C3 of 1.5B + 3B on a CPU: converting, loading, compressing, reconstructing
  train-step        where the time of a training step goes, on the host and on the device
  train-throughput  a whole training step against its bare forward and backward passes
"""


def profile(argv, prog):
    with needing("bench"):
        from .profile import profile_command

    return profile_command(argv, prog)


def large_cpu(argv, prog):
    with needing("bench"):
        from .large_cpu import large_cpu_command

    return large_cpu_command(argv, prog)


def train_throughput(argv, prog):
    with needing("bench"):
        from .train_throughput import train_throughput_command

    return train_throughput_command(argv, prog)


def train_step(argv, prog):
    with needing("bench"):
        from .step_timing import train_step_command

    return train_step_command(argv, prog)


# Imported when they are asked for: training needs more libraries.
OTHERS = {"profile": profile, "large-cpu": large_cpu, "train-step": train_step, "train-throughput": train_throughput}


def bench(argv, prog):
    """Runs the command; returns its exit code. Raises `OSError`, `ValueError` saying in one line what is wrong."""
    if argv[:1] and argv[0] in OTHERS:
        return OTHERS[argv[0]](argv[1:], f"{prog} {argv[0]}")
    return ratios.ratios_command(argv, prog, epilog=OTHERS_HELP)
