"""Fidelity: measured while texts are compressed, and kept with the latents. Run: pytest tests/test_fidelity.py"""

import copy
import io
import json
import random
import zlib
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tokenizers import decoders

from c3 import C3Latents, C3Model, CompressionWarning, measured_windows_c3
from c3.corrections_c3 import checksum_of_ids
from c3.latents_c3 import LatentFormatError
from c3.latents_fidelity_c3 import rounded_fidelity
from c3.text_pieces_c3 import joined_pieces
from latent_examples import PROVENANCE, long, make_parts
from tiny_models import TEXTS

ROOT = Path(__file__).parents[1]
COUNTS = (0, 5, 2, 0, 1, 4)


@pytest.fixture(scope="module")
def shipped():
    return C3Model.from_pretrained(ROOT)


@pytest.fixture(scope="module")
def page():
    return (ROOT / "examples" / "jefferson_1805.txt").read_text(encoding="utf-8")[:900]


@pytest.fixture
def measured():
    return C3Latents(**make_parts(), provenance=PROVENANCE, correction_counts=long(*COUNTS))


@pytest.mark.filterwarnings("ignore::c3.CompressionWarning")
def test_measured_is_what_exact_stores(shipped, page, tmp_path):
    texts = [page, TEXTS[1], TEXTS[2]]
    # In batches alike, as some CPUs round otherwise in others.
    exact = shipped.compress(texts, ratio=45, exact=True, batch_size=3)
    latents = shipped.compress(texts, ratio=45, measure=True, batch_size=3)
    assert latents.corrections is None and 0.5 < latents[0].fidelity < 1
    for ours, stored in zip(latents.window_fidelities, exact.window_fidelities, strict=True):
        assert ours == stored or stored == 0  # kept as its tokens
    assert latents[0].window_fidelities == exact[0].window_fidelities
    assert torch.equal(latents.values, exact.values) and shipped.compress(page, ratio=45).fidelity is None
    # Written while they are made, the very same file.
    written = shipped.compress(texts, ratio=45, measure=True, batch_size=3, output=tmp_path / "written.c3")
    latents.save(tmp_path / "saved.c3")
    assert (tmp_path / "written.c3").read_bytes() == (tmp_path / "saved.c3").read_bytes()
    assert written == latents and written.window_fidelities == latents.window_fidelities


def test_it_says_the_share_that_needs_no_correction(measured):
    assert measured.window_fidelities == [1, 0, 10 / 12, 1, 2 / 3, 12 / 16] and measured.fidelity == 40 / 52
    assert [text.fidelity for text in measured] == [1, (25 - 7) / 25, (19 - 5) / 19]
    assert "ratio=4.0x, 208.0 B, fidelity=0.7692, model=" in repr(measured)
    assert "fidelity" not in repr(replace(measured, correction_counts=None)) and measured[:0].fidelity is None
    assert list(map(rounded_fidelity, (1.0, 1 - 1e-9, 0.5))) == ["1.0000", "0.9999", "0.5000"]
    damaged = replace(measured, correction_counts=None, corrections=(b"", b"", b""))
    assert "fidelity" not in repr(damaged)
    with pytest.raises(ValueError, match="damaged corrections: they end before their 1 windows"):
        damaged.fidelity  # noqa: B018


def test_it_stays_with_the_texts(measured, shipped, page):
    assert measured[1].correction_counts.tolist() == [5, 2, 0]
    assert measured[[2, 0]].correction_counts.tolist() == [1, 4, 0]
    assert measured[[2, 0]].window_fidelities == [2 / 3, 3 / 4, 1]
    assert measured[:2] + measured[2] == measured
    assert measured.half().correction_counts.tolist() == list(COUNTS)
    plain = replace(measured, correction_counts=None)
    other = replace(measured, correction_counts=long(0, 5, 2, 0, 1, 3))
    assert measured != plain and plain != measured and measured != other and plain == replace(plain)
    assert (measured + plain).fidelity is None and (plain + measured).correction_counts is None
    # Corrections are a measurement too, but one without them leaves none.
    exact, counted = shipped.compress(page, ratio=45, exact=True), shipped.compress(TEXTS[0], measure=True)
    with pytest.warns(CompressionWarning, match="only some of these latents were compressed with exact=True") as caught:
        both = C3Latents.cat([exact, counted])
    assert caught[0].filename == __file__
    assert both.corrections is None
    assert both.window_fidelities == exact.window_fidelities + counted.window_fidelities
    with pytest.raises(ValueError, match="correction_counts are for latents without corrections"):
        replace(exact, correction_counts=long(*[0] * exact.num_windows))


