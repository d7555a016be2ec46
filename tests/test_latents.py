"""C3Latents: what it accepts, how it is cut and joined, and its file. Run: pytest tests/test_latents.py"""

import copy
import io
import json
import os
import pickle
import random
import stat
import threading
import warnings
from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import numpy
import pytest
import torch
from safetensors.torch import load_file, save_file

from c3 import latents_c3, latents_file_c3
from c3.latents_c3 import (
    FORMAT_VERSION,
    C3Latents,
    LatentChecksumError,
    LatentFileWarning,
    LatentFormatError,
    LatentMismatchError,
    LatentProvenance,
)

DTYPES = [torch.float32, torch.float16, torch.bfloat16]
PROVENANCE = LatentProvenance(
    model_name="org/c3",
    config_fingerprint="c0ffee0123456789",
    weights_fingerprint="beef000011112222",
    dtype="bfloat16",
    latent_position_layout="uniform",
    tokenizer_fingerprint="70ce000000000001",
    library_version="0.1.0",
)
FIELDS = ("values", "latent_lengths", "text_lengths", "window_counts")


def long(*numbers):
    return torch.tensor(numbers, dtype=torch.long)


def make_parts(dtype=torch.float32, width=4):
    """Three texts of 1, 3 and 2 windows; 2, 1, 3, 2, 1, 4 latents."""
    values = torch.arange(13 * width, dtype=torch.float32).reshape(13, width).to(dtype)
    return dict(
        values=values,
        latent_lengths=long(2, 1, 3, 2, 1, 4),
        text_lengths=long(8, 5, 12, 8, 3, 16),
        window_counts=long(1, 3, 2),
    )


@pytest.fixture
def latents():
    return C3Latents(**make_parts(), provenance=PROVENANCE)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "latents.safetensors"


def assert_same(left, right):
    for name in FIELDS:
        a, b = getattr(left, name), getattr(right, name)
        assert a.dtype == b.dtype and torch.equal(a, b), name
    assert left.provenance == right.provenance


# What it is


def test_properties(latents):
    assert (len(latents), latents.num_windows, latents.num_latents, latents.hidden_size) == (3, 6, 13, 4)
    assert (latents.dtype, latents.device, latents.nbytes) == (torch.float32, torch.device("cpu"), 13 * 4 * 4)
    assert latents.text_tokens == 52
    assert latents.ratio == 4.0
    assert latents.ratios == [8 / 2, 25 / 6, 19 / 5]
    assert FORMAT_VERSION == 2


def test_windows_are_views(latents):
    windows = latents.windows()
    assert [len(window) for window in windows] == [2, 1, 3, 2, 1, 4]
    assert torch.equal(torch.cat(windows), latents.values)
    assert windows[1].data_ptr() == latents.values[2].data_ptr()
    of_second = latents[1].windows()
    assert [len(window) for window in of_second] == [1, 3, 2]
    assert of_second[0].data_ptr() == latents.values[2].data_ptr()
    assert [len(window) for window in latents[-1].windows()] == [1, 4]
    with pytest.raises(IndexError, match="text 3 is out of range: there are 3 texts"):
        latents[3]


def test_spans_are_the_windows_of_each_text(latents):
    spans = [(span.num_latents, span.num_tokens) for text in latents.spans for span in text]
    assert spans == list(zip(latents.latent_lengths.tolist(), latents.text_lengths.tolist(), strict=True))
    assert list(map(len, latents.spans)) == latents.window_counts.tolist()


def test_one_text_by_itself_is_remembered(latents, path):
    """Picked by its number, however it is moved, saved and loaded; what is picked by a list is a list."""
    for index, single in ((1, True), (-1, True), (numpy.int64(0), True), ([1], False), (slice(0, 1), False)):
        picked = latents[index]
        assert picked.single == single and len(picked) == 1
        picked.save(path)
        assert C3Latents.load(path).single == C3Latents.from_bytes(picked.to_bytes()).single == single
        assert picked.half().single == single
    assert not latents.single and [each.single for each in latents] == [True] * 3
    assert not C3Latents.cat([latents[0]]).single and not (latents[0] + latents[1]).single
    with pytest.raises(ValueError, match="single is for one text, but window_counts describes 3"):
        replace(latents, single=True, check_finite=True)


