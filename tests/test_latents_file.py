"""The file of latents: what is written and read, and where. Run: pytest tests/test_latents_file.py"""

import io
import json
import os
import stat
import threading
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from c3 import latents_file_c3
from c3.latents_c3 import C3Latents, LatentFormatError
from latent_examples import DTYPES, FIELDS, PROVENANCE, assert_same, long, make_parts


@pytest.mark.parametrize("dtype", DTYPES)
def test_round_trip_is_exact(latents_path, dtype):
    integers = torch.int32 if dtype == torch.float32 else torch.int16
    values = torch.randint(-30000, 30000, (13, 4), generator=torch.Generator().manual_seed(0)).to(integers).view(dtype)
    values = values.where(values.isfinite(), 0)
    latents = C3Latents(**{**make_parts(), "values": values}, provenance=PROVENANCE)
    assert latents.save(latents_path) == latents_path
    loaded = C3Latents.load(latents_path)
    assert_same(loaded, latents)
    assert torch.equal(loaded.values.view(integers), values.view(integers))
    assert repr(loaded) == repr(latents)


def test_file_is_plain_safetensors(latents, latents_path):
    latents.save(os.fspath(latents_path))
    assert set(load_file(latents_path)) == set(FIELDS)
    with latents_file_c3.safe_open(latents_path, "pt") as file:
        metadata = file.metadata()
    header = json.loads(metadata["c3"])
    checksum = header.pop("crc32")
    assert header == {"format_version": 2, "provenance": vars(PROVENANCE) | {"single": "false"}} and len(checksum) == 8
    # The same bytes as safetensors writes.
    tensors = {name: getattr(latents, name) for name in FIELDS}
    save_file(tensors, latents_path.with_name("theirs"), metadata=metadata)
    assert latents_path.with_name("theirs").read_bytes() == latents_path.read_bytes()


def test_save_takes_views_shared_lengths_and_gradients(latents_path):
    lengths = long(1, 1, 1)
    values = torch.randn(4, 3, requires_grad=True)
    latents = C3Latents(values.T, lengths, lengths, lengths)  # not contiguous, and one tensor three times
    latents[1:].save(latents_path)
    assert_same(C3Latents.load(latents_path), latents[1:])


def test_save_over_its_own_source(latents, latents_path):
    latents.save(latents_path)
    loaded = C3Latents.load(latents_path)  # memory-mapped
    C3Latents.cat([loaded, loaded]).save(latents_path)
    assert_same(loaded, latents)
    assert len(C3Latents.load(latents_path)) == 6


def test_loaded_values_are_private(latents, latents_path):
    latents.save(latents_path)
    C3Latents.load(latents_path).values.zero_()
    assert_same(C3Latents.load(latents_path), latents)


@pytest.mark.skipif(os.name != "posix", reason="POSIX permissions")
def test_file_follows_the_umask(latents, latents_path):
    before = os.umask(0o027)
    try:
        latents.save(latents_path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(latents_path.stat().st_mode) == 0o640


@pytest.mark.parametrize("step", ["write_latents", "fsync", "replace"])
def test_failing_save_leaves_the_old_file(latents, latents_path, monkeypatch, step):
    latents.save(latents_path)
    before = latents_path.read_bytes()

    def fail(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(latents_file_c3 if step == "write_latents" else os, step, fail)
    with pytest.raises(OSError, match="No space left on device"):
        latents[0].save(latents_path)
    monkeypatch.undo()
    assert latents_path.read_bytes() == before
    assert os.listdir(latents_path.parent) == [latents_path.name]


def test_save_into_nowhere(latents, tmp_path):
    with pytest.raises(FileNotFoundError, match="cannot save latents to .*x.safetensors: the folder .* does not exist"):
        latents.save(tmp_path / "missing" / "x.safetensors")
    (tmp_path / "folder").mkdir()
    for folder in ("", tmp_path / "folder"):
        with pytest.raises(IsADirectoryError, match="cannot save latents to .*: it is a folder"):
            latents.save(folder)
    assert os.listdir(tmp_path) == ["folder"]


def test_load_from_nowhere(tmp_path):
    with pytest.raises(FileNotFoundError, match="no latents file at .*x.safetensors"):
        C3Latents.load(tmp_path / "x.safetensors")
    with pytest.raises(FileNotFoundError, match=r"no latents file at .* \(it is a folder\)"):
        C3Latents.load(tmp_path)


def test_tilde_is_the_home_folder(latents, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert latents.save("~/home.c3") == tmp_path / "home.c3"
    assert_same(C3Latents.load(Path("~/home.c3")), latents)
    with pytest.raises(FileNotFoundError, match=f"no latents file at {tmp_path}/away.c3"):
        C3Latents.load("~/away.c3")


# Bytes and file objects


class Pipe(io.RawIOBase):
    """Gives three bytes at a time, and can neither seek nor tell."""

    def __init__(self, content=b""):
        self.content = content

    def read(self, size=-1):
        piece, self.content = self.content[: min(size, 3)], self.content[min(size, 3) :]
        return piece

    def write(self, data):
        self.content += bytes(data)


def test_bytes_and_file_objects(latents, latents_path):
    latents.save(latents_path)
    content = latents_path.read_bytes()
    assert latents.to_bytes() == content and latents.bfloat16().to_bytes() != content
    assert_same(C3Latents.from_bytes(content), latents)
    pipe = Pipe()
    assert latents.save(pipe) is None and pipe.content == content
    assert_same(C3Latents.load(pipe), latents)
    with open(latents_path, "wb") as file:
        latents.save(file)
    with open(latents_path, "rb") as file:
        assert_same(C3Latents.load(file), latents)
    if hasattr(os, "mkfifo"):  # what a shell makes of <(…)
        os.mkfifo(latents_path.with_name("pipe"))
        writer = threading.Thread(target=latents_path.with_name("pipe").write_bytes, args=[content])
        writer.start()
        assert_same(C3Latents.load(latents_path.with_name("pipe")), latents)
        writer.join()
    with (
        pytest.raises(LatentFormatError, match=f"^{latents_path} is truncated: it has only 0 bytes"),
        open(latents_path, "wb+") as file,
    ):
        C3Latents.load(file)
    for cut in (content[:40], content[:-1], content + b"\0"):
        with pytest.raises(LatentFormatError, match="^the BytesIO is truncated or damaged"):
            C3Latents.from_bytes(cut)
    with pytest.raises(TypeError, match="for bytes there is C3Latents.from_bytes"):
        C3Latents.load(content)
    with pytest.raises(TypeError, match="from_bytes reads what to_bytes returned, not None"):
        C3Latents.from_bytes(None)
    for use in (lambda: latents.save(io.StringIO()), lambda: C3Latents.load(io.StringIO("text"))):
        with pytest.raises(TypeError, match="latents are bytes: open the file in binary mode"):
            use()
