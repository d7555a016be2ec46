"""C3Latents: what it is, what it refuses, how it is joined and converted. Run: pytest tests/test_latents.py"""

from dataclasses import FrozenInstanceError, replace

import pytest
import torch

from c3.latents_c3 import FORMAT_VERSION, C3Latents, LatentProvenance
from latent_examples import DTYPES, FIELDS, PROVENANCE, assert_same, long, make_parts


def test_properties(latents):
    assert (len(latents), latents.num_windows, latents.num_latents, latents.hidden_size) == (3, 6, 13, 4)
    assert (latents.dtype, latents.device, latents.nbytes) == (torch.float32, torch.device("cpu"), 13 * 4 * 4)
    assert latents.text_tokens == 52
    assert latents.ratio == 4.0
    assert latents.ratios == [8 / 2, 25 / 6, 19 / 5]
    assert FORMAT_VERSION == 3


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
    assert latents.windows_of_texts == [range(0, 1), range(1, 4), range(4, 6)]


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


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_gpu(latents, latents_path):
    on_gpu = latents.to("cuda")
    assert_same(C3Latents.load(on_gpu.save(latents_path)), latents)
    assert C3Latents.load(latents_path, device="cuda").device.type == "cuda"
    assert_same(C3Latents.cat([on_gpu[2], on_gpu[0]]).to("cpu"), latents[[2, 0]])
    with pytest.raises(ValueError, match=r"different device \(cpu, cuda:0\): move with .to\(device\) first"):
        C3Latents.cat([latents, on_gpu])
    on_gpu.values[3, 1] = float("nan")
    with pytest.raises(ValueError, match="first in latent 3 "):
        on_gpu.to(torch.bfloat16)
