"""Which package imports which: as docs/modules.svg shows it, and never upwards. Run: pytest tests/test_modules.py"""

import shutil
from pathlib import Path

import pytest

import draw_modules
import module_graph

ROOT = Path(__file__).resolve().parents[1]


def test_nothing_imports_upwards():
    """Nor in a circle, no file is too long, and setup.cfg lists every package."""
    assert module_graph.complaints() == []


def test_the_picture_is_that_of_the_imports():
    """If this fails: python docs/draw_modules.py"""
    assert (ROOT / "docs" / "modules.svg").read_text(encoding="utf-8") == draw_modules.draw()


@pytest.fixture
def house(tmp_path):
    """A small checkout in which everything is right: `house(path, code)` writes a file into it."""

    def write(path, code='"""Does something."""\n'):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(code, encoding="utf-8")

    for folder in (".", "cli", "eval", "eval/suites", "support"):
        write(f"{folder}/__init__.py")
    write("auto_c3.py", '"""Registers."""\nfrom .modeling_c3 import C3Model\n')
    write("modeling_c3.py", "from .version_c3 import VERSION\n")
    write("version_c3.py")
    write("eval/report.py", "from c3 import support\nfrom .suites import fox\n")
    write("eval/suites/fox.py", "import c3.modeling_c3\n")
    write("cli/main.py", "def main():\n    from c3.eval.report import table\n    from . import inputs\n")
    write("cli/inputs.py", "from ..eval.suites.fox import SUITE\n")
    write(
        "setup.cfg",
        "[options]\npackage_dir =\n  c3 = .\n  c3.cli = cli\n  c3.eval = eval\n  c3.eval.suites = eval/suites\n"
        "  c3.support = support\npackages =\n  c3\n  c3.cli\n  c3.eval\n  c3.eval.suites\n  c3.support\n",
    )
    write.root = tmp_path
    return write


def test_imports_are_found_however_they_are_written(house):
    modules = module_graph.find_modules(house.root)
    imports = module_graph.find_imports(house.root, modules)
    assert imports["c3.cli.main"] == {"c3.eval.report", "c3.cli.inputs"}
    assert imports["c3.cli.inputs"] == {"c3.eval.suites.fox"}
    assert imports["c3.eval.report"] == {"c3.support", "c3.eval.suites.fox"}
    assert imports["c3.eval.suites.fox"] == {"c3.modeling_c3"}
    assert imports["c3.modeling_c3"] == {"c3.version_c3"}
    assert module_graph.complaints(house.root) == []
    house("docs/x.py", "import c3.cli.main\n")  # not installed
    assert module_graph.complaints(house.root) == []


@pytest.mark.parametrize(
    ("path", "code", "said"),
    [
        (
            "eval/up.py",
            "def f():\n    from c3.cli.main import main\n",
            "c3.eval.up imports c3.cli.main, from eval up to cli",
        ),
        ("version_c3.py", "from .modeling_c3 import C3Model\n", "in a circle: c3.modeling_c3, c3.version_c3"),
        ("tests/test_x.py", "pass\n" * 401, "tests/test_x.py: 401 lines, more than 400"),
        (
            "eval/new/__init__.py",
            "",
            "eval/new: not listed in setup.cfg as c3.eval.new, in packages and package_dir",
        ),
        ("other.py", "", "other.py: belongs to no box of docs/module_graph.py"),
    ],
)
def test_what_must_not_be_is_said(path, code, said, house):
    house(path, code)
    assert module_graph.complaints(house.root) == [said]


def test_a_package_that_is_gone_is_said(house):
    shutil.rmtree(house.root / "eval" / "suites")
    house("eval/report.py")
    house("cli/inputs.py")
    assert module_graph.complaints(house.root) == ["setup.cfg: there is no package c3.eval.suites"]
    house("eval/__init__.py")
    (house.root / "support" / "__init__.py").rename(house.root / "support" / "loading.py")
    assert "support: has no __init__.py" in module_graph.complaints(house.root)


def test_the_picture_shows_arrows_that_no_others_imply(house):
    picture = draw_modules.draw(house.root)
    for arrow in ("cli imports eval", "eval imports support", "eval imports what a checkpoint carries"):
        assert picture.count(f"<title>{arrow}</title>") == 1
    house("cli/more.py", "import c3.support\n")  # as eval does, which cli imports
    assert draw_modules.draw(house.root).count("<title>") == picture.count("<title>")
    house("support/up.py", "import c3.cli\n")
    assert 'stroke="#c00"' in draw_modules.draw(house.root) and 'stroke="#c00"' not in picture
