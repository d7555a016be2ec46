"""Files that hold no latents, or not what was saved: each is refused with its reason, none is read wrongly."""

import copy
import io
import json
import pickle
import random
import tracemalloc
import warnings
import zlib
from collections import Counter
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load, save, save_file

from c3 import latents_file_c3, latents_storage_c3
from c3.corrections_c3 import InexactTextError, TextCorrections, checksum_of_ids, pack, unpack
from c3.latents_c3 import (
    C3Latents,
    LatentChecksumError,
    LatentFileWarning,
    LatentFormatError,
    LatentMismatchError,
    LatentProvenance,
)
from c3.text_pieces_c3 import joined_pieces
from latent_examples import PROVENANCE, assert_same, long, make_parts
from tiny_models import TEXTS


def write(latents_path, header, **change):
    tensors = {name: tensor for name, tensor in {**make_parts(), **change}.items() if tensor is not None}
    save_file(tensors, latents_path, metadata={"c3": header if isinstance(header, str) else json.dumps(header)})
    return latents_path


@pytest.mark.parametrize("keep", [0, 5, 8, 9, 60, -60, -1])
def test_truncated(latents, latents_path, keep):
    latents.save(latents_path)
    latents_path.write_bytes(latents_path.read_bytes()[:keep])
    size = latents_path.stat().st_size
    reason = f"it has only {size} bytes" if size < 9 else f"its {size} bytes are not what its header says"
    with pytest.raises(LatentFormatError, match=f"latents.safetensors is truncated.*{reason}.*Copy or compress it"):
        C3Latents.load(latents_path)


def test_too_long(latents, latents_path):
    latents.save(latents_path)
    latents_path.write_bytes(latents_path.read_bytes() + b"more")
    with pytest.raises(LatentFormatError, match="is truncated or damaged"):
        C3Latents.load(latents_path)


