"""What a model may be asked."""

from .adapters_c3 import active_adapters, has_adapters
from .conversations_c3 import is_conversation


class PromptChecksMixin:
    """Part of [`PromptingMixin`]. It needs of the model `config` and `processor`."""

    def only_repeats(self):
        """
        Whether the model was trained to give texts back and nothing else, so that it answers nothing (`bool`). What an
        adapter was trained for, or a `prompt_adapter` answers, the config of its base does not know.

            if model.only_repeats():
                print(model.expand(latents))
        """
        answers = self.config.prompt_adapter is not None and not has_adapters(self)
        return self.config.reconstruction_only and not (answers or active_adapters(self))

    def _checked_prompts(self, prompt, count):
        """What is asked of each of `count` texts, or None where that is the text itself; raises what cannot be."""
        if prompt is None:
            return None
        prompts = [prompt] * count if isinstance(prompt, str) or is_conversation(prompt) else prompt
        if not isinstance(prompts, (list, tuple)):
            kind = type(prompt).__name__
            raise TypeError(f"prompt must be a string, chat messages or a list of one for each text, not {kind}.")
        if len(prompts) != count and (count != 1 or not prompts):
            raise ValueError(
                f"There are {len(prompts)} prompts for {count} texts; give one, one each, or several about one text."
            )
        for each in prompts:
            self.processor.encode_prompt(each)
        asked = [each for each in prompts if each != self.config.reconstruction_prompt]
        if not asked and len(prompts) == count:
            return None
        if asked:
            self.check_answers(asked[0])
        if len(asked) < len(prompts):
            raise ValueError("Some of the prompts ask for the text itself; do that in a call of its own, or by expand.")
        return list(prompts)

    def check_answers(self, prompt):
        """
        Raises `ValueError` for a model that answers nothing, see `only_repeats`; what it was asked is in the message.

            model.check_answers("What is it about?")
        """
        if self.only_repeats():
            raise ValueError(
                f"This model cannot answer {str(prompt)[:60]!r}: it was trained to give texts back and nothing else "
                "(config.reconstruction_only). Use expand for the text, and for answers a model trained on prompts."
            )


__all__ = ["PromptChecksMixin"]
