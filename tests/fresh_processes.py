"""
Python processes that know nothing of the tests' own. Each is forked from one that has imported torch and nothing that
reads a variable or knows of C3: that is most of what would take seconds every time.
"""

import functools
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

# Reads a job a line, forks, and answers with the exit code; the fork goes on below the loop, as `python -c` would.
SERVER = """
import json, os, signal, sys
import torch._dynamo, torch.distributed.checkpoint, torch.distributed.tensor

for line in sys.stdin:
    if not os.fork():
        break
    print(os.waitstatus_to_exitcode(os.wait()[1]), flush=True)
else:
    sys.exit()

job = json.loads(line)
signal.alarm(job["timeout"])
for number, path in enumerate((os.devnull, job["stdout"], job["stderr"])):
    os.dup2(os.open(path, os.O_RDWR), number)
os.environ.clear()
os.environ.update(job["variables"])
os.chdir(job["folder"])
sys.path[1:1] = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
sys.argv = ["-c", *job["arguments"]]
exec(compile(job["program"], "<string>", "exec"), {"__name__": "__main__"})
"""

# The program that `python -m c3` runs.
RUN_C3 = 'import runpy; runpy.run_module("c3", run_name="__main__", alter_sys=True)'


@functools.cache
def _server():
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-c", SERVER]
    return subprocess.Popen(command, env=variables, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8")


def run_fresh(program, *arguments, variables=None, folder=".", timeout=300):
    """
    What `python -c program arguments…` does in a folder, with these environment variables (by default those of the
    tests), no standard input, and at most `timeout` seconds.

    Example: `run_fresh("import sys; print(sys.argv[1])", "a").stdout == "a\\n"`.

    Returns: `subprocess.CompletedProcess` with texts.
    """
    with tempfile.TemporaryDirectory() as outputs:
        stdout, stderr = (Path(outputs, name) for name in ("stdout", "stderr"))
        stdout.touch()
        stderr.touch()
        job = {
            "program": program,
            "arguments": list(map(str, arguments)),
            "variables": dict(os.environ if variables is None else variables),
            "folder": os.path.abspath(folder),
            "timeout": timeout,
            "stdout": str(stdout),
            "stderr": str(stderr),
        }
        server = _server()
        print(json.dumps(job), file=server.stdin, flush=True)
        code = int(server.stdout.readline())
        return subprocess.CompletedProcess(program, code, *(each.read_text("utf-8") for each in (stdout, stderr)))
