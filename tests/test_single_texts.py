"""A string in, a string out; a list in, a list out: by what was given, and not by how many there are."""

import pytest

from c3 import C3Latents

TEXT = "one short text"
WAYS = {
    "compressed": lambda model, given, path: model.compress(given),
    "saved and loaded": lambda model, given, path: C3Latents.load(model.compress(given).save(path)),
    "as bytes": lambda model, given, path: C3Latents.from_bytes(model.compress(given).to_bytes()),
    "written meanwhile": lambda model, given, path: model.compress(given, output=path),
    "bad ones left out": lambda model, given, path: model.compress(given, on_error="skip")[0],
    "converted": lambda model, given, path: model.compress(given, dtype="float32").bfloat16(),
}


def kinds(model, latents):
    """Types of what `expand`, its pieces and `generate` give."""
    asked = {"max_new_tokens": 2, "do_sample": False}
    results = [model.expand(latents), model.generate(latents), model.generate(latents, do_sample=False)]
    results += [model.generate(latents, prompt, **asked) for prompt in ("Go on: ", ["Go on: "])]
    # Of a list of prompts a list, whatever was compressed.
    assert isinstance(results[-1], list)
    # All the same text, twice: that of expand, and that of a prompt.
    texts = [each if isinstance(each, str) else each[0] for each in results]
    assert texts[0] == texts[1] == texts[2] and texts[3] == texts[4]
    pieces = list(model.expand(latents, stream=True))
    assert "".join(each if isinstance(each, str) else each[1] for each in pieces) == texts[0]
    return {type(each) for each in results[:-1]}, {type(each) for each in pieces}


@pytest.mark.parametrize("way", WAYS)
def test_what_was_given_comes_back(way, uniform, latents_path):
    assert kinds(uniform, WAYS[way](uniform, TEXT, latents_path)) == ({str}, {str})
    for given in ([TEXT], iter([TEXT])):
        assert kinds(uniform, WAYS[way](uniform, given, latents_path)) == ({list}, {tuple})


def test_what_is_picked_by_its_number_is_one_text(uniform):
    for latents in (uniform.compress(TEXT), uniform.compress([TEXT, "another"])):
        assert kinds(uniform, latents[0]) == ({str}, {str})
        assert kinds(uniform, latents[[0]]) == ({list}, {tuple})


def test_one_that_is_left_of_a_list_is_a_list(uniform):
    latents, skipped = uniform.compress(["", TEXT], on_error="skip")
    assert list(skipped) == [0] and kinds(uniform, latents) == ({list}, {tuple})


@pytest.mark.parametrize("prompt", [None, "Go on: "])
def test_several_sequences_of_one_text_are_a_list(prompt, uniform):
    beams = {"num_beams": 2, "num_return_sequences": 2, "max_new_tokens": 4}
    one, listed = (uniform.generate(uniform.compress(given), prompt, **beams) for given in (TEXT, [TEXT]))
    assert isinstance(one, list) and len(one) == 2 and one == listed
