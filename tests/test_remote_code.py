"""What a saved checkpoint carries as remote code: which files, and that they need nothing that is not there."""

import ast
import sys
from pathlib import Path

import pytest
from transformers.dynamic_module_utils import check_imports, get_imports, get_relative_imports

import c3

ROOT = Path(c3.__file__).parent
# Registers C3 where the package is installed; a checkpoint's config.json says the same.
NOT_CARRIED = {"auto_c3.py"}
CARRIED = sorted(path.name for path in ROOT.glob("*_c3.py") if path.name not in NOT_CARRIED)
# What C3 is installed with, beside Python's own: transformers asks for every import of every file before it loads one.
LIBRARIES = {"torch", "transformers", "safetensors", "huggingface_hub", "numpy", "tqdm"}
BUILT_IN = set(sys.stdlib_module_names)


def imports(name):
    """Modules that a file of the root imports, from elsewhere and relatively; those inside `try:` left out."""
    outside, inside = set(), set()

    def visit(node):
        if isinstance(node, ast.Import):
            outside.update(each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level:
            # One dot and one name: a checkpoint's folder has no sub-packages, and `from . import x` is not followed.
            assert node.level == 1 and node.module and "." not in node.module, f"{name}: line {node.lineno}"
            inside.add(node.module)
        elif isinstance(node, ast.ImportFrom):
            outside.add(node.module)
        elif isinstance(node, ast.Try):
            for each in (*node.handlers, *node.orelse, *node.finalbody):
                visit(each)
        else:
            for each in ast.iter_child_nodes(node):
                visit(each)

    visit(ast.parse((ROOT / name).read_text(encoding="utf-8")))
    return outside, inside


def test_a_checkpoint_carries_the_root_s_modules(checkpoint):
    assert sorted(path.name for path in checkpoint.glob("*.py")) == CARRIED
    for name in CARRIED:
        assert (checkpoint / name).read_bytes() == (ROOT / name).read_bytes()
    assert not [path for path in checkpoint.iterdir() if path.is_dir()]


@pytest.mark.parametrize("name", CARRIED)
def test_they_import_what_is_there(name):
    outside, inside = imports(name)
    libraries = {each.split(".")[0] for each in outside}
    assert libraries <= LIBRARIES | BUILT_IN and "__future__" not in libraries
    # As transformers reads them, which takes a line of a docstring for an import too.
    assert set(get_imports(ROOT / name)) <= LIBRARIES | BUILT_IN
    assert set(get_relative_imports(ROOT / name)) == inside
    assert {f"{each}.py" for each in inside} <= set(CARRIED)
    assert set(check_imports(ROOT / name)) == inside
