"""
The modules of the package, what each imports, and in which box of `modules.svg` it belongs.

`complaints` is what must not be: imports that go upwards or to their own row, modules that import each other in a
circle, files of more than 400 lines, and packages that setup.cfg does not list.
"""

import ast
import configparser
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "c3"
MOST_LINES = 400
# What a run or a build has left.
SKIPPED = {"build", "dist", "runs"}
NOT_INSTALLED = {"docs", "examples", "space", "tests"}
CARRIED = "what a checkpoint carries"
# Rows from the top; nothing may import from its own row or from above. A box: its name, which is the beginning of its
# modules' names, and where it begins and ends, of 24.
ROWS = [
    [("cli", 0, 14.5), ("train_hf", 15, 18.2)],
    [("serving", 18.6, 24)],
    [
        ("benchmarks", 0, 11),
        ("bulk", 11.4, 14.5),
        ("training.command", 15, 18.2),
        ("training.like_for_like", 18.6, 22.5),
    ],
    [("training.run", 5, 22.5)],
    [("training.recipe", 5, 18.2)],
    [("training.publish", 5, 10.5)],
    [("training.optim", 5, 9.8), ("training.data", 10.2, 14.2), ("training.devices", 14.4, 18.2)],
    [("training.checks", 7, 18.2)],
    [("convert", 0, 4.5), ("eval", 18.6, 23.4)],
    [("support", 0, 24)],
    [("auto_c3", 0, 24)],
    [(CARRIED, 0, 24)],
]
# Modules that belong to a box of another name.
ELSEWHERE = {"c3": "auto_c3", "c3.__main__": "cli", "c3.training": "training.run"}


@dataclass
class Box:
    """A package, or a part of one: where it is drawn, and its modules; of what it is, see `draw_modules.py`."""

    name: str
    row: int
    left: float
    right: float
    modules: list = field(default_factory=list)


def find_files(root):
    """All Python files of the checkout, `list[Path]`, relative to it."""
    files = (path.relative_to(root) for path in sorted(root.rglob("*.py")))
    return [file for file in files if not any(part[0] == "." or part in SKIPPED for part in file.parts)]


def find_modules(root):
    """Those that are installed, `dict` from the name to the file."""
    modules = {}
    for file in find_files(root):
        parts = [PACKAGE, *file.parts[:-1], *([file.stem] if file.stem != "__init__" else [])]
        if file.parts[0] not in NOT_INSTALLED:
            modules[".".join(parts)] = file
    return modules


def find_imports(root, modules):
    """What each module imports of the others, also inside functions: `dict[str, set[str]]`."""
    return {name: _imported(root, name, modules) - {name} for name in modules}


def _imported(root, name, modules):
    file, found = modules[name], set()
    folder = name.split(".") if file.name == "__init__.py" else name.split(".")[:-1]
    for node in ast.walk(ast.parse((root / file).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {each.name for each in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = folder[: len(folder) + 1 - node.level] if node.level else []
            source = ".".join([*above, *filter(None, [node.module])])
            inner = {each.name: f"{source}.{each.name}" for each in node.names}
            found |= {each if each in modules else source for each in inner.values()}
    return found & set(modules)


def find_circles(imports):
    """Modules that import each other, directly or through others: `list[list[str]]`."""
    beyond = {name: reached(imports, name) for name in imports}
    circles = {tuple(sorted(each for each in beyond[name] if name in beyond[each])) for name in imports}
    return [list(circle) for circle in sorted(circles) if circle]


def reached(graph, start):
    """All that there is a way to, `set`."""
    found, waiting = set(), list(graph[start])
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += graph[name]
    return found


def make_boxes(modules):
    """The boxes that have modules, `dict[str, Box]`, and the modules that are in none."""
    boxes = {name: Box(name, row, *span) for row, each in enumerate(ROWS) for name, *span in each}
    homeless = []
    for module in modules:
        inner = module.removeprefix(f"{PACKAGE}.")
        name = ELSEWHERE.get(module) or next((each for each in boxes if f"{inner}.".startswith(f"{each}.")), None)
        if name is None and "." not in inner and inner.endswith("_c3"):
            name = CARRIED
        (boxes[name].modules if name else homeless).append(module)
    return {name: box for name, box in boxes.items() if box.modules}, homeless


def find_arrows(boxes, imports):
    """From box to box, `dict[tuple[str, str], list[str]]`: the imports behind each."""
    home = {module: name for name, box in boxes.items() for module in box.modules}
    arrows = {}
    for module, others in imports.items():
        for other in sorted(others):
            pair = home.get(module), home.get(other)
            if None not in pair and pair[0] != pair[1]:
                arrows.setdefault(pair, []).append(f"{module} imports {other}")
    return arrows


def complaints(root=ROOT):
    """What is wrong, `list[str]`, a line each."""
    modules = find_modules(root)
    imports = find_imports(root, modules)
    boxes, homeless = make_boxes(modules)
    found = [f"{modules[name]}: belongs to no box of docs/module_graph.py" for name in homeless]
    for (source, target), each in sorted(find_arrows(boxes, imports).items()):
        if boxes[source].row >= boxes[target].row:
            found += [f"{line}, from {source} up to {target}" for line in each]
    found += [f"in a circle: {', '.join(each)}" for each in find_circles(imports)]
    for file in find_files(root):
        count = len((root / file).read_text(encoding="utf-8").splitlines())
        found += [f"{file}: {count} lines, more than {MOST_LINES}"] * (count > MOST_LINES)
    return found + _unlisted(root, modules)


def _unlisted(root, modules):
    """What setup.cfg says otherwise of packages and their folders."""
    setup = configparser.ConfigParser()
    setup.read(root / "setup.cfg", encoding="utf-8")
    listed = set(setup["options"]["packages"].split())
    folders = dict(line.split(" = ") for line in setup["options"]["package_dir"].strip().splitlines())
    there = {".".join([PACKAGE, *file.parts[:-1]]): file.parent.as_posix() for file in modules.values()}
    found = []
    for name in sorted(listed | set(there)):
        if name not in there:
            found.append(f"setup.cfg: there is no package {name}")
        elif name not in listed or folders.get(name) != there[name]:
            found.append(f"{there[name]}: not listed in setup.cfg as {name}, in packages and package_dir")
        elif not (root / there[name] / "__init__.py").is_file():
            found.append(f"{there[name]}: has no __init__.py")
    return found
