"""
A C3 of 1.5B + 3B on a CPU: converting, loading, compressing and reconstructing at true sizes, and what they cost.

    python -m benchmarks.large_cpu [--size qwen2.5-1.5b+3b] [--folder DIR] [--stages NAME …] [--output FILE]

It writes a checkpoint of random weights in the layout of the authors' release (bfloat16, 9.3 GB at the true size), runs
`c3 convert` on it and measures what comes out. Neither the weights' values nor the text's words change how long anything takes.

Baselines:

* **Compress** against a bare forward pass of the encoder (`Qwen2Model`, no cache) on as many positions: the text's tokens, the
  queries and the two tokens around them. 1.05 times its time is the limit. The pass over the text's tokens alone is given too.
* The same against the encoder run as the authors' code runs it: a `Qwen2ForCausalLM` with logits at all positions, the hidden
  states of all layers kept, and its cache.
* **Reconstruction** against a loop of the bare decoder (`Qwen2ForCausalLM` with its cache, argmax) over the same prompt.

Timings alternate on the same weights in one process. Peak memory is the largest resident set of a process of its own, which
loads only what it needs; pages of weights files that are mapped into memory count in it. The stages run one after the other,
each in its own process; with --folder what they find is kept there, with the weights, and a later call goes on from it.
"""

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[1]
RESULTS = "large_cpu.json"
AUTHORS, CONVERTED = "authors", "converted"
LIMIT = 1.05
# Beyond the weights themselves: Python with its libraries, activations, logits, a shard that is being written.
SPARE_MEMORY = 2 << 30
SPARE_DISK = 1 << 30


def main(argv=None):
    arguments = _parse(argv)
    if arguments.run:
        print(json.dumps(STAGES[arguments.run](arguments.folder, arguments)))
        return
    with _workplace(arguments.folder) as folder:
        found = run_stages(folder, arguments)
    print(to_markdown(found))
    if arguments.output:
        arguments.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
