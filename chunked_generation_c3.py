"""
Global compression (VIST2, arXiv 2601.10378): the text that is generated is compressed too. Whenever a chunk of it is
complete its latents are read and its keys leave the cache, so that the cache grows by latents.
"""

import warnings
from itertools import chain

import torch
from transformers import GenerationMixin, StoppingCriteriaList, StopStringCriteria

from .chunked_decoding_c3 import ChunkedDecoding
from .chunked_rows_c3 import Chunking
from .compression_warnings_c3 import CALLER, warn_of_ratio
from .decoder_rows_c3 import LatentSpan
from .generation_keywords_c3 import setting, with_settings
from .options_c3 import CompressionWarning, whole_number
from .position_limits_c3 import check_chunk_length
from .prompt_batches_c3 import OWN_CACHES
from .stored_weights_c3 import is_sharded
from .visible_cache_c3 import can_drop

# Ways of decoding, and outputs, for which the text has to be in the cache, or to be followed several times.
NOT_IN_CHUNKS = (
    "penalty_alpha",
    "dola_layers",
    "prompt_lookup_num_tokens",
    "guidance_scale",
    "token_healing",
    "output_attentions",
    "output_hidden_states",
    *OWN_CACHES,
)


class ChunkedGenerationMixin:
    """
    Part of [`PromptingMixin`], of which it needs `_ask` and `_rows`, with `GenerationKeywordsMixin` and
    `PromptChecksMixin`. Of the model it needs `config`, `processor`, `encode_windows` and `embed_prompt`.
    """

    def _checked_chunking(self, compress_every, ratio, prompt, kwargs):
        """The [`Chunking`] that `generate` is asked for, or None."""
        if compress_every is None:
            if ratio is not None:
                raise ValueError("ratio is that of compress_every: give that too; latents were compressed by compress.")
            return None
        every = whole_number("compress_every", compress_every)
        check_chunk_length(self.config, every, self.processor.default_window)
        _, ratio = self._checked_amount(None, ratio, every)
        prompts = prompt if isinstance(prompt, (list, tuple)) else [prompt]
        if not prompts or not all(isinstance(each, str) for each in prompts):
            raise ValueError("compress_every takes prompts that are strings, not chat messages, and needs one.")
        if is_sharded(self):
            raise ValueError(
                "compress_every takes as many passes as a text needs, which processes that share a model cannot do: "
                "generate in one process."
            )
        if not can_drop(self):
            raise ValueError(
                "compress_every drops keys from the cache, from which this decoder's sliding windows or recurrent "
                "states cannot lose any: leave it out."
            )
        if (self._own_setting(kwargs, "num_beams") or 1) > 1:
            raise ValueError("compress_every follows one text a row, not beams: leave num_beams out, or do sample.")
        for name in NOT_IN_CHUNKS:
            asked = self._own_setting(kwargs, name)
            if asked and not (name == "guidance_scale" and asked == 1):
                raise ValueError(f"{name} does not go with compress_every: leave one of them out.")
        if setting(kwargs, "use_cache") is False:
            raise ValueError("compress_every is about what the cache holds: leave use_cache=False out.")
        chunking = Chunking(self.processor, every, ratio)
        warn_of_ratio(
            self.processor.ratio_range,
            [chunking.plan_of_chunk],
            None,
            ratio,
            min(every, self.processor.default_window),
            is_told=False,
            stacklevel=CALLER + 1,
        )
        return chunking

    def _ask_without_latents(self, prompt, batch_size, kwargs, chunking):
        """What is answered to one or several prompts about nothing, see `_answer`."""
        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        if not all(prompts):
            raise ValueError("A prompt is empty, and there are no latents: there is nothing to go on from.")
        if self._checked_prompts(prompts, len(prompts)) is None:
            raise ValueError("There are no latents whose text could be given back: give another prompt.")
        self._check_keywords(kwargs, prompts, batch_size)
        return self._ask(
            [], None, lambda spans: self._rows(prompts, [[]], chunking), kwargs, batch_size, chunking=chunking
        )

    def _answer_in_chunks(self, rows, latents, kwargs, batch_size, is_shared, chunking):
        """As `_answer`, for rows whose prompts are in chunks; `latents` are all but those of the chunks."""
        given = [sum(each.num_latents for each in row if _is_given(each)) for row in rows]
        given = [latents] * len(rows) if is_shared else latents.split(given)
        size, texts = batch_size or len(rows), []
        for start in range(0, len(rows), size):
            chosen = slice(start, start + size)
            output = self._decode_in_chunks(rows[chosen], given[chosen], kwargs, chunking)
            if not isinstance(output, torch.Tensor):
                return output
            texts += map(self.processor.decode_answer, output)
        return texts

    def _decode_in_chunks(self, rows, given, kwargs, chunking):
        """What transformers' `generate` returns for some rows, with the latents of each but those of its chunks."""
        plans = list(map(chunking.plans, rows))
        left = iter(chunking.encode(self, list(chain(*plans))))
        compressed = [[(plan, next(left)) for plan in own] for own in plans]
        latents = torch.cat(list(map(_all_latents, rows, given, compressed)))
        decoding = ChunkedDecoding(self, chunking, rows, latents, compressed, kwargs.get("streamer"))
        kwargs = self._with_tokenizer(kwargs)
        criteria = list(kwargs.pop("stopping_criteria", None) or ())
        if stops := self._own_setting(kwargs, "stop_strings"):
            # transformers does not hand its tokenizer on to a decoding function of one's own.
            criteria.append(StopStringCriteria(kwargs["tokenizer"], stops))
            kwargs = with_settings(kwargs, stop_strings=None)
        # What is read first is in the cache already; these tell how many rows there are.
        embeds = latents.new_zeros(len(rows), 1, latents.shape[-1])
        kwargs |= {"inputs_embeds": embeds, "attention_mask": torch.ones_like(embeds[..., 0], dtype=torch.long)}
        kwargs |= {"custom_generate": decoding, "stopping_criteria": StoppingCriteriaList(criteria)}
        output = GenerationMixin.generate(self, **kwargs)
        if decoding.ran_out:
            warnings.warn(
                "An answer ended where the decoder has no positions for more: some chunks took more of them than "
                "others, as their text needed more latents or gave none. Give a smaller compress_every, or a higher "
                "ratio.",
                CompressionWarning,
                stacklevel=CALLER + 3,
            )
        return output


def _is_given(segment):
    """Whether these are latents of a text that was compressed before."""
    return isinstance(segment, LatentSpan) and not segment.chunk


def _all_latents(row, given, compressed):
    """The latents of a row in order, `(latents, D_dec)`: those before its prompt, and those of its prompt's chunks."""
    own = torch.cat([given[:0], *(values.to(given) for _, values in compressed)])
    left = {True: iter(given), False: iter(own)}
    spans = [segment for segment in row if isinstance(segment, LatentSpan)]
    values = [next(left[_is_given(span)]) for span in spans for _ in range(span.num_latents)]
    return torch.stack(values) if values else own


__all__ = ["ChunkedGenerationMixin"]