def test_it_is_in_the_file(measured, latents_path):
    measured.save(latents_path)
    assert C3Latents.load(latents_path) == measured == C3Latents.from_bytes(measured.to_bytes())
    assert C3Latents.load(latents_path).window_fidelities == measured.window_fidelities
    header = latents_path.read_bytes()[8:2000]
    assert rb"format_version\": 3" in header
    assert rb"format_version\": 2" in replace(measured, correction_counts=None).to_bytes()[8:2000]


@pytest.mark.parametrize(
    "counts, message",
    [
        (long(0, 6, 0, 0, 0, 0), r"correction_counts\[1\] must be 0 to 5, its window's text tokens, but it is 6"),
        (long(0, 0, 0, -1, 0, 0), r"correction_counts\[3\] must be 0 to 8, its window's text tokens, but it is -1"),
        (long(0, 0), "must be torch.int64, one for each of 6 windows, not torch.int64 of shape"),
        (torch.zeros(6), "must be torch.int64, one for each of 6 windows, not torch.float32 of shape"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*without a checksum")
def test_counts_that_cannot_be(counts, message, latents_path):
    with pytest.raises(ValueError, match=message):
        C3Latents(**make_parts(), correction_counts=counts)
    header = {"format_version": 1, "provenance": {}}
    save_file(make_parts() | {"correction_counts": counts}, latents_path, metadata={"c3": json.dumps(header)})
    with pytest.raises(LatentFormatError, match=f"damaged latents: .*{message}.* Compress the texts again"):
        C3Latents.load(latents_path)


def test_counts_must_be_a_tensor():
    with pytest.raises(TypeError, match="correction_counts must be a torch.Tensor, got list"):
        C3Latents(**make_parts(), correction_counts=[0] * 6)


def test_damaged_files_are_refused_or_whole(measured):
    draw, content = random.Random(0), measured.to_bytes()
    refused = 0
    for number in range(400):
        data = bytearray(content)
        place = draw.randrange(len(data))
        if number % 2:
            data[place] ^= 1 << draw.randrange(8)
        else:
            data[place : place + draw.randrange(1, 20)] = draw.randbytes(draw.randrange(3))
        try:
            assert C3Latents.load(io.BytesIO(bytes(data))) == measured
        except LatentFormatError as error:
            refused += 1
            assert str(error).isprintable()
    assert refused > 350
    renamed = content.replace(b"correction_counts", b"correction_count_")
    with pytest.raises(LatentFormatError, match="is damaged"):
        C3Latents.from_bytes(renamed)


def test_checksums_are_those_of_files_that_there_are():
    """CRC-32 of four bytes an id, the lowest first, of which one byte is kept."""
    for ids in ([], [0], [1, 256, 70000, 2**31]):
        assert checksum_of_ids(ids) == zlib.crc32(b"".join(i.to_bytes(4, "little") for i in ids)) & 0xFF


@pytest.mark.parametrize("joins_bytes", [True, False])
def test_what_ids_give_back_is_known_from_all_at_once(joins_bytes, uniform, monkeypatch):
    """As `expand` joins it window by window: wherever it is cut, and a replacement character of the text included."""
    monkeypatch.setattr(measured_windows_c3, "DECODED_AT_ONCE", 7)
    monkeypatch.setattr(measured_windows_c3, "_joins_bytes", lambda tokenizer: joins_bytes)
    for text in (*TEXTS, "\ufffd" * 40, "短い文章" * 30, "a\ufffd", "x" * 7, " 😀" * 25):
        windows = uniform.processor.split(text, window=5)
        assert measured_windows_c3._decoded(uniform.processor, windows) == text
        assert "".join(joined_pieces(uniform.processor, (each.text_ids for each in windows))) == text


def test_which_tokenizers_join_bytes(tokenizer):
    assert measured_windows_c3._joins_bytes(tokenizer) and not measured_windows_c3._joins_bytes(None)
    other = copy.deepcopy(tokenizer)
    other.backend_tokenizer.decoder = decoders.Metaspace()
    assert not measured_windows_c3._joins_bytes(other)
