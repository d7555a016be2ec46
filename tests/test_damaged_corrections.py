"""Damaged files of exact latents: each is refused by an error that has a name, or the very text comes back."""

import io
import random
import warnings
import zlib
from dataclasses import replace

import pytest

from c3 import C3Latents, InexactTextError
from c3.corrections_c3 import TextCorrections, checksum_of_ids, pack, unpack
from c3.latents_c3 import LatentFileWarning, LatentFormatError, LatentMismatchError
from c3.text_pieces_c3 import joined_pieces
from tiny_models import LONG, TEXTS

NAMED = (LatentFormatError, InexactTextError, LatentMismatchError)


@pytest.fixture(scope="module")
def exact(make_model):
    """
    A model, latents with corrections of a few tokens, and the texts that they are for: what this model, which knows
    nothing, makes of latents when it is given these tokens. One text is stored as a whole besides.
    """
    model, draw = make_model(), random.Random(0)
    plain = model.compress([LONG[:150], TEXTS[1]])
    lengths, corrections, texts = plain.text_lengths.tolist(), [], []
    stored = [{place: draw.randrange(2, 300) for place in sorted(draw.sample(range(n), 2))} for n in lengths]
    stored[1] = {place: draw.randrange(2, 300) for place in range(lengths[1])}
    for owned in plain.windows_of_texts:
        corrections.append(TextCorrections([stored[place] for place in owned], [0] * len(owned), 0))
    found = dict(model.expand_windows(plain, corrections))
    packed = []
    for index, owned in enumerate(plain.windows_of_texts):
        windows = [found[place].ids for place in owned]
        texts.append("Stored instead." * 2 if index else "".join(joined_pieces(model.processor, windows)))
        checksums, kept = list(map(checksum_of_ids, windows)), texts[1] if index else None
        whole = TextCorrections(corrections[index].windows, checksums, zlib.crc32(texts[index].encode()), kept)
        packed.append(pack(whole, [lengths[place] for place in owned]))
    return model, replace(plain, corrections=tuple(packed)), texts


def damaged(data, draw):
    """Bytes with one to three flipped, replaced, cut out, put in, or cut off."""
    data = bytearray(data)
    for _ in range(draw.randrange(1, 4)):
        place, kind = draw.randrange(len(data) + 1), draw.randrange(5)
        if kind == 0 and place < len(data):
            data[place] ^= 1 << draw.randrange(8)
        elif kind == 1:
            data[place : place + 4] = draw.randbytes(4)
        elif kind == 2:
            del data[place : place + draw.randrange(1, 9)]
        elif kind == 3:
            data[place:place] = draw.choice([b"\0", b"\xff" * 9, draw.randbytes(3)])
        elif draw.random() < 0.2:
            del data[place:]
    return bytes(data)


def outcome(model, content):
    """The texts of a file, or None where it is refused as it should be."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", LatentFileWarning)
            latents = C3Latents.load(io.BytesIO(content))
        assert len(repr(latents)) < 500
        return model.expand(latents, show_progress=False)
    except NAMED as error:
        assert str(error).isprintable() and len(str(error)) < 700
        return None


def test_files(exact):
    model, latents, texts = exact
    content, draw = latents.to_bytes(), random.Random(1)
    assert outcome(model, content) == texts
    found = [outcome(model, damaged(content, draw)) for _ in range(500)]
    assert found.count(None) > 400 and all(each in (None, texts) for each in found)


def test_corrections_of_files_with_checksums_that_fit(exact):
    """As a stranger might write them: they go through all that reads corrections."""
    model, latents, texts = exact
    draw, refused = random.Random(2), 0
    for _ in range(500):
        corrections = [damaged(each, draw) if draw.random() < 0.6 else each for each in latents.corrections]
        if draw.random() < 0.05:
            corrections.reverse()
        found = outcome(model, replace(latents, corrections=tuple(corrections)).to_bytes())
        refused += found is None
        assert found in (None, texts)
    assert 300 < refused < 500


def test_a_text_is_not_unpacked_beyond_what_its_tokens_can_be(exact):
    model, latents, _ = exact
    lengths = latents[1].text_lengths.tolist()
    kept = unpack(latents.corrections[1], lengths)
    bomb = pack(replace(kept, text="a" * 10_000_000), lengths)
    assert len(bomb) < 20_000
    latents = replace(latents[1], corrections=(bomb,))
    assert latents.fidelity is not None and "fidelity" in repr(latents)
    with pytest.raises(InexactTextError, match="text 0: its corrections hold a text that is too long, .* Compress it"):
        model.expand(latents)