def test_older_files_of_one_text_count_as_a_single_one(latents, path, monkeypatch):
    for index, single in ((1, True), (slice(0, 2), False)):
        monkeypatch.setattr(latents_c3, "to_metadata", lambda provenance, single: vars(provenance))
        latents[index].save(path)
        assert C3Latents.load(path).single == single


def test_repr():
    latents = C3Latents(
        torch.zeros(160, 384, dtype=torch.bfloat16), long(*[32] * 5), long(*[256] * 5), long(2, 3), PROVENANCE
    )
    assert repr(latents) == (
        "C3Latents(texts=2, windows=5, latents=160, width=384, dtype=bfloat16, text_tokens=1280, ratio=8.0x, "
        "120.0 KiB, model='org/c3')"
    )
    small = C3Latents(torch.zeros(1, 5), long(1), long(3), long(1))
    assert repr(small).endswith("ratio=3.0x, 20.0 B)")


def test_it_is_frozen(latents):
    with pytest.raises(FrozenInstanceError):
        latents.values = torch.zeros(13, 4)
    with pytest.raises(FrozenInstanceError):
        latents.provenance.model_name = "another"


def test_default_provenance_is_unknown():
    assert C3Latents(**make_parts()).provenance == LatentProvenance()
    assert set(vars(LatentProvenance()).values()) == {""}
    with pytest.raises(TypeError, match=r"provenance.dtype must be a str, got dtype: torch.bfloat16"):
        LatentProvenance(dtype=torch.bfloat16)
    with pytest.raises(ValueError, match="provenance.model_name has 5000 characters, more than 4096"):
        LatentProvenance(model_name="m" * 5000)


# What it refuses


@pytest.mark.parametrize(
    "change, message",
    [
        (
            dict(values=torch.zeros(13, 4, dtype=torch.float64)),
            r"values must be torch.float32 or .*, not torch.float64",
        ),
        (dict(values=torch.zeros(52)), r"values must have 2 dimension\(s\), got shape \(52,\)"),
        (dict(values=torch.zeros(12, 4)), "latent_lengths sums to 13 latents but values has 12 rows"),
        (dict(values=torch.zeros(13, 0)), r"values has no columns: shape \(13, 0\)"),
        (dict(latent_lengths=torch.tensor([2, 1], dtype=torch.int32)), "latent_lengths must be torch.int64, not"),
        (dict(latent_lengths=torch.tensor([2.0])), "latent_lengths must be torch.int64, not torch.float32"),
        (dict(latent_lengths=long(2, 1, 3, 2, 1, 4)[None]), r"latent_lengths must have 1 dimension\(s\)"),
        (dict(latent_lengths=long(2, 1, 3, 2, 0, 5)), r"must be at least 1, but latent_lengths\[4\] is 0"),
        (dict(latent_lengths=long(2, 1, 3, 2, 1, 5)), "latent_lengths sums to 14 latents but values has 13 rows"),
        (dict(text_lengths=long(8, 5, -1, 8, 3, 16)), r"must be at least 1, but text_lengths\[2\] is -1"),
        (dict(text_lengths=long(8, 5)), "text_lengths describes 2 windows but latent_lengths has 6"),
        (dict(window_counts=long(1, 3, 1)), "window_counts sums to 5 windows but latent_lengths has 6"),
        (dict(window_counts=long(6, 0)), r"must be at least 1, but window_counts\[1\] is 0"),
        (dict(window_counts=long()), "window_counts sums to 0 windows but latent_lengths has 6"),
        # In 64 bits these lengths sum to 13.
        (dict(latent_lengths=long(*[2**62] * 4, 6, 7)), r"latent_lengths sums to 18446744073709551629 latents"),
    ],
)
def test_parts_that_do_not_fit(change, message):
    with pytest.raises(ValueError, match=message):
        C3Latents(**{**make_parts(), **change})


