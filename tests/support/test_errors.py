"""One line and an exit code for whatever ends a command: `support/errors.py`, outside `c3` itself."""

import configparser
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from c3.support.errors import CommandError, UserError, needing, one_line_errors

ROOT = Path(__file__).resolve().parents[2]


def ended(capsys, error, **options):
    """The exit code, and what is on standard error."""
    with pytest.raises(SystemExit) as end, one_line_errors("python -m c3.eval fox", **options):
        raise error
    return end.value.code, capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (UserError("two\n  lines \x1b[2J"), 2, "two lines \\x1b[2J"),
        (ValueError("see allow_mismatch=True"), 2, "see --allow-mismatch"),
        (FileNotFoundError(2, "No such file", "pages"), 2, "pages: No such file"),
        (ImportError("PEFT is not installed"), 2, "PEFT is not installed"),
        (CommandError("the push failed"), 1, "the push failed"),
        (MemoryError(), 2, "out of memory"),
    ],
)
def test_what_is_foreseen_is_one_line(error, code, line, capsys):
    assert ended(capsys, error) == (code, f"c3.eval: error: {line}\n")


def test_what_nobody_foresaw_shows_where(capsys):
    code, said = ended(capsys, KeyError("bug"))
    assert code == 1 and said.startswith("Traceback") and said.endswith("c3.eval: error: KeyError: 'bug'\n")
    code, said = ended(capsys, KeyError("bug"), debug=False)
    assert (code, said) == (1, "c3.eval: error: KeyError: 'bug' (--debug shows where)\n")


def test_exit_codes_of_what_is_no_error(capsys):
    assert ended(capsys, KeyboardInterrupt()) == (130, "")
    assert ended(capsys, SystemExit(143)) == (143, "")
    with one_line_errors("c3"):
        pass


def test_out_of_memory_says_what_helps(capsys):
    assert ended(capsys, MemoryError(), advice="take less")[1] == "c3.eval: error: out of memory: take less\n"


@pytest.mark.parametrize("ends", ["", "; sys.exit(7)"])
def test_standard_output_that_is_closed_or_full(ends):
    script = f"import sys\nfrom c3.support.errors import one_line_errors\nwith one_line_errors('c3'): print('x'){ends}"
    # Buffered, as usual.
    environment = {**os.environ, "PYTHONUNBUFFERED": ""}
    command = [sys.executable, "-c", script]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)
    process.stdout.close()
    assert (process.stderr.read(), process.wait()) == (b"", 141)
    if os.path.exists("/dev/full"):
        with open("/dev/full", "w") as full:
            done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, env=environment)
        assert done.stderr.startswith(b"c3: error: standard output: No space left on device\n")
        assert done.returncode in (2, 120)  # Python tries again, and ends with its own code


def test_what_is_not_installed_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(
        UserError, match=r"datasets.*\. Install c3 with its extra train, .*: pip install -e \.\[train\]"
    ):
        with needing("train"):
            import datasets  # noqa: F401


def test_extras_are_named_in_one_way():
    """As an installation of a checkout, of extras that there are; in packages by `pip_install`."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    packages = [path.parent for path in ROOT.glob("[a-z]*/__init__.py")]
    files = [*ROOT.glob("*.py"), *ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
    files += [path for folder in packages for path in folder.rglob("*.py")]
    found = []
    for path in files:
        commands = re.findall(r"pip install .*?([^\s\"']+)\[([\w,{}]+)\]", path.read_text(encoding="utf-8"))
        found += [(path.relative_to(ROOT), what, extras) for what, extras in commands]
    assert len(found) > 10 and {what for _, what, _ in found} == {"."}
    assert {place.name for place, _, _ in found if place.parent.name and place.suffix == ".py"} == {"errors.py"}
    named = {extra for _, _, extras in found for extra in extras.split(",")} - {"{extra}"}
    assert named <= setup["options.extras_require"].keys()
