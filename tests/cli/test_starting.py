"""What starts at once: the help, the version, the bare import."""

import configparser
from pathlib import Path

import c3
from c3.version_c3 import VERSION
from command_line import python


def test_help_and_version_load_no_torch():
    script = """
import sys
from c3.cli.main import main
for line in ("--help", "--version", "compress --help", "ask --help", "info", "ask --raw", "serve --help"):
    main(line.split())
loaded = {"torch", "transformers", "numpy"} & set(sys.modules)
assert not loaded, loaded
"""
    done = python("-c", script)
    assert done.returncode == 0, done.stderr
    assert f"c3 {VERSION}\n".encode() in done.stdout
    for command in (b"demo", b"compress", b"expand", b"info", b"generate", b"ask", b"serve"):
        assert command in done.stdout


def test_import_is_lazy_and_registers():
    script = """
import sys
import c3
assert "torch" not in sys.modules and set(c3.__all__) <= set(dir(c3))
try:
    c3.nothing
except AttributeError as error:
    assert "has no attribute 'nothing'" in str(error)
from c3 import C3Config
from transformers import AutoConfig
assert AutoConfig.for_model("c3").__class__ is C3Config
"""
    done = python("-c", script)
    assert done.returncode == 0, done.stderr


def test_one_version():
    setup = configparser.ConfigParser()
    setup.read(Path(c3.__file__).parent / "setup.cfg", encoding="utf-8")
    assert setup["metadata"]["version"] == "attr: c3.version_c3.VERSION"
    assert c3.__version__ == VERSION