def test_lengths_must_be_tensors():
    with pytest.raises(TypeError, match="window_counts must be a torch.Tensor, got list"):
        C3Latents(**{**make_parts(), "window_counts": [1, 3, 2]})


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_first_row_that_is_not_finite(dtype, bad):
    parts = make_parts(dtype)
    parts["values"][7, 3] = parts["values"][11, 0] = bad
    with pytest.raises(ValueError, match=r"values is not finite \(NaN or infinity\), first in latent 7 \(row index\)"):
        C3Latents(**parts)
    assert len(C3Latents(**parts, check_finite=False)) == 3


# Cutting


@pytest.mark.parametrize(
    "index, texts",
    [
        (0, [0]),
        (-1, [2]),
        (slice(1, None), [1, 2]),
        (slice(None), [0, 1, 2]),
        (slice(None, None, -1), [2, 1, 0]),
        ([2, 0, 2], [2, 0, 2]),
        ([-1, 1], [2, 1]),
        ((0, 1), [0, 1]),
        (range(1, 3), [1, 2]),
        (torch.tensor(1), [1]),
        (numpy.int64(-1), [2]),
        (torch.tensor([2, 0]), [2, 0]),
        (numpy.array([-1, 1], dtype=numpy.int32), [2, 1]),
        ([numpy.int64(2), torch.tensor(0)], [2, 0]),
        (torch.tensor([True, False, True]), [0, 2]),
        (numpy.array([False, True, True]), [1, 2]),
        ([True, False, False], [0]),
        (slice(3, None), []),
        (slice(2, 1), []),
        ([], []),
        (torch.tensor([], dtype=torch.long), []),
        (numpy.array([False] * 3), []),
    ],
    ids=str,
)
def test_index(latents, index, texts):
    picked = latents[index]
    assert isinstance(picked, C3Latents) and len(picked) == len(texts)
    assert picked.window_counts.tolist() == [(1, 3, 2)[text] for text in texts]
    assert picked.text_lengths.tolist() == sum(([[8], [5, 12, 8], [3, 16]][text] for text in texts), [])
    rows = sum((list(range(*[(0, 2), (2, 8), (8, 13)][text])) for text in texts), [])
    assert torch.equal(picked.values, latents.values[torch.tensor(rows, dtype=torch.long)])
    assert picked.provenance == PROVENANCE


def test_no_texts(latents, path):
    none = latents[:0]
    assert (len(none), list(none), none.windows(), none.ratios, none.text_tokens) == (0, [], [], [], 0)
    assert none.ratio != none.ratio and repr(none).startswith("C3Latents(texts=0, windows=0, latents=0, width=4, ")
    assert none + latents == latents and none == latents[[]] and none != latents
    assert none.to(torch.bfloat16).dtype == torch.bfloat16
    none.save(path)
    assert_same(C3Latents.load(path), none)


def test_neighbours_share_memory(latents):
    assert latents[1:].values.data_ptr() == latents.values[2].data_ptr()
    assert latents[[1, 2]].values.data_ptr() == latents.values[2].data_ptr()


def test_iteration(latents):
    texts = list(latents)
    assert [len(text) for text in texts] == [1, 1, 1]
    assert [text.num_windows for text in texts] == [1, 3, 2]
    assert_same(C3Latents.cat(texts), latents)


@pytest.mark.parametrize(
    "index, error, message",
    [
        (3, IndexError, "text 3 is out of range: there are 3 texts"),
        (-4, IndexError, "text -4 is out of range"),
        ([0, 5], IndexError, r"text \[0, 5\] is out of range"),
        (torch.tensor([0, 5]), IndexError, r"text \[0, 5\] is out of range"),
        ([True, False], IndexError, "a mask holds one boolean for each of the 3 texts"),
        ([True, 1, 2], IndexError, "a mask holds one boolean for each of the 3 texts"),
        (True, TypeError, "one boolean does not pick texts"),
        ("0", TypeError, "texts are picked by an int, a slice, or ints or booleans in a list, not by"),
        (1.0, TypeError, "texts are picked by an int, a slice, or ints or booleans in a list, not by"),
        (numpy.array([1.0]), TypeError, "texts are picked by an int, a slice, or ints or booleans in a list, not by"),
        (torch.tensor([[0]]), TypeError, "texts are picked by an int, a slice, or ints or booleans in a list, not by"),
    ],
)
def test_wrong_index(latents, index, error, message):
    with pytest.raises(error, match=message):
        latents[index]


