"""Commands that read their own arguments: who does, and what they need installed."""

import re
import sys
from types import SimpleNamespace

import pytest

from c3.cli.main import COMMANDS
from c3.cli.own_parsers import OWN_PARSERS
from c3.support.errors import CommandError, UserError

FUNCTIONS = {
    "train": ("c3.training.command", "train_command"),
    "eval": ("c3.eval.command", "evaluate"),
    "bench": ("c3.benchmarks.command", "bench"),
    "compare": ("c3.training.like_for_like", "compare"),
    "publish": ("c3.training.publish.command", "push_command"),
    "merge-lora": ("c3.training.publish.merge_lora", "merge_command"),
    "attach-adapter": ("c3.training.publish.attach_adapter", "attach_command"),
}


@pytest.fixture(params=FUNCTIONS)
def command(request, monkeypatch):
    """`command(function)` puts a function in the place of one that reads the arguments; returns the command's name."""
    module, name = FUNCTIONS[request.param]

    def replace(function):
        monkeypatch.setitem(sys.modules, module, function and SimpleNamespace(**{name: function}))
        return request.param

    return replace


def test_the_help_lists_all_commands(run):
    code, out, _ = run("--help")
    assert code == 0 and set(OWN_PARSERS) == set(FUNCTIONS)
    assert re.findall(r"^    ([a-z-]+)(?= |$)", out, re.MULTILINE) == [*COMMANDS, *OWN_PARSERS]


def test_arguments_and_exit_codes_are_theirs(command, run):
    given = []
    name = command(lambda argv, prog: given.append((argv, prog)))
    assert run(name, "recipe.yaml", "--dry-run") == (0, "", "")
    assert given == [(["recipe.yaml", "--dry-run"], f"c3 {name}")]
    command(lambda argv, prog: 7)
    assert run(name)[0] == 7


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (UserError("wrong"), 2, "wrong"),
        (OSError(28, "No space left on device", "run"), 2, "run: No space left on device"),
        (CommandError("the Hub says no: log in"), 1, "the Hub says no: log in"),
        (KeyError("bug"), 1, "KeyError: 'bug'"),
    ],
)
def test_errors_are_one_line(command, run, error, code, line):
    def fail(argv, prog):
        raise error

    name = command(fail)
    found, out, err = run(name)
    assert (found, out) == (code, "") and err.splitlines()[-1] == f"c3: error: {line}"
    # There is no --debug that could show where.
    assert err.startswith("Traceback") == (type(error) is KeyError) == (err.count("\n") > 1)


def test_what_is_not_installed(command, run):
    name = command(None)
    extra = name if name in ("eval", "bench") else "train"
    code, out, err = run(name)
    assert (code, out, err.count("\n")) == (2, "", 1)
    advice = f"Install c3 with its extra {extra}, in a checkout: pip install -e .[{extra}]\n"
    assert err.startswith("c3: error: ") and err.endswith(advice) and FUNCTIONS[name][0] in err
