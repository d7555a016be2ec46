"""The wheel in an environment of its own, as a newcomer has it. Run: pytest -m slow tests/test_wheel.py"""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CONSTRAINTS = ROOT / "constraints.txt"


def run(*command, cwd):
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"HF_HUB_OFFLINE": "1"}
    done = subprocess.run([*map(str, command)], cwd=cwd, env=environment, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.mark.slow
@pytest.mark.skipif(not (ROOT / "model.safetensors").is_file(), reason="the checkout has no weights")
def test_the_wheel_is_all_that_is_needed(tmp_path):
    """It has the default checkpoint, needs no more than it says, and does what the README shows from any folder."""
    # Of a copy: what an earlier build has left would go into the wheel.
    left_out = shutil.ignore_patterns(".git", ".venv", "build", "dist", "runs", "*.egg-info")
    source = shutil.copytree(ROOT, tmp_path / "source", ignore=left_out)
    run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", tmp_path, source, cwd=tmp_path)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert "c3/model.safetensors" in names and not [name for name in names if name.startswith(("tests/", "c3/tests/"))]

    run(sys.executable, "-m", "venv", tmp_path / "venv", cwd=tmp_path)
    commands = tmp_path / "venv" / ("Scripts" if os.name == "nt" else "bin")
    # torch first: the constraints name its tested version, and nothing else then asks for another.
    (torch,) = re.findall(r"^torch==.*$", CONSTRAINTS.read_text(encoding="utf-8"), re.MULTILINE)
    for wanted in (torch, wheel):
        run(commands / "python", "-m", "pip", "install", "-q", "-c", CONSTRAINTS, wanted, cwd=tmp_path)

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    example = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)[1]
    assert run(commands / "python", "-c", example, cwd=elsewhere).startswith("C3Latents(texts=1")
    text = "The lantern was lit at nine.\nNobody came before ten, and the keeper of the house went to bed.\n"
    (elsewhere / "my.txt").write_text(text, encoding="utf-8")
    for command in ("ask", "serve", "compress-dataset", "export-decoder"):
        run(commands / "c3", command, "--help", cwd=elsewhere)
    run(commands / "c3", "compress", "my.txt", cwd=elsewhere)
    assert run(commands / "c3", "expand", "my.txt.c3", cwd=elsewhere) == text

    # The page as a Space of the Hub has it: the package is a folder beside the app, and gradio is not needed for this.
    upload = shutil.copytree(ROOT / "space", tmp_path / "upload")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(upload)
    found = run(commands / "python", "-c", "import c3, compressed_page; print(c3.__file__)", cwd=upload)
    assert Path(found.strip()) == upload / "c3" / "__init__.py"
