"""Tokens one by one, whose text leaves the decoder's cache, chunk by chunk, when its latents are read."""

from dataclasses import dataclass
from itertools import chain

import torch
from transformers.generation.utils import GenerateDecoderOnlyOutput

from .latents_c3 import C3Latents
from .visible_cache_c3 import read_chunks


@dataclass
class ChunkedGenerationOutput(GenerateDecoderOnlyOutput):
    """
    As transformers' `GenerateDecoderOnlyOutput`, with what was compressed.

    Args:
        latents (`list[C3Latents or None]`): of each row, window by window those of its prompt's chunks and then those
            of the answer's; None where there were none. `model.expand(latents[0])` is what the decoder knew of them.
        most_cache_bytes (`int`): of keys and values of all rows, at their most.
    """

    latents: list | None = None
    most_cache_bytes: int | None = None


class ChunkedDecoding:
    """
    Tokens one by one, greedily or by sampling, as a `custom_generate` of transformers, which brings logits processors
    and stopping criteria.

    Args:
        model ([`C3Model`]): the model.
        chunking ([`Chunking`]): of what is generated.
        rows, latents: what is read first, see `read_chunks`.
        compressed (`list[list[tuple[WindowPlan, torch.Tensor]]]`): of each row, its prompt's chunks and their latents.
        streamer (`BaseStreamer`, *optional*): is given each token.
    """

    def __init__(self, model, chunking, rows, latents, compressed, streamer=None):
        self.model, self.chunking, self.compressed, self.streamer = model, chunking, compressed, streamer
        self.cache = read_chunks(model, rows, latents)

    def __call__(self, model, input_ids, logits_processor, stopping_criteria, generation_config, **unused):
        config, cache = generation_config, self.cache
        copies = len(input_ids) // len(self.compressed)
        if copies > 1:
            cache.repeat(copies)
            self.compressed = [list(each) for each in self.compressed for _ in range(copies)]
        going = torch.ones(len(input_ids), dtype=torch.bool, device=input_ids.device)
        names = ("scores", "logits") if config.return_dict_in_generate else ()
        kept = {name: () for name in names if getattr(config, f"output_{name}")}
        within = 0
        while True:
            logits = cache.logits.to(input_ids.device, torch.float32, copy=True)
            scores = logits_processor(input_ids, logits)
            found = {"scores": scores, "logits": cache.logits}
            kept = {name: (*before, found[name]) for name, before in kept.items()}
            if config.do_sample:
                chosen = torch.multinomial(scores.softmax(-1), num_samples=1).squeeze(1)
            else:
                chosen = scores.argmax(-1)
            if config._pad_token_tensor is not None:
                chosen = torch.where(going, chosen, config._pad_token_tensor.to(chosen.device))
            input_ids = torch.cat([input_ids, chosen[:, None]], dim=-1)
            going = going & ~stopping_criteria(input_ids, kept.get("scores"))
            if self.streamer is not None:
                self.streamer.put(chosen.cpu())
            if not going.any():
                break
            within += 1
            if within < self.chunking.every:
                self._read_token(chosen, going, within)
            else:
                self._read_latents(input_ids, going)
                within = 0
        if self.streamer is not None:
            self.streamer.end()
        if not config.return_dict_in_generate:
            return input_ids
        return ChunkedGenerationOutput(
            sequences=input_ids,
            **kept,
            past_key_values=cache.cache,
            latents=list(map(self._as_latents, self.compressed)),
            most_cache_bytes=cache.most_bytes,
        )

    def _read_token(self, chosen, going, within):
        """Reads the token that stands at place `within` of its chunk, from 1."""
        token, is_there = chosen[:, None], going[:, None]
        embeds, positions = self.model.embed_prompt(token), self.cache.places + within - 1
        self.cache.read(embeds, is_there, positions, leaves=is_there)

    def _read_latents(self, input_ids, going):
        """Compresses the chunk that is complete in the rows that go on, and reads its latents in its place."""
        every, cache = self.chunking.every, self.cache
        rows = going.nonzero().flatten().tolist()
        plans = [self.chunking.plan(input_ids[row, -every:].tolist()) for row in rows]
        values = self.chunking.encode(self.model, plans)
        token = self.model.embed_prompt(input_ids[:, -1:])
        most = max(map(len, values))
        embeds = token.new_zeros(len(input_ids), most, token.shape[-1])
        is_there = torch.zeros_like(embeds[..., 0], dtype=torch.bool)
        for row, plan, own in zip(rows, plans, values, strict=True):
            embeds[row, most - len(own) :] = own.to(embeds)
            is_there[row, most - len(own) :] = True
            self.compressed[row].append((plan, own))
        positions = cache.places + (is_there.long().cumsum(-1) - 1).clamp(min=0)
        leaves = torch.zeros_like(is_there)
        if self.model.config.latents_see_chunk:
            # The last token has not been read yet, and the latents see it too.
            going = going[:, None].to(is_there.device)
            embeds, is_there = torch.cat([token, embeds], dim=1), torch.cat([going, is_there], dim=1)
            positions = torch.cat([cache.places + every - 1, positions], dim=1)
            leaves = torch.cat([going, leaves], dim=1)
        else:
            cache.drop()
        cache.read(embeds, is_there, positions, leaves)
        cache.drop()

    def _as_latents(self, compressed):
        """[`C3Latents`] of a row's chunks, or None."""
        if not compressed:
            return None
        plans, values = zip(*compressed, strict=True)
        counts = list(chain(*(plan.num_latents for plan in plans)))
        lengths = list(chain(*(plan.windows.lengths for plan in plans)))
        fields = map(torch.tensor, (counts, lengths, [len(counts)]))
        return C3Latents(torch.cat(values), *fields, self.model.latent_provenance(), single=True)


__all__ = ["ChunkedDecoding", "ChunkedGenerationOutput"]
