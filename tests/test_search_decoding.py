"""What came back is encoded again: that tells right windows from wrong ones, and a search when it has arrived."""

import warnings
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from c3 import C3Model, C3Processor, CompressionWarning, ExpandedWindow
from c3.corrections_c3 import special_ids
from c3.reencoding_c3 import MOST_DISTANCE, latent_distances
from c3.replacements_c3 import replacements
from c3.teacher_forcing_c3 import token_leads
from c3.training.data.tokenizer import train_tokenizer
from tiny_models import LONG, TEXTS

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def shipped():
    return C3Model.from_pretrained(ROOT)


@pytest.fixture(scope="module")
def page():
    return (ROOT / "examples" / "jefferson_1805.txt").read_bytes().decode()[:1100]


@pytest.fixture(scope="module")
def latents(shipped, page):
    """At a ratio at which greedy decoding loses some of the windows."""
    return shipped.compress(page, ratio=32)


def right_windows(model, expanded, latents, text):
    """Which windows have the text's own tokens."""
    ids, right = model.processor.encode(text), []
    for window, length in zip(expanded.windows, latents.text_lengths.tolist(), strict=True):
        right.append(window.ids == ids[:length])
        ids = ids[length:]
    return right


def test_the_check_tells_wrong_windows(shipped, latents, page):
    expanded = shipped.expand(latents, check=True)
    right = right_windows(shipped, expanded, latents, page)
    assert True in right and False in right
    assert [window.comes_back for window in expanded.windows] == right
    assert expanded.lost_windows == [place for place, is_right in enumerate(right) if not is_right]
    assert (
        expanded.text
        == shipped.expand(latents)
        == "".join(w.text for w in shipped.expand(latents, stream=True, check=True))
    )
    assert all(window.margins is None for window in expanded.windows)
    for dtype in (torch.bfloat16, torch.float16):
        model = C3Model.from_pretrained(ROOT, dtype=dtype)
        found = model.expand(latents, check=True, allow_mismatch=True)
        assert [window.comes_back for window in found.windows] == right_windows(model, found, latents, page)


def test_one_wrong_token_is_seen(shipped, page):
    """At every ratio, whichever token it is; and what is right has next to no distance."""
    ids = shipped.processor.encode(page)[:64]
    for count in (16, 4, 2):
        given = shipped.compress(shipped.processor.decode(ids), num_latents=count, window=64)
        span, values = given.spans[0], given.windows()
        (right,) = latent_distances(shipped, [ids], span, values, 8)
        others = replacements(shipped, span, values, [ids], torch.tensor(special_ids(shipped.processor)))[0]
        wrong = [[*ids[:place], token, *ids[place + 1 :]] for place, token in others[::4]]
        distances = latent_distances(shipped, wrong, span * len(wrong), values * len(wrong), 16)
        assert right < MOST_DISTANCE / 10 and 2 * MOST_DISTANCE < min(distances)


class RecordedBar:
    """In the place of a progress bar: where it was moved to and what it told, in order."""

    def __init__(self, monkeypatch):
        self.told, self.n, self.shown_above = [], 0, None
        monkeypatch.setattr("c3.expansion_c3.progress_bar", self._made)

    def _made(self, total, shown_above, *args):
        self.shown_above = shown_above
        return nullcontext(self)

    def update(self, count):
        self.n += count
        self.told.append(self.n)

    set_postfix_str = property(lambda self: self.told.append)


def test_the_search_finds_what_greedy_decoding_misses(shipped, latents, page, monkeypatch):
    greedy = shipped.expand(latents, check=True)
    bar = RecordedBar(monkeypatch)
    found = shipped.expand(latents, method="search", beams=16, check=True, return_scores=True)
    assert bar.told[:2] == [latents.num_windows - len(greedy.lost_windows), "8 beams"]
    assert bar.n == latents.num_windows and bar.shown_above == 0
    right = right_windows(shipped, found, latents, page)
    assert [window.comes_back for window in found.windows] == right
    assert len(found.lost_windows) < len(greedy.lost_windows) / 2
    for before, after, span, values in zip(
        greedy.windows, found.windows, latents.spans[0], latents.windows(), strict=True
    ):
        assert after.distance <= before.distance and (before.ids == after.ids) == before.comes_back
        suppressed = torch.tensor(special_ids(shipped.processor))
        (leads,) = token_leads(shipped, [span], values, [after.ids], suppressed)
        assert after.margins == pytest.approx(leads.tolist(), abs=1e-3)
        assert (float(leads.min()) < 0) == (before.ids != after.ids)


