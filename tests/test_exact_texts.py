"""
Whatever a text is, however its latents are made, kept, batched and expanded: it comes back byte for byte. Run: pytest
tests/test_exact_texts.py, and with `-m slow` for a thousand texts.
"""

import functools
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from c3 import C3Model, C3Processor
from c3.training.data.tokenizer import train_tokenizer
from exactness import DTYPES, assert_exact
from random_texts import text_groups
from tiny_models import TEXTS

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.filterwarnings("ignore::c3.CompressionWarning")


@pytest.fixture(scope="module")
def shipped():
    """The default checkpoint, `shipped(dtype, attention)`."""

    @functools.cache
    def load(dtype, attention="sdpa"):
        return C3Model.from_pretrained(ROOT, dtype=dtype, attn_implementation=attention)

    yield load
    load.cache_clear()


def test_random_texts(shipped, tmp_path):
    models = [shipped(torch.float32), shipped(torch.bfloat16)]
    assert not sum(assert_exact(draw, texts, models, models, tmp_path) for draw, texts in text_groups(60, 0, 150))


def byte_level(**parts):
    """The tests' tokenizer with other parts of `tokenizers`."""
    backend = train_tokenizer(TEXTS * 4, vocab_size=290).backend_tokenizer
    for name, part in parts.items():
        setattr(backend, name, part)
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|endoftext|>", pad_token="<|endoftext|>")


def like_bert():
    letters = sorted(set("".join(TEXTS).lower()) - {" ", "\n"})
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *letters, *("##" + each for each in letters), "the", "was", "##es"]
    backend = Tokenizer(models.WordPiece({token: i for i, token in enumerate(tokens)}, unk_token="[UNK]"))
    backend.normalizer, backend.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="[UNK]", pad_token="[PAD]", eos_token="[SEP]")


def like_llama():
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", *"aefhimnorstw", "th", "▁th"]
    merges = [("t", "h"), ("▁", "th")]
    vocab = {token: i for i, token in enumerate(tokens)}
    backend = Tokenizer(models.BPE(vocab, merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    parts = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    backend.decoder = decoders.Sequence(parts)
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>", bos_token="<s>", eos_token="</s>")


RATIOS = {"appended": (4, 64), "uniform": (1, 16)}
TOKENIZERS = {
    "byte-level": byte_level,
    "lower-casing": lambda: byte_level(normalizer=normalizers.Lowercase()),
    "NFKC": lambda: byte_level(normalizer=normalizers.NFKC()),
    "stripping": lambda: byte_level(normalizer=normalizers.Strip()),
    "WordPiece": like_bert,
    "SentencePiece": like_llama,
}


# Which of them make no tokens of spaces.
WITHOUT_TOKENS = ("stripping", "WordPiece")


@pytest.mark.parametrize("layout", RATIOS)
@pytest.mark.parametrize("name", TOKENIZERS)
def test_other_tokenizers(name, layout, make_model, tokenizer, tmp_path):
    """With the encoder's own tokenizer, another than the decoder's, where that one is byte-level."""
    model = make_model(layout)
    context = {"context_tokenizer": tokenizer} if name in ("byte-level", "WordPiece") else {}
    model.processor = C3Processor.from_config(model.config, TOKENIZERS[name](), **context)
    if name in WITHOUT_TOKENS:
        with pytest.raises(ValueError, match="makes no tokens of the text '  '. Leave it out, or .* with exact=True"):
            model.compress(["fine", "  "])
    for draw, texts in text_groups(12, name, 200):
        texts.append(" " * draw.randrange(1, 9))  # of which some tokenizers make no token
        assert not assert_exact(draw, texts, [model], [model], tmp_path, RATIOS[layout])


@pytest.mark.slow
def test_a_thousand_random_texts(shipped, tmp_path):
    kinds = [*((dtype, "sdpa") for dtype in DTYPES), (torch.float32, "eager"), (torch.bfloat16, "eager")]
    models = [shipped(*kind) for kind in kinds]
    assert not sum(assert_exact(draw, texts, models, models, tmp_path) for draw, texts in text_groups(1000, 1, 400))


@pytest.mark.slow
def test_compiled(tmp_path):
    """As users compile a model: compiled when expanded and not when compressed, and the other way round."""
    plain, forward, decoder = (C3Model.from_pretrained(ROOT, dtype=torch.float32) for _ in range(3))
    forward.compile(backend="aot_eager", dynamic=True)
    decoder.decoder.base_model.compile(backend="aot_eager", dynamic=True)
    for makers, readers in (([plain], [forward, decoder]), ([decoder, forward], [plain])):
        groups = list(text_groups(20, f"compiled {len(makers)}", 300))
        assert not sum(assert_exact(draw, texts, makers, readers, tmp_path) for draw, texts in groups)


@pytest.mark.slow
def test_another_number_of_threads(shipped, tmp_path):
    """Not among what is drawn above: where cores are taken, threads that wait for each other take minutes."""
    threads, model = torch.get_num_threads(), shipped(torch.float32)
    for draw, texts in text_groups(5, "threads", 60):
        latents = model.compress(texts, ratio=draw.uniform(1, 64), exact=True)
        torch.set_num_threads(1 if threads > 1 else 2)
        try:
            assert model.expand(latents) == texts
        finally:
            torch.set_num_threads(threads)
