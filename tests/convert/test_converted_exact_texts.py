"""Texts come back exactly with what was converted from the authors' layout."""

import pytest

from exactness import assert_exact
from random_texts import text_groups


@pytest.mark.filterwarnings("ignore::c3.CompressionWarning")
def test_random_texts(model, tmp_path):
    lowest = model.config.window / model.config.num_latents
    for draw, texts in text_groups(15, "converted", 200):
        assert not assert_exact(draw, texts, [model], [model], tmp_path, (lowest, 64))