def test_a_search_without_check_warns_of_what_it_did_not_find(make_model, monkeypatch):
    """As of a model that knows nothing; meanwhile it says what it tries."""
    model = make_model("uniform")
    latents = model.compress(TEXTS[:2])
    with pytest.warns(CompressionWarning, match=r"windows were not found: text 0, windows 0, .*; text 1, window 0"):
        found = model.expand(latents, method="search", beams=2)
    assert [len(model.processor.encode(each)) > 0 for each in found] == [True, True]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bar = RecordedBar(monkeypatch)
        checked = model.expand(latents, method="search", beams=2, check=True)
        tried = ["2 beams", *(f"replaced tokens, round {number} of 5" for number in range(1, 6)), ""]
        assert [each for each in bar.told if isinstance(each, str)] == tried and bar.n == latents.num_windows
        assert [each.text for each in checked] == found and checked[1].lost_windows == [0]


def test_exact_texts_are_proven_by_their_checksums(shipped, page, monkeypatch):
    latents = shipped.compress(page[:300], ratio=40, exact=True)
    monkeypatch.setattr(type(shipped), "encode_windows", None)
    for method in (None, "search"):
        expanded = shipped.expand(latents, method=method, check=True)
        assert expanded.text == page[:300] and all(window.comes_back for window in expanded.windows)


def test_latents_that_are_no_texts_are_found_out(shipped, latents):
    turned = replace(latents, values=latents.values.flip(0))
    expanded = shipped.expand(turned, check=True)
    assert len(expanded.lost_windows) >= latents.num_windows - 1


def test_options_that_do_not_fit_are_refused(shipped, latents, monkeypatch):
    with pytest.raises(ValueError, match="beams are those of method='search'"):
        shipped.expand(latents, beams=4)
    monkeypatch.setattr(type(shipped), "check_latents", None)  # which reads all weights
    for beams in (0, 257, 1 << 40):
        with pytest.raises(ValueError, match=f"beams must be an integer from 1 to 256, not {beams}"):
            shipped.expand(latents, method="search", beams=beams)
    with pytest.raises(ValueError, match="method must be one of greedy, parallel, search, not 'beam'"):
        shipped.expand(latents, method="beam")


def byte_level(**parts):
    tokenizer = train_tokenizer(TEXTS * 4, vocab_size=300)
    for name, part in parts.items():
        setattr(tokenizer.backend_tokenizer, name, part)
    return tokenizer


def metaspace():
    """As made with SentencePiece: words begin with a mark, which is no space at the start of a text."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    trainer = trainers.BpeTrainer(vocab_size=200, special_tokens=["</s>"], show_progress=False)
    backend.train_from_iterator(TEXTS, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>", pad_token="</s>")


DECODERS = {
    "byte-level": byte_level,
    "its spaces outside of tokens": lambda: byte_level(post_processor=processors.ByteLevel(trim_offsets=True)),
    "SentencePiece": metaspace,
}


@pytest.mark.filterwarnings("ignore::c3.CompressionWarning")
@pytest.mark.parametrize("name", DECODERS)
def test_an_encoder_with_a_tokenizer_of_its_own_reads_the_text_again(name, make_model, monkeypatch):
    """A replacement character of the text included, and spaces at the start of windows."""
    model = make_model("uniform")
    model.processor = C3Processor.from_config(model.config, DECODERS[name](), byte_level())
    text = LONG if name == "SentencePiece" else LONG + "ab\ufffdcd\ufffd"
    latents, windows = model.compress(text), model.processor.plan(text).windows
    ids = [list(window.text_ids) for window in windows]
    assert any(text[begin] == " " for begin in windows.contexts.begins[1:-1])
    contexts = [model.processor.context_of(each, place > 0) for place, each in enumerate(ids)]
    assert contexts == [window.context for window in windows]
    for found, options in ((ids, {}), ([*ids[1:], ids[0]], {"method": "search", "beams": 1})):
        decoded = [ExpandedWindow(each) for each in found]
        monkeypatch.setattr("c3.expansion_c3.decode_windows", lambda *args, decoded=decoded: decoded)
        monkeypatch.setattr("c3.search_decoding_c3.beam_texts", lambda *args: [[each] for each in ids])
        checked = list(model.expand(latents, check=True, stream=True, batch_size=len(ids), **options))
        assert [window.ids for window in checked] == ids and all(window.comes_back for window in checked)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_gpu(uniform):
    latents = uniform.compress(LONG)  # on the CPU, as a file gives them
    try:
        uniform.cuda().expand(latents, method="search", beams=2, check=True, return_scores=True)
    finally:
        uniform.cpu()


def test_leads_are_computed_where_the_model_is(uniform, monkeypatch):
    """Wherever the latents are, which a file gives on the CPU."""
    asked = []
    monkeypatch.setattr("c3.teacher_forcing_c3.execution_device", lambda part: asked.append(part) or part.weight.device)
    latents = uniform.compress(TEXTS[0], exact=True)
    assert asked and all(part is uniform.get_input_embeddings() for part in asked)
    assert uniform.expand(latents) == TEXTS[0]
