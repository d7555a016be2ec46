"""What is taken for texts, in whatever users have them, and what is not. Run: pytest tests/test_texts.py"""

import io
from collections import UserDict
from pathlib import Path

import numpy as np
import pandas
import pytest
import torch
from datasets import Dataset, DatasetDict

from tiny_models import TEXTS


@pytest.mark.parametrize(
    "text,error,message",
    [
        ("", ValueError, "text is empty"),
        (["a", ""], ValueError, "text 1 is empty"),
        ([], ValueError, "the list is empty"),
        (iter([]), ValueError, "the list is empty"),
        ("a\ud800b", ValueError, "lone surrogate U\\+D800 at character 1"),
        (["a", None], TypeError, "text 1 must be a string, not NoneType"),
        (["a", b"b"], TypeError, "text 1 must be a string, not bytes: decode it first"),
        ([["a"]], TypeError, "text 0 must be a string, not list"),
        (None, TypeError, "text must be a string or strings, not NoneType"),
        (7, TypeError, "text must be a string or strings, not int"),
        (b"bytes", TypeError, "not bytes: decode it first"),
        (Path("a.txt"), TypeError, "not PosixPath: pass what the file holds"),
        (io.StringIO("a\nb\n"), TypeError, "not StringIO: pass what it holds"),
        ({"b", "a"}, TypeError, "not set, which has no order: pass a list"),
        (
            np.array([["a", "b"]]),
            TypeError,
            "not ndarray of 2 dimensions: pass strings in one",
        ),
        (
            np.array("a"),
            TypeError,
            "not ndarray of 0 dimensions: pass strings in one",
        ),
        (torch.tensor([5, 6]), TypeError, "text 0 must be a string, not Tensor"),
        ({"text": "a", "id": "7"}, TypeError, "not dict: pick the text in it by its name"),
        (UserDict(text="a"), TypeError, "not UserDict: pick the text in it by its name"),
        (pandas.DataFrame({"text": ["a"]}), TypeError, "not DataFrame: pick the text in it by its name"),
        (pandas.Series(["a", None]), TypeError, "text 1 must be a string, not"),
        (Dataset.from_dict({"text": ["a"]}), TypeError, "not Dataset: pick the text in it by its name"),
        (Dataset.from_dict({"text": ["a"]}).data, TypeError, "not InMemoryTable: pick the text in it by its name"),
        (DatasetDict(train=Dataset.from_dict({"text": ["a"]})), TypeError, "not DatasetDict: pick the text in it"),
    ],
    ids=lambda each: f"{type(each).__name__}",
)
def test_bad_texts(text, error, message, uniform):
    with pytest.raises(error, match=message) as caught:
        uniform.compress(text)
    assert caught.value.__cause__ is None  # said once
    with pytest.raises(error, match=message.replace("text 0 ", "text ").replace("text 1 ", "text ")):
        uniform.processor(text)


def test_texts_come_as_users_have_them(uniform):
    expected = uniform.compress(TEXTS).values
    dataset = Dataset.from_dict({"text": TEXTS, "id": [1, 2, 3]})
    for texts in (
        tuple(TEXTS),
        (each for each in TEXTS),
        dict(enumerate(TEXTS)).values(),
        np.array(TEXTS),
        np.array(TEXTS, dtype=object),
        pandas.Series(TEXTS, index=["c", "a", "b"]),
        pandas.DataFrame({"text": TEXTS})["text"].astype("category"),
        dataset["text"],
        dataset[:]["text"],
        dataset.with_format("numpy")["text"],
        dataset.with_format("arrow")["text"],
        dataset.to_iterable_dataset()["text"],
        [np.str_(each) for each in TEXTS],
    ):
        assert torch.equal(uniform.compress(texts).values, expected), type(texts)
    assert torch.equal(uniform.compress(np.str_(TEXTS[0])).values, uniform.compress(TEXTS[0]).values)
