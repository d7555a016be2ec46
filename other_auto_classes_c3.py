"""What the Auto classes of language models, and with them the pipelines, say of C3: which class to use instead."""

from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

OTHER_AUTO_CLASSES = (AutoModelForCausalLM, AutoModelForSeq2SeqLM)


class AutoClassError(Exception):
    """An Auto class that C3 is no model of. Not a ValueError: `pipeline` would bury it in two tracebacks."""


class UseAutoModel:
    """Stands where those Auto classes look for their model of a C3 config, and says that there is none."""

    @classmethod
    def from_pretrained(cls, *args, **kwargs):
        raise AutoClassError(
            "C3 reads latents beside a prompt, so it is no plain language model and has no text-generation pipeline: "
            "load it with AutoModel.from_pretrained (or C3Model) and use compress, expand, generate and chat."
        )

    _from_config = from_pretrained


def refuse_other_auto_classes(config_class):
    """Has the Auto classes of language models answer for a config class, also one that is loaded as remote code."""
    for auto_class in OTHER_AUTO_CLASSES:
        auto_class.register(config_class, UseAutoModel, exist_ok=True)