# Joining and converting


def test_cat(latents):
    joined = C3Latents.cat([latents, latents[1]])
    assert len(joined) == 4 and joined.window_counts.tolist() == [1, 3, 2, 3]
    assert_same(joined[:3], latents)
    assert_same(joined[3], latents[1])


def test_plus_joins(latents):
    assert_same(latents[0] + latents[1:], latents)
    with pytest.raises(TypeError, match="unsupported operand"):
        latents + [1]
    with pytest.raises(ValueError, match="different dtype"):
        latents + latents.half()


def test_equal_by_value(latents):
    same = C3Latents(**make_parts(), provenance=PROVENANCE)
    assert latents == same and hash(latents) == hash(same) and len({latents, same}) == 1
    assert latents[[2]] == latents[2] and latents[0] in list(latents)
    parts = make_parts()
    parts["values"][3, 1] += 1
    for other in (
        C3Latents(**parts, provenance=PROVENANCE),
        replace(latents, text_lengths=long(8, 5, 12, 8, 16, 3)),
        replace(latents, provenance=LatentProvenance()),
        latents.bfloat16(),
        latents[:2],
        C3Latents(**make_parts(width=5), provenance=PROVENANCE),
        latents.values,
    ):
        assert latents != other


def test_cat_keeps_what_all_parts_agree_on(latents):
    other = replace(latents, provenance=replace(PROVENANCE, library_version="0.2.0", weights_fingerprint=""))
    joined = C3Latents.cat([latents, other]).provenance
    assert joined == replace(PROVENANCE, library_version="", weights_fingerprint="")


def test_cat_of_what_does_not_fit(latents):
    with pytest.raises(ValueError, match="parts is empty: C3Latents.cat needs at least one"):
        C3Latents.cat([])
    with pytest.raises(TypeError, match="must be C3Latents, not bytes: read them with C3Latents.from_bytes first"):
        C3Latents.cat([latents.to_bytes()])
    with pytest.raises(ValueError, match=r"different hidden_size \(4, 5\): they were made for different decoders"):
        C3Latents.cat([latents, C3Latents(**make_parts(width=5))])
    with pytest.raises(
        ValueError, match=r"different dtype \(torch.float32, torch.float16\): convert with .to\(dtype\)"
    ):
        C3Latents.cat([latents, latents.to(torch.float16)])


def test_cat_of_different_models(latents):
    unknown = replace(latents, provenance=LatentProvenance())
    other = replace(latents, provenance=replace(PROVENANCE, model_name="org/b", weights_fingerprint="0123"))
    message = r"weights_fingerprint differs between 'org/c3' \(.*beef000011112222.* and 'org/b' \(.*0123"
    with pytest.raises(LatentMismatchError, match=message):
        C3Latents.cat([unknown, latents, unknown, other])


def test_to(latents):
    half = latents.to(torch.bfloat16)
    assert half.dtype == torch.bfloat16 and half.provenance == PROVENANCE
    assert torch.equal(half.values, latents.values.bfloat16())
    assert latents.to("cpu", torch.float16).dtype == latents.to(dtype=torch.float16, device="cpu").dtype
    assert latents.to("cpu") is latents.to(torch.float32) is latents.cpu() is latents.float() is latents
    assert (latents.half().dtype, latents.bfloat16().dtype) == (torch.float16, torch.bfloat16)
    with pytest.raises(ValueError, match="values must be torch.float32 or .*, not torch.float64"):
        latents.to(torch.float64)


def test_to_finds_an_overflow(latents):
    latents.values[5, 0] = 1e5
    with pytest.raises(ValueError, match="first in latent 5 .*float16 overflows above 65504"):
        latents.half()


def test_lengths_stay_on_the_cpu():
    parts = make_parts()
    latents = C3Latents(parts.pop("values").to("meta"), **parts, check_finite=False)
    assert latents.device.type == "meta" and "device=meta" in repr(latents)
    assert {getattr(latents, name).device.type for name in FIELDS[1:]} == {"cpu"}
    assert [len(window) for window in latents[1].windows()] == [1, 3, 2]


