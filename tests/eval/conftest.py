"""Pages and command lines for the tests of evaluation."""

import pytest

from c3.eval.text_kinds import cut_tokens
from eval_files import PAGES, write_lines


@pytest.fixture
def data(tmp_path):
    """File of three pages."""
    rows = [{"id": f"p{i}", "source": "a book", "text": text * 3} for i, text in enumerate(PAGES)]
    return write_lines(tmp_path / "pages.jsonl", rows)


@pytest.fixture
def arguments(checkpoint, data):
    """What every suite needs to know to measure a tiny model on three pages."""
    return ["--model", str(checkpoint), "--data", str(data), "--device", "cpu", "--batch-size", "16"]


@pytest.fixture
def long_pages(tokenizer):
    """Texts of about 650 and 1250 of the tiny tokenizer's tokens, and one that is too short."""
    return [*(cut_tokens(tokenizer, PAGES[0] * 80, length) for length in (650, 1250)), PAGES[1]]
