"""C3Latents: what it accepts, how it is cut and joined, and its file. Run: pytest tests/test_latents.py"""

import json
import os
import stat
from dataclasses import FrozenInstanceError, replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from c3 import latents_file_c3
from c3.latents_c3 import FORMAT_VERSION, C3Latents, LatentFormatError, LatentMismatchError, LatentProvenance

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
    assert FORMAT_VERSION == 1


def test_windows_are_views(latents):
    windows = latents.windows()
    assert [len(window) for window in windows] == [2, 1, 3, 2, 1, 4]
    assert torch.equal(torch.cat(windows), latents.values)
    assert windows[1].data_ptr() == latents.values[2].data_ptr()
    of_second = latents.windows_of(1)
    assert [len(window) for window in of_second] == [1, 3, 2]
    assert of_second[0].data_ptr() == latents.values[2].data_ptr()
    assert [len(window) for window in latents.windows_of(-1)] == [1, 4]
    with pytest.raises(IndexError, match="text 3 is out of range: there are 3 texts"):
        latents.windows_of(3)


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
        (dict(window_counts=long()), "window_counts is empty: C3Latents holds at least one text"),
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
        (torch.tensor(1), [1]),
    ],
)
def test_index(latents, index, texts):
    picked = latents[index]
    assert isinstance(picked, C3Latents) and len(picked) == len(texts)
    assert picked.window_counts.tolist() == [(1, 3, 2)[text] for text in texts]
    assert picked.text_lengths.tolist() == sum(([[8], [5, 12, 8], [3, 16]][text] for text in texts), [])
    rows = sum((list(range(*[(0, 2), (2, 8), (8, 13)][text])) for text in texts), [])
    assert torch.equal(picked.values, latents.values[rows])
    assert picked.provenance == PROVENANCE


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
        (slice(3, None), IndexError, "picks none of 3 texts: C3Latents holds at least one text"),
        ([], IndexError, "picks none of 3 texts"),
        ([True, False, True], TypeError, "a mask of booleans does not pick texts: pass their indices"),
        ("0", TypeError, "indices must be integers"),
        (1.0, TypeError, "indices must be integers"),
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


def test_cat_keeps_what_all_parts_agree_on(latents):
    other = replace(latents, provenance=replace(PROVENANCE, library_version="0.2.0", weights_fingerprint=""))
    joined = C3Latents.cat([latents, other]).provenance
    assert joined == replace(PROVENANCE, library_version="", weights_fingerprint="")


def test_cat_of_what_does_not_fit(latents):
    with pytest.raises(ValueError, match="parts is empty: C3Latents.cat needs at least one"):
        C3Latents.cat([])
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
    assert latents.to("cpu") is latents.to(torch.float32) is latents
    with pytest.raises(ValueError, match="values must be torch.float32 or .*, not torch.float64"):
        latents.to(torch.float64)


def test_to_finds_an_overflow(latents):
    latents.values[5, 0] = 1e5
    with pytest.raises(ValueError, match="first in latent 5 .*float16 overflows above 65504"):
        latents.to(torch.float16)


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


def test_check_compatible(latents):
    known = PROVENANCE.config_fingerprint, PROVENANCE.weights_fingerprint
    latents.check_compatible(*known, "any/name")
    latents.check_compatible(*known, "any/name", PROVENANCE.tokenizer_fingerprint)
    latents.check_compatible("", "", "unknown")
    C3Latents(**make_parts()).check_compatible("aa", "bb", "org/b", "cc")


@pytest.mark.parametrize("position, name", [(0, "config"), (1, "weights"), (2, "tokenizer")])
def test_check_compatible_names_both(latents, position, name):
    prints = [PROVENANCE.config_fingerprint, PROVENANCE.weights_fingerprint, PROVENANCE.tokenizer_fingerprint]
    made = prints[position]
    prints[position] = "badbadbadbadbad0"
    with pytest.raises(LatentMismatchError) as caught:
        latents.check_compatible(prints[0], prints[1], "org/other", tokenizer_fingerprint=prints[2])
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
        header = json.loads(file.metadata()["c3"])
    assert header == {"format_version": 1, "provenance": vars(PROVENANCE)}


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


@pytest.mark.parametrize("step", ["save_file", "fsync", "replace"])
def test_failing_save_leaves_the_old_file(latents, path, monkeypatch, step):
    latents.save(path)
    before = path.read_bytes()

    def fail(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(latents_file_c3 if step == "save_file" else os, step, fail)
    with pytest.raises(OSError, match="No space left on device"):
        latents[0].save(path)
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


def test_save_into_nowhere(latents, tmp_path):
    with pytest.raises(FileNotFoundError, match="cannot save latents to .*x.safetensors: the folder .* does not exist"):
        latents.save(tmp_path / "missing" / "x.safetensors")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError):
        latents.save(tmp_path / "folder")
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
    with pytest.raises(LatentFormatError, match=r"is not a safetensors file \(it looks pickled.* never unpickles"):
        C3Latents.load(path)


@pytest.mark.parametrize("content", [b"plain text, long enough", b'{"json":{"a": 1}}', b"\0" * 64])
def test_not_safetensors(path, content):
    path.write_bytes(content)
    with pytest.raises(LatentFormatError, match="is not a safetensors file. Pass a file written by C3Latents.save"):
        C3Latents.load(path)


def test_foreign_safetensors(path):
    save_file({f"layer.{i}": torch.zeros(2) for i in range(7)}, path, metadata={"format": "pt"})
    message = (
        r"safetensors file but not one of C3 latents .*tensors: layer.0, .*layer.4, \.\.\.\)\. Pass a file written by"
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
    write(path, {"format_version": 2, "something": "new"}, values=None)
    with pytest.raises(LatentFormatError, match="latent format version 2, this c3 reads up to 1: upgrade c3"):
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
    ],
)
def test_damaged_metadata(path, header):
    with pytest.raises(LatentFormatError, match="has damaged C3 metadata .*. Compress the texts again"):
        C3Latents.load(write(path, header))


def test_metadata_may_know_more_or_less(path):
    loaded = C3Latents.load(write(path, {"format_version": 1, "provenance": {"model_name": "m", "colour": "red"}}))
    assert loaded.provenance == LatentProvenance(model_name="m")


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


def test_damaged_provenance(path):
    with pytest.raises(LatentFormatError, match="damaged latents: provenance.dtype must be a str, got int: 16"):
        C3Latents.load(write(path, {"format_version": 1, "provenance": {"dtype": 16}}))


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
