"""Tokens one by one, whose text leaves the decoder's cache, chunk by chunk, when its latents are read."""

from dataclasses import dataclass
from itertools import chain

import torch
from transformers.generation.utils import GenerateDecoderOnlyOutput

from .corrections_c3 import special_ids
from .latents_c3 import C3Latents
from .position_limits_c3 import most_positions
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

    Attributes:
        ran_out (`bool`): whether an answer ended because the decoder has no position for another token, which is known
            beforehand unless a chunk waits for tokens, or needs more latents than others.
    """

    def __init__(self, model, chunking, rows, latents, compressed, streamer=None):
        self.model, self.chunking, self.compressed, self.streamer = model, chunking, compressed, streamer
        self.cache = read_chunks(model, rows, latents)
        self.ran_out = False

    def __call__(self, model, input_ids, logits_processor, stopping_criteria, generation_config, **unused):
        config, cache = generation_config, self.cache
        copies = len(input_ids) // len(self.compressed)
        if copies > 1:
            cache.repeat(copies)
            self.compressed = [list(each) for each in self.compressed for _ in range(copies)]
        self.open_chunks = [[] for _ in input_ids]
        going = torch.ones(len(input_ids), dtype=torch.bool, device=input_ids.device)
        padding = config._pad_token_tensor
        if padding is None:
            padding = torch.tensor((special_ids(self.model.processor) or [0])[0])
        names = ("scores", "logits") if config.return_dict_in_generate else ()
        kept = {name: () for name in names if getattr(config, f"output_{name}")}
        while True:
            logits = cache.logits.to(input_ids.device, torch.float32, copy=True)
            scores = logits_processor(input_ids, logits)
            found = {"scores": scores, "logits": cache.logits}
            kept = {name: (*before, found[name]) for name, before in kept.items()}
            if config.do_sample:
                chosen = torch.multinomial(scores.softmax(-1), num_samples=1).squeeze(1)
            else:
                chosen = scores.argmax(-1)
            chosen = torch.where(going, chosen, padding.to(chosen.device))
            input_ids = torch.cat([input_ids, chosen[:, None]], dim=-1)
            going = going & ~stopping_criteria(input_ids, kept.get("scores"))
            if self.streamer is not None:
                self.streamer.put(chosen.cpu())
            if going.any():
                going = self._read(chosen, going)
            if not going.any():
                break
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

    def _read(self, chosen, going):
        """
        Reads a token of each row that goes on, or the latents of the chunk that is complete with it. Returns `going`,
        False too where the decoder has no position for another token.
        """
        chunking, places = self.chunking, self.cache.places.flatten().tolist()
        going, plans = going.tolist(), {}
        for row, token in enumerate(chosen.tolist()):
            if not going[row]:
                continue
            chunk = self.open_chunks[row]
            chunk.append(token)
            taken = len(chunk)
            if chunking.is_complete(chunk):
                plans[row] = chunking.plan_of_answer(chunk)
                taken = sum(plans[row].num_latents)
            if places[row] + taken >= most_positions(self.model.config.decoder_config):
                going[row], self.ran_out = False, True
                plans.pop(row, None)
        going = torch.tensor(going, device=chosen.device)
        if plans:
            self._read_latents(chosen, going, plans)
        elif going.any():
            is_there = going[:, None].to(self.cache.mask.device)
            self.cache.read(self.model.embed_prompt(chosen[:, None]), is_there, self._places_of_tokens(), is_there)
        return going

    def _places_of_tokens(self):
        """The position, `(rows, 1)`, of the last token of the chunk that is open in each row."""
        places = self.cache.places
        return places + torch.tensor([[len(chunk) - 1] for chunk in self.open_chunks], device=places.device)

    def _read_latents(self, chosen, going, plans):
        """Compresses chunks, `plans` by their row, and reads their latents in their place; of the others the token."""
        cache, sees = self.cache, self.model.config.latents_see_chunk
        values = dict(zip(plans, self.chunking.encode(self.model, list(plans.values())), strict=True))
        token, at = self.model.embed_prompt(chosen[:, None]), self._places_of_tokens()
        is_whole = torch.tensor([[row in plans] for row in range(len(chosen))], device=at.device)
        going = going[:, None].to(at.device)
        most = max(map(len, values.values()))
        embeds = token.new_zeros(len(chosen), most, token.shape[-1])
        is_there = torch.zeros_like(embeds[..., 0], dtype=torch.bool, device=at.device)
        for row, own in values.items():
            embeds[row, most - len(own) :] = own.to(embeds)
            is_there[row, most - len(own) :] = True
            self.compressed[row].append((plans[row], own))
            self.open_chunks[row] = []
        positions = cache.places + (is_there.long().cumsum(-1) - 1).clamp(min=0)
        leaves = torch.zeros_like(is_there)
        # Rows end together: a row whose chunk is open has its token last.
        is_open = going & ~is_whole
        embeds[:, -1:] = torch.where(is_open.unsqueeze(-1).to(embeds.device), token, embeds[:, -1:])
        positions[:, -1:] = torch.where(is_open, at, positions[:, -1:])
        is_there[:, -1:] |= is_open
        leaves[:, -1:] |= is_open
        gone = (is_whole | ~going).flatten()
        if sees:
            # The last token of a whole chunk has not been read yet, and the latents see it too.
            embeds, is_there = torch.cat([token, embeds], dim=1), torch.cat([is_whole, is_there], dim=1)
            positions, leaves = torch.cat([at, positions], dim=1), torch.cat([is_whole, leaves], dim=1)
        else:
            cache.drop(gone)
        cache.read(embeds, is_there, positions, leaves)
        cache.drop(gone)

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
