"""Requests as rows of embeddings: messages and prompts, with the latents of contexts among them."""

from dataclasses import dataclass

import torch
from jinja2 import TemplateError

from c3.conversations_c3 import check_conversation, message_parts
from c3.decoder_rows_c3 import row_length
from c3.generation_c3 import DEFAULT_NEW_TOKENS
from c3.position_limits_c3 import most_positions, room_for_answers
from c3.window_decoding_c3 import prompt_embeds

from .errors import ApiError, refusing

# Few tokens are longer than that, and no text is made of them alone.
MOST_CHARACTERS_OF_A_TOKEN = 64
GIVES_TEXT = "GET /v1/contexts/ID/text gives the text of a context."


@dataclass(frozen=True)
class Prompt:
    """
    What a backend is given, and what it is made of.

    Args:
        embeds (`torch.Tensor` of shape `(length, D_dec)`): at positions 0, 1, 2, …
        latents (`int`): of these positions, those that are latents.
        text_tokens (`int`): tokens that the latents stand for.
        room (`int` or infinity): positions that are left for an answer.
    """

    embeds: torch.Tensor
    latents: int
    text_tokens: int
    room: float

    def new_tokens(self, asked=None):
        """
        How many tokens an answer may have, `int`: what is asked for, or by default as many as `generate` allows.

        Raises:
            ApiError: 400, there is no room for them.
        """
        if asked is not None and asked > self.room:
            taken = len(self.embeds)
            message = (
                f"After the {taken} positions of the prompt, {self.latents} of them latents, the model has room for "
                f"{self.room} tokens, not for {asked}: ask for less, or compress at a higher ratio."
            )
            raise ApiError(400, message, "max_tokens", "context_length_exceeded")
        return min(self.room, DEFAULT_NEW_TOKENS) if asked is None else asked


class Prompts:
    """
    Makes [`Prompt`]s for a model that reads prompts at consecutive positions.

        prompt = Prompts(model, contexts).of_text(owner, "Who wrote it?", ["ctx-00…"])

    Args:
        model ([`C3Model`]): embeds, and knows how prompts are laid out.
        contexts ([`Contexts`]): what ids stand for.
    """

    def __init__(self, model, contexts):
        self.model, self.contexts = model.answering(), contexts
        self._most_positions = most_positions(model.config.decoder_config)

    def of_messages(self, owner, messages):
        """
        Of a conversation, laid out by the chat template of the decoder's tokenizer.

        Args:
            owner (`str`): whose contexts the ids are.
            messages (`list[dict]`): checked, see `completion_requests.py`; parts of a content may be
                `{"type": "context", "id": …}`.

        Raises:
            ApiError: 400, messages that cannot be laid out, a model that answers nothing, no room; 404 and 409, see
                [`Contexts`].
        """
        asked = [part["text"] for part in message_parts(messages[-1]) if part["type"] == "text"]
        self._check_answers(" ".join(asked), "messages")
        if self.model.processor.tokenizer.chat_template is None:
            raise ApiError(400, "This model's tokenizer has no chat template: ask by /v1/completions.", "messages")
        parts = [part for message in messages for part in message_parts(message)]
        self._check_length(sum(len(part["text"]) for part in parts if part["type"] == "text"), "messages")
        ids = [part["id"] for part in parts if part["type"] == "context"]
        latents = self._latents(owner, ids, "messages")
        left, found = iter(latents), []
        for message in messages:
            parts = [
                {"type": "context", "latents": next(left)} if part["type"] == "context" else part
                for part in message_parts(message)
            ]
            found.append(message | {"content": parts})
        with refusing("messages"):
            check_conversation(found)
            try:
                row = self.model.processor.conversation_row(found, [each.spans[0] for each in latents])
            except TemplateError as error:
                raise ApiError(400, f"The chat template takes no such messages: {error}", "messages") from None
        return self._embedded(row, latents, "messages")

    def of_text(self, owner, prompt, ids=()):
        """
        Of a string, after the latents of contexts that are read together.

        Args:
            owner (`str`): whose contexts the ids are.
            prompt (`str`): what to ask.
            ids (`list[str]`): of contexts, in order.

        Raises: as `of_messages`.
        """
        if prompt == self.model.config.reconstruction_prompt:
            raise ApiError(400, f"This prompt asks for the text itself. {GIVES_TEXT}", "prompt")
        self._check_answers(prompt, "prompt")
        self._check_length(len(prompt), "prompt")
        latents = self._latents(owner, ids, "contexts")
        with refusing("prompt"):
            row = self.model.processor.row([span for each in latents for span in each.spans[0]], prompt)
        return self._embedded(row, latents, "prompt")

    def _check_length(self, characters, param):
        """Before they are tokenized, which takes far more memory than they do."""
        if characters > self._most_positions * MOST_CHARACTERS_OF_A_TOKEN:
            self._say_too_long(f"{characters} characters", param)

    def _latents(self, owner, ids, param):
        """Those of contexts, `list[C3Latents]`, each loaded once, and no more than there are positions for."""
        loaded, positions = {}, 0
        for each in ids:
            if each not in loaded:
                loaded[each] = self.contexts.get(owner, each)
            positions += loaded[each].num_latents
            if positions > self._most_positions:
                self._say_too_long(f"{positions} latents and more", param)
        return [loaded[each] for each in ids]

    def _say_too_long(self, what, param):
        message = f"These are {what}, but the model has {self._most_positions} positions: ask about less."
        raise ApiError(400, message, param, "context_length_exceeded")

    def _check_answers(self, asked, param):
        try:
            self.model.check_answers(asked)
        except ValueError as error:
            raise ApiError(400, f"{error} {GIVES_TEXT}", param, "reconstruction_only") from None

    @torch.no_grad()
    def _embedded(self, row, latents, param):
        if not row_length(row):
            raise ApiError(400, "There is nothing to answer: the prompt is empty.", param)
        with refusing(param):
            room = room_for_answers(self.model.config, [row])
        device, width = self.model.device, self.model.config.hidden_size
        values = [each.values.to(device) for each in latents] or [torch.empty(0, width, device=device)]
        embeds = prompt_embeds(self.model, [row], torch.cat(values))["inputs_embeds"][0]
        if not torch.isfinite(embeds).all():
            raise ApiError(400, "The embeddings of this prompt are not finite.", param)
        counts = [sum(getattr(each, name) for each in latents) for name in ("num_latents", "text_tokens")]
        return Prompt(embeds, *counts, room)