def test_gradients_flow_through():
    parts = make_parts()
    parts["values"].requires_grad_()
    C3Latents(**parts)[[2, 0]].windows()[0].sum().backward()
    assert parts["values"].grad.sum(1).nonzero().flatten().tolist() == [8]


# Provenance


def test_the_same_model(latents):
    known = replace(PROVENANCE, model_name="any/name")
    latents.provenance.check_same_model(known)
    latents.provenance.check_same_model(replace(known, tokenizer_fingerprint=""))
    latents.provenance.check_same_model(LatentProvenance(model_name="unknown"))
    other = LatentProvenance("org/b", config_fingerprint="aa", weights_fingerprint="bb", tokenizer_fingerprint="cc")
    C3Latents(**make_parts()).provenance.check_same_model(other)


@pytest.mark.parametrize("name", ["config", "weights", "tokenizer"])
def test_another_model_is_named_beside_the_maker(latents, name):
    made = getattr(PROVENANCE, f"{name}_fingerprint")
    other = replace(PROVENANCE, model_name="org/other", **{f"{name}_fingerprint": "badbadbadbadbad0"})
    with pytest.raises(LatentMismatchError) as caught:
        latents.provenance.check_same_model(other)
    message = str(caught.value)
    assert "made by 'org/c3' (" in message and "the model is 'org/other' (" in message
    assert made in message and "badbadbadbadbad0" in message
    assert f": {name}_fingerprint differ(s)" in message and "allow_mismatch=True overrides this check" in message
    assert isinstance(caught.value, ValueError)


# The file


@pytest.mark.parametrize("dtype", DTYPES)
def test_round_trip_is_exact(path, dtype):
    integers = torch.int32 if dtype == torch.float32 else torch.int16
    values = torch.randint(-30000, 30000, (13, 4), generator=torch.Generator().manual_seed(0)).to(integers).view(dtype)
    values = values.where(values.isfinite(), 0)
    latents = C3Latents(**{**make_parts(), "values": values}, provenance=PROVENANCE)
    assert latents.save(path) == path
    loaded = C3Latents.load(path)
    assert_same(loaded, latents)
    assert torch.equal(loaded.values.view(integers), values.view(integers))
    assert repr(loaded) == repr(latents)


def test_file_is_plain_safetensors(latents, path):
    latents.save(os.fspath(path))
    assert set(load_file(path)) == set(FIELDS)
    with latents_file_c3.safe_open(path, "pt") as file:
        metadata = file.metadata()
    header = json.loads(metadata["c3"])
    checksum = header.pop("crc32")
    assert header == {"format_version": 2, "provenance": vars(PROVENANCE) | {"single": "false"}} and len(checksum) == 8
    # The same bytes as safetensors writes.
    tensors = {name: getattr(latents, name) for name in FIELDS}
    save_file(tensors, path.with_name("theirs"), metadata=metadata)
    assert path.with_name("theirs").read_bytes() == path.read_bytes()


def test_save_takes_views_shared_lengths_and_gradients(path):
    lengths = long(1, 1, 1)
    values = torch.randn(4, 3, requires_grad=True)
    latents = C3Latents(values.T, lengths, lengths, lengths)  # not contiguous, and one tensor three times
    latents[1:].save(path)
    assert_same(C3Latents.load(path), latents[1:])


def test_save_over_its_own_source(latents, path):
    latents.save(path)
    loaded = C3Latents.load(path)  # memory-mapped
    C3Latents.cat([loaded, loaded]).save(path)
    assert_same(loaded, latents)
    assert len(C3Latents.load(path)) == 6


def test_loaded_values_are_private(latents, path):
    latents.save(path)
    C3Latents.load(path).values.zero_()
    assert_same(C3Latents.load(path), latents)


