"""Auto classes and pipelines of language models: one line that says what to use instead."""

import pytest
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, pipeline

from c3.other_auto_classes_c3 import AutoClassError

ASKS = {
    "from_pretrained": AutoModelForCausalLM.from_pretrained,
    "seq2seq": AutoModelForSeq2SeqLM.from_pretrained,
    "pipeline": lambda folder: pipeline("text-generation", str(folder)),
}


@pytest.mark.parametrize("ask", ASKS.values(), ids=ASKS)
def test_what_to_use_instead(ask, checkpoint):
    with pytest.raises(AutoClassError, match="^C3 reads latents .*: load it with AutoModel.from_pretrained") as raised:
        ask(checkpoint)
    assert len(str(raised.value).splitlines()) == 1


def test_of_a_config(make_model):
    with pytest.raises(AutoClassError, match="load it with AutoModel.from_pretrained"):
        AutoModelForCausalLM.from_config(make_model().config)


def test_a_pipeline_of_a_model_that_only_repeats(make_model):
    model = make_model(reconstruction_only=True)
    generator = pipeline("text-generation", model, tokenizer=model.processor.tokenizer)
    with pytest.raises(ValueError, match=r"There are no latents: .* use model.expand\(model.compress\(text\)\)"):
        generator("Hello")
