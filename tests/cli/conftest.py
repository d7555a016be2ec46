"""What the tests of the commands need: a tiny model, texts and latents in files, and a way to call them."""

import io

import pytest

from c3 import C3Model
from c3.cli.main import main
from command_line import TEXT


@pytest.fixture(scope="session")
def model(checkpoint):
    return C3Model.from_pretrained(checkpoint).eval()


@pytest.fixture
def run(capsys, tmp_path, monkeypatch):
    """`run("info", path)`: exit code, standard output, standard error; in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def call(*argv):
        code = main([str(each) for each in argv])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.fixture
def texts(tmp_path):
    """Two files, `a.txt` and `b.txt`; the first takes several windows."""
    files = [tmp_path / "a.txt", tmp_path / "b.txt"]
    files[0].write_bytes(TEXT.encode())
    files[1].write_bytes(b"Short.\n")
    return files


@pytest.fixture
def latents_file(model, tmp_path):
    """Latents of two texts."""
    return model.compress([TEXT, "Short.\n"], show_progress=False).save(tmp_path / "two.c3")


@pytest.fixture
def feed(monkeypatch):
    """`feed(data)`: the bytes on standard input."""
    return lambda data: monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data), encoding="ascii"))