@pytest.mark.skipif(os.name != "posix", reason="POSIX permissions")
def test_file_follows_the_umask(latents, path):
    before = os.umask(0o027)
    try:
        latents.save(path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


@pytest.mark.parametrize("step", ["write_latents", "fsync", "replace"])
def test_failing_save_leaves_the_old_file(latents, path, monkeypatch, step):
    latents.save(path)
    before = path.read_bytes()

    def fail(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(latents_file_c3 if step == "write_latents" else os, step, fail)
    with pytest.raises(OSError, match="No space left on device"):
        latents[0].save(path)
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


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


@pytest.mark.parametrize("keep", [0, 5, 8, 9, 60, -60, -1])
def test_truncated(latents, path, keep):
    latents.save(path)
    path.write_bytes(path.read_bytes()[:keep])
    size = path.stat().st_size
    reason = f"it has only {size} bytes" if size < 9 else f"its {size} bytes are not what its header says"
    with pytest.raises(LatentFormatError, match=f"latents.safetensors is truncated.*{reason}.*Copy or compress it"):
        C3Latents.load(path)


def test_too_long(latents, path):
    latents.save(path)
    path.write_bytes(path.read_bytes() + b"more")
    with pytest.raises(LatentFormatError, match="is truncated or damaged"):
        C3Latents.load(path)


@pytest.mark.parametrize("zipped", [True, False])
def test_pickle_is_not_read(latents, path, zipped):
    torch.save({"values": latents.values}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(
        LatentFormatError, match=r"is not a safetensors file of latents \(it looks pickled.* never unpickles"
    ):
        C3Latents.load(path)


@pytest.mark.parametrize("content", [b"plain text, long enough", b'{"json":{"a": 1}}', b"\0" * 64])
def test_not_safetensors(path, content):
    path.write_bytes(content)
    with pytest.raises(
        LatentFormatError, match="is not a safetensors file of latents. Pass a file written by C3Latents.save"
    ):
        C3Latents.load(path)


def test_foreign_safetensors(path):
    save_file({f"layer.{i}": torch.zeros(2) for i in range(7)}, path, metadata={"format": "pt"})
    message = (
        r"safetensors file but not one of C3 latents .*tensors: 'layer.0', .*'layer.4', …\)\. Pass a file written by"
    )
    with pytest.raises(LatentFormatError, match=message):
        C3Latents.load(path)
    save_file(make_parts(), path)
    with pytest.raises(LatentFormatError, match="not one of C3 latents .no 'c3' in its metadata"):
        C3Latents.load(path)


def write(path, header, **change):
    tensors = {name: tensor for name, tensor in {**make_parts(), **change}.items() if tensor is not None}
    save_file(tensors, path, metadata={"c3": header if isinstance(header, str) else json.dumps(header)})
    return path


def test_newer_format(path):
    write(path, {"format_version": 3, "something": "new"}, values=None)
    with pytest.raises(LatentFormatError, match="latent format version 3, this c3 reads up to 2: upgrade c3"):
        C3Latents.load(path)


@pytest.mark.parametrize(
    "header",
    [
        "not json",
        "[" * 100000,
        "[]",
        "{}",
        {"format_version": "1", "provenance": {}},
        {"format_version": 1},
        {"format_version": 1, "provenance": 5},
        {"format_version": 1, "provenance": {"dtype": 16}},
        {"format_version": 0, "provenance": {}},
        {"format_version": True, "provenance": {}},
        # Without its checksum a file of today is no file of yesterday.
        {"format_version": 2, "provenance": {}},
        {"format_version": 2, "crc32": None, "provenance": {}},
        {"format_version": 2, "crc32": 5, "provenance": {}},
    ],
)
def test_damaged_metadata(path, header):
    with pytest.raises(LatentFormatError, match="has damaged C3 metadata .*. Compress the texts again"):
        C3Latents.load(write(path, header))


@pytest.mark.filterwarnings("ignore:.*without a checksum")
def test_metadata_may_know_more_or_less(path):
    loaded = C3Latents.load(write(path, {"format_version": 1, "provenance": {"model_name": "m", "colour": "red"}}))
    assert loaded.provenance == LatentProvenance(model_name="m")


@pytest.mark.filterwarnings("ignore:.*without a checksum")
@pytest.mark.parametrize(
    "change, message",
    [
        (dict(text_lengths=None, values=None), r"lacks the tensor\(s\) values, text_lengths. Compress"),
        (dict(values=torch.zeros(13, 4, dtype=torch.float64)), "damaged latents: values must be torch.float32"),
        (dict(values=torch.zeros(3, 4)), "damaged latents: latent_lengths sums to 13 latents but values has 3 rows"),
        (dict(values=torch.zeros(0, 4)), "damaged latents: latent_lengths sums to 13 latents but values has 0 rows"),
        (dict(values=torch.full((13, 4), float("nan"))), "damaged latents: values is not finite .* latent 0 "),
        (dict(text_lengths=long(8, 5, 0, 8, 3, 16)), r"damaged latents: .*text_lengths\[2\] is 0. Compress the texts"),
    ],
)
def test_damaged_tensors(path, change, message):
    with pytest.raises(LatentFormatError, match=message):
        C3Latents.load(write(path, {"format_version": 1, "provenance": {}}, **change))


# The checksum


def damaged_copies(content, seed=0):
    """Names and bytes of damaged copies: flipped bits, bytes and stretches, cuts, insertions, edits of the header."""
    draw = random.Random(seed)
    begin = 8 + int.from_bytes(content[:8], "little")
    for number in range(120):
        data = bytearray(content)
        place = draw.randrange(len(data) if number % 2 else begin)
        data[place] ^= 1 << draw.randrange(8) if number % 4 < 2 else draw.randrange(1, 256)
        yield f"byte {place}", bytes(data)
    for _ in range(20):
        data, place = bytearray(content), draw.randrange(len(content))
        data[place : place + 16] = draw.randbytes(len(data[place : place + 16]))
        yield f"16 bytes at {place}", bytes(data)
        yield f"cut at {place}", content[:place]
        yield f"without byte {place}", content[:place] + content[place + 1 :]
        yield f"one more at {place}", content[:place] + b"\0" + content[place:]
    for before, after in (
        (b"text_lengths", b"xext_lengths"),
        (b'"format_version\\": 2', b'"format_version\\": 1'),
        (b"crc32", b"crc33"),
        (b"org/c3", b"org/c4"),
        (b"c0ffee", b"decaff"),
        (b"uniform", b"Uniform"),
        *([(b'"F32"', b'"I32"')] if b'"F32"' in content else [(b'"BF16"', b'"F16" ')]),
        (b"[13,4]", b"[4,13]"),
        (b"[13,4]", b"[26,2]"),
    ):
        assert before in content
        yield f"{before} to {after}", content.replace(before, after)
    # Offsets of two tensors changed with each other: each is whole, but in the wrong place.
    swapped = content.replace(b'"latent_lengths"', b'"?"').replace(b'"text_lengths"', b'"latent_lengths"')
    yield "lengths exchanged", swapped.replace(b'"?"', b'"text_lengths"')


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_damaged_copies_are_refused_or_whole(path, dtype):
    values = torch.randn(13, 4, generator=torch.Generator().manual_seed(0)).to(dtype)
    latents = C3Latents(**make_parts() | {"values": values}, provenance=PROVENANCE)
    refused = 0
    for name, damaged in damaged_copies(latents.to_bytes()):
        path.write_bytes(damaged)
        for source in (path, io.BytesIO(damaged)):
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", LatentFileWarning)
                    assert C3Latents.load(source) == latents, name
            except LatentFormatError as error:
                assert str(error).isprintable() and len(str(error)) < 700, name
                refused += 1
    assert refused > 300


def test_damage_has_a_name(latents, path):
    content = latents.to_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(LatentChecksumError, match=r"is damaged: it does not hold what was saved .*Copy it again"):
        C3Latents.load(path)


def test_a_large_file_is_checked_on_first_use(latents, path, monkeypatch):
    monkeypatch.setattr(latents_c3, "CHECKED_AT_ONCE", 100)
    latents.save(path)
    content = path.read_bytes()
    checks = []
    verify = latents_file_c3.StoredLatents.verify
    monkeypatch.setattr(latents_file_c3.StoredLatents, "verify", lambda self: checks.append(1) or verify(self))
    loaded = C3Latents.load(path)
    assert repr(loaded) == repr(latents) and loaded.ratio == latents.ratio and not checks
    for made in (copy.copy(loaded), pickle.loads(pickle.dumps(loaded))):
        assert_same(made, latents)
    assert_same(loaded, latents)
    assert loaded[0] == latents[0] and len(checks) == 3
    assert not hasattr(loaded, "anything")

    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    uses = (
        lambda it: it.values,
        lambda it: it[0],
        lambda it: it.windows(),
        lambda it: it.half(),
        lambda it: it + it,
        lambda it: it.to_bytes(),
        lambda it: it == latents,
    )
    for use in uses:
        damaged = C3Latents.load(path)
        for _ in range(2):
            with pytest.raises(LatentChecksumError):
                use(damaged)


def test_an_old_file_is_read_with_one_warning(latents, path):
    write(path, {"format_version": 1, "provenance": vars(PROVENANCE)})
    with pytest.warns(LatentFileWarning, match="saved without a checksum.*load it and save it anew") as caught:
        loaded = [C3Latents.load(path), C3Latents.load(str(path))]
    assert loaded == [latents, latents] and len(caught) == 1 and caught[0].filename == __file__
    loaded[0].save(path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert C3Latents.load(path) == latents


def test_what_a_file_claims_costs_nothing(path):
    # A header of 64 MB, of which nothing is there; a tensor of terabytes; lengths that no memory could hold.
    path.write_bytes((1 << 26).to_bytes(8, "little") + b'{"a":' + b" " * 100)
    with pytest.raises(LatentFormatError, match="is not a safetensors file of latents"):
        C3Latents.load(path)
    header = b'{"values":{"dtype":"F32","shape":[1000000000000,4],"data_offsets":[0,16000000000000]}}'
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    for source in (path, io.BytesIO(path.read_bytes())):
        with pytest.raises(LatentFormatError, match="are not what its header says"):
            C3Latents.load(source)
    latents = C3Latents(**make_parts() | {"text_lengths": long(*[10**18] * 6)})
    loaded = C3Latents.from_bytes(latents.to_bytes())
    assert loaded.text_tokens == 6 * 10**18 and "text_tokens=6000000000000000000" in repr(loaded)


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


def test_bytes_and_file_objects(latents, path):
    latents.save(path)
    content = path.read_bytes()
    assert latents.to_bytes() == content and latents.bfloat16().to_bytes() != content
    assert_same(C3Latents.from_bytes(content), latents)
    pipe = Pipe()
    assert latents.save(pipe) is None and pipe.content == content
    assert_same(C3Latents.load(pipe), latents)
    with open(path, "wb") as file:
        latents.save(file)
    with open(path, "rb") as file:
        assert_same(C3Latents.load(file), latents)
    if hasattr(os, "mkfifo"):  # what a shell makes of <(…)
        os.mkfifo(path.with_name("pipe"))
        writer = threading.Thread(target=path.with_name("pipe").write_bytes, args=[content])
        writer.start()
        assert_same(C3Latents.load(path.with_name("pipe")), latents)
        writer.join()
    with (
        pytest.raises(LatentFormatError, match=f"^{path} is truncated: it has only 0 bytes"),
        open(path, "wb+") as file,
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


def test_tilde_is_the_home_folder(latents, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert latents.save("~/home.c3") == tmp_path / "home.c3"
    assert_same(C3Latents.load(Path("~/home.c3")), latents)
    with pytest.raises(FileNotFoundError, match=f"no latents file at {tmp_path}/away.c3"):
        C3Latents.load("~/away.c3")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_gpu(latents, path):
    on_gpu = latents.to("cuda")
    assert_same(C3Latents.load(on_gpu.save(path)), latents)
    assert C3Latents.load(path, device="cuda").device.type == "cuda"
    assert_same(C3Latents.cat([on_gpu[2], on_gpu[0]]).to("cpu"), latents[[2, 0]])
    with pytest.raises(ValueError, match=r"different device \(cpu, cuda:0\): move with .to\(device\) first"):
        C3Latents.cat([latents, on_gpu])
    on_gpu.values[3, 1] = float("nan")
    with pytest.raises(ValueError, match="first in latent 3 "):
        on_gpu.to(torch.bfloat16)