@pytest.mark.parametrize("zipped", [True, False])
def test_pickle_is_not_read(latents, latents_path, zipped):
    torch.save({"values": latents.values}, latents_path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(
        LatentFormatError, match=r"is not a safetensors file of latents \(it looks pickled.* never unpickles"
    ):
        C3Latents.load(latents_path)


@pytest.mark.parametrize("content", [b"plain text, long enough", b'{"json":{"a": 1}}', b"\0" * 64])
def test_not_safetensors(latents_path, content):
    latents_path.write_bytes(content)
    with pytest.raises(
        LatentFormatError, match="is not a safetensors file of latents. Pass a file written by C3Latents.save"
    ):
        C3Latents.load(latents_path)


def test_foreign_safetensors(latents_path):
    save_file({f"layer.{i}": torch.zeros(2) for i in range(7)}, latents_path, metadata={"format": "pt"})
    message = (
        r"safetensors file but not one of C3 latents .*tensors: 'layer.0', .*'layer.4', …\)\. Pass a file written by"
    )
    with pytest.raises(LatentFormatError, match=message):
        C3Latents.load(latents_path)
    save_file(make_parts(), latents_path)
    with pytest.raises(LatentFormatError, match="not one of C3 latents .no 'c3' in its metadata"):
        C3Latents.load(latents_path)


def test_newer_format(latents_path):
    write(latents_path, {"format_version": 4, "something": "new"}, values=None)
    with pytest.raises(LatentFormatError, match="latent format version 4, this c3 reads up to 3: upgrade c3"):
        C3Latents.load(latents_path)


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
def test_damaged_metadata(latents_path, header):
    with pytest.raises(LatentFormatError, match="has damaged C3 metadata .*. Compress the texts again"):
        C3Latents.load(write(latents_path, header))


@pytest.mark.filterwarnings("ignore:.*without a checksum")
def test_metadata_may_know_more_or_less(latents_path):
    header = {"format_version": 1, "provenance": {"model_name": "m", "colour": "red"}}
    loaded = C3Latents.load(write(latents_path, header))
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
def test_damaged_tensors(latents_path, change, message):
    with pytest.raises(LatentFormatError, match=message):
        C3Latents.load(write(latents_path, {"format_version": 1, "provenance": {}}, **change))


def test_what_a_file_claims_costs_nothing(latents_path):
    # A header of 64 MB, of which nothing is there; a tensor of terabytes; lengths that no memory could hold.
    latents_path.write_bytes((1 << 26).to_bytes(8, "little") + b'{"a":' + b" " * 100)
    with pytest.raises(LatentFormatError, match="is not a safetensors file of latents"):
        C3Latents.load(latents_path)
    header = b'{"values":{"dtype":"F32","shape":[1000000000000,4],"data_offsets":[0,16000000000000]}}'
    latents_path.write_bytes(len(header).to_bytes(8, "little") + header)
    for source in (latents_path, io.BytesIO(latents_path.read_bytes())):
        with pytest.raises(LatentFormatError, match="are not what its header says"):
            C3Latents.load(source)
    latents = C3Latents(**make_parts() | {"text_lengths": long(*[10**18] * 6)})
    loaded = C3Latents.from_bytes(latents.to_bytes())
    assert loaded.text_tokens == 6 * 10**18 and "text_tokens=6000000000000000000" in repr(loaded)


# The checksum


def carelessly_copied(content, seed=0):
    """Names and bytes of 200 damaged copies: flipped bits, bytes and stretches, cuts, insertions."""
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


def damaged_copies(content):
    """Names and bytes of damaged copies, with edits of the header."""
    yield from carelessly_copied(content)
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
def test_damaged_copies_are_refused_or_whole(latents_path, dtype):
    values = torch.randn(13, 4, generator=torch.Generator().manual_seed(0)).to(dtype)
    latents = C3Latents(**make_parts() | {"values": values}, provenance=PROVENANCE)
    refused = 0
    for name, damaged in damaged_copies(latents.to_bytes()):
        latents_path.write_bytes(damaged)
        for source in (latents_path, io.BytesIO(damaged)):
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", LatentFileWarning)
                    assert C3Latents.load(source) == latents, name
            except LatentFormatError as error:
                assert str(error).isprintable() and len(str(error)) < 700, name
                refused += 1
    assert refused > 300


def test_damage_has_a_name(latents, latents_path):
    content = latents.to_bytes()
    latents_path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(LatentChecksumError, match=r"is damaged: it does not hold what was saved .*Copy it again"):
        C3Latents.load(latents_path)


def test_a_large_file_is_checked_on_first_use(latents, latents_path, monkeypatch):
    monkeypatch.setattr(latents_storage_c3, "CHECKED_AT_ONCE", 100)
    latents.save(latents_path)
    content = latents_path.read_bytes()
    checks = []
    verify = latents_file_c3.StoredLatents.verify
    monkeypatch.setattr(latents_file_c3.StoredLatents, "verify", lambda self: checks.append(1) or verify(self))
    loaded = C3Latents.load(latents_path)
    assert repr(loaded) == repr(latents) and loaded.ratio == latents.ratio and not checks
    for made in (copy.copy(loaded), pickle.loads(pickle.dumps(loaded))):
        assert_same(made, latents)
    assert_same(loaded, latents)
    assert loaded[0] == latents[0] and len(checks) == 3
    assert not hasattr(loaded, "anything")

    latents_path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
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
        damaged = C3Latents.load(latents_path)
        for _ in range(2):
            with pytest.raises(LatentChecksumError):
                use(damaged)


def test_an_old_file_is_read_with_one_warning(latents, latents_path):
    write(latents_path, {"format_version": 1, "provenance": vars(PROVENANCE)})
    with pytest.warns(LatentFileWarning, match="saved without a checksum.*load it and save it anew") as caught:
        loaded = [C3Latents.load(latents_path), C3Latents.load(str(latents_path))]
    assert loaded == [latents, latents] and len(caught) == 1 and caught[0].filename == __file__
    loaded[0].save(latents_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert C3Latents.load(latents_path) == latents


# Corrections

NAMED = (LatentFormatError, LatentChecksumError, LatentMismatchError, InexactTextError)


@pytest.fixture(scope="module")
def exact(make_model):
    """
    A tiny model, latents of three texts with corrections, and the texts: one that the decoder gives back where half of
    its tokens are stored, one that is kept as tokens, and one that is kept as a text.
    """
    model = make_model("uniform")
    plain = model.compress([TEXTS[0][:9], TEXTS[2][:5]], ratio=4)
    whole = model.compress([TEXTS[1][:12]], ratio=4, exact=True)
    texts, packed = [], []
    for latents, text in zip(plain, (None, "a text \u2028 of its own"), strict=True):
        lengths = latents.text_lengths.tolist()
        stored = [{place: 260 + place for place in range(0, length, 2)} for length in lengths]
        # What the decoder makes of that is the text.
        corrections = TextCorrections(stored, [0] * len(stored), 0)
        found = dict(model.expand_windows(latents, [corrections]))
        windows = [found[place].ids for place in range(len(found))]
        texts.append(text or "".join(joined_pieces(model.processor, windows)))
        checksums = list(map(checksum_of_ids, windows)), zlib.crc32(texts[-1].encode())
        packed.append(pack(TextCorrections(stored, *checksums, text), lengths))
    latents = C3Latents.cat([replace(plain, corrections=tuple(packed)), whole])
    texts.append(TEXTS[1][:12])
    assert model.expand(latents) == texts and 0.3 < latents[0].fidelity < 0.7 and latents[2].fidelity == 0
    return model, latents, texts


def written(tensors, about, version=3):
    """A file of these tensors, with a checksum that is right."""
    layout = latents_file_c3._layout(tensors)
    pieces = [latents_file_c3._as_bytes(tensors[name]) for name in layout]
    said = {"format_version": version, "provenance": about}
    return save(
        tensors, {"c3": json.dumps(said | {"crc32": latents_file_c3._checksum(version, about, layout, pieces)})}
    )


def forged_copies(content, count, seed=0):
    """Files that hold something else than was saved, though their checksum says that they do not."""
    with_header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    about = json.loads(with_header["__metadata__"]["c3"])["provenance"]
    for number in range(count):
        # safetensors gives them in another order each time.
        draw, tensors = random.Random(f"{seed} {number}"), dict(sorted(load(content).items()))
        changed, version = dict(about), 3
        kind = draw.choice(["corrections"] * 4 + ["values", "lengths", "swapped", "shape", "about"])
        if kind == "corrections":
            data = bytearray(tensors["corrections"].numpy().tobytes())
            if draw.random() < 0.6:
                data[draw.randrange(len(data))] ^= draw.choice([1, 2, 1 << draw.randrange(8)])
            else:
                start, end = sorted(draw.randrange(len(data) + 1) for _ in range(2))
                data[start : draw.choice([start, start + 1, end])] = draw.randbytes(draw.randrange(4))
            tensors["corrections"] = torch.tensor(list(data), dtype=torch.uint8)
            lengths = tensors["correction_lengths"]
            lengths[draw.randrange(len(lengths))] += len(data) - lengths.sum()
        elif kind == "values":
            place = draw.randrange(tensors["values"].numel())
            tensors["values"].view(torch.int16).view(-1)[place] ^= 1 << draw.randrange(15)
        elif kind == "lengths":
            lengths = tensors[draw.choice([name for name in tensors if name.endswith(("lengths", "counts"))])]
            lengths[draw.randrange(len(lengths))] += draw.choice([-1, 1, 2, -(10**6), 10**6, 10**18, 2**62])
            lengths[draw.randrange(len(lengths))] += draw.choice([0, -1, 1])
        elif kind == "swapped":
            one, other = draw.sample(list(tensors), 2)
            tensors[one], tensors[other] = tensors[other], tensors[one]
        elif kind == "shape":
            name = draw.choice(list(tensors))
            change = draw.choice([lambda it: it.unsqueeze(0), lambda it: it[:-1].clone(), lambda it: it.float(), None])
            tensors = {each: tensor for each, tensor in tensors.items() if each != name or change is not None}
            if change is not None:
                tensors[name] = change(tensors[name])
        else:
            changed[draw.choice([*about, "single"])] = draw.choice(["", "true", "org/c4", "c0ffee0123456789"])
            version = draw.choice([1, 2, 3, 4, 10**30])
        yield f"{kind} {number}", written(tensors, changed, version)


def test_a_thousand_damaged_files_with_corrections(exact):
    """Each is refused, or gives the very texts."""
    model, latents, texts = exact
    content, outcomes = latents.to_bytes(), Counter()
    for name, data in (*carelessly_copied(content), *forged_copies(content, 800)):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", LatentFileWarning)
                loaded = C3Latents.from_bytes(data)
            found = model.expand(loaded)
        except ValueError as error:
            outcomes[type(error)] += 1
            assert type(error) in NAMED or "This model cannot have made these latents: " in str(error), name
            assert str(error).isprintable() and len(str(error)) < 700, name
        else:
            outcomes["read"] += 1
            found = [found] if loaded.single else found
            assert found == texts or loaded.corrections is None, name
    print(outcomes)
    assert sum(outcomes.values()) == 1000 and outcomes.keys() >= {*NAMED, ValueError, "read"}


def test_a_stored_text_costs_no_more_than_its_file():
    """One that would shrink to next to nothing is not shrunk, and none that has been is read."""
    long_text = TextCorrections([{}], [0], 0, " " * 10**6)
    assert unpack(pack(long_text, [1]), [1]) == long_text
    for length in range(1, 9000, 97):  # around the length from which it is not
        corrections = TextCorrections([{}], [0], 0, "a" * length)
        assert unpack(pack(corrections, [1]), [1]) == corrections
    bomb = pack(TextCorrections([{}], [0], 0), [1]) + zlib.compress(bytes(10**8))
    tracemalloc.start()
    with pytest.raises(LatentFormatError, match="damaged corrections: they hold half a text, or more than a text"):
        unpack(bomb, [10**18])
    assert tracemalloc.get_traced_memory()[1] < 200 * len(bomb)  # of a thousand times as many
    tracemalloc.stop()
