"""Latents back to text: `expand`, which decodes the windows of all texts side by side and joins them."""

import zlib
from itertools import islice

import torch
from transformers import GenerationMixin, LogitsProcessor, LogitsProcessorList, StoppingCriteria, StoppingCriteriaList

from .corrections_c3 import InexactTextError, checksum_of_ids, forced_tokens, special_ids, unpack
from .greedy_decoding_c3 import decode_greedily
from .options_c3 import progress_bar, whole_number
from .parallel_decoding_c3 import decode_in_parallel, is_worth_drafting
from .stored_weights_c3 import execution_device, is_sharded

NOT_EXACT = (
    "did not come back as it was, though it was compressed exactly: the latents are not those that were made, or this "
    "device or dtype computes too differently. Expand it where it was compressed, or compress it again."
)
# By name, `(model, prompt, spans, suppressed, forced) -> list[list[int]]`, see `decode_windows`.
DECODING_METHODS = {"greedy": decode_greedily, "parallel": decode_in_parallel}


class ExpansionMixin:
    """
    Latents in, their text out; mixed into [`C3Model`]. It needs of the model `embed_prompt`, `mask_embedding` and
    `forward`, and `processor` and `check_latents` of [`CheckpointMixin`].
    """

    def expand(self, latents, *, method=None, batch_size=8, show_progress=None, stream=False, allow_mismatch=False):
        """
        Reconstructs the texts, greedily: the windows of all texts are decoded side by side and joined. Each window
        stops after exactly the number of text tokens that it stands for.

            texts = model.expand(model.compress(["a long text", "another"]))

        Args:
            latents ([`C3Latents`]): what `compress` returned.
            method (`str`, *optional*): of `DECODING_METHODS`: `"greedy"`, one token a pass, or `"parallel"`, which
                drafts a window in one pass and corrects it until it is the same text, in far fewer passes the fewer the
                errors of the draft are. By default parallel where the decoder was trained for it, with a mask embedding
                (`config.use_mask_embedding`), unless so many windows go at once, or so many tokens stand behind each
                latent, that greedy passes are the cheaper.
            batch_size (`int`): windows decoded at once.
            show_progress (`bool`, *optional*): a bar on standard error; by default for more than one batch.
            stream (`bool`): return an iterator over pieces of text, in order, as they come; where a list was compressed
                over `(text index, piece)`.
            allow_mismatch (`bool`): read latents that another model made.

        Returns:
            `str` where one text was compressed by itself, `list[str]` where a list was; an iterator with `stream`.

        Raises:
            LatentMismatchError: the latents are another model's.
            InexactTextError: a text that was compressed with `exact=True` did not come back as it was.
            ValueError: wrong width or options, a method that this model was not trained for, or windows of more tokens
                or latents than `compress` makes.
        """
        self.check_latents(latents, allow_mismatch)
        batch_size = whole_number("batch_size", batch_size)
        self._check_method(method)
        pieces = self._stream_text(latents, method, batch_size, show_progress, in_order=stream)
        if stream:
            return (piece for _, piece in pieces) if latents.single else pieces
        texts = [""] * len(latents)
        for index, piece in pieces:
            texts[index] += piece
        return texts[0] if latents.single else texts

    def _check_method(self, method):
        if method not in (None, *DECODING_METHODS):
            raise ValueError(f"method must be one of {', '.join(DECODING_METHODS)}, not {method!r}.")
        if method == "parallel" and self.mask_embedding is None:
            raise ValueError(
                "method='parallel' needs a decoder that was trained with a mask embedding "
                "(config.use_mask_embedding); use method='greedy'."
            )

    def _stream_text(self, latents, method, batch_size, show_progress, in_order):
        """Yields (text index, piece of text): the pieces of a text in order, one window each."""
        corrections = unpacked_corrections(latents, self.config.decoder_config.vocab_size)
        expanded = self._expand_windows(latents, method, batch_size, show_progress, in_order, corrections)
        windows = self._in_order(expanded)
        for index, owned in enumerate(latents.windows_of_texts):
            ours = islice(windows, len(owned))
            if corrections is None:
                pieces = joined_pieces(self.processor, ours)
            else:
                pieces = checked_pieces(self.processor, ours, corrections[index], f"text {index}")
            yield from ((index, piece) for piece in pieces)

    @staticmethod
    def _in_order(windows):
        """The ids of (window, ids), in the order of the windows."""
        finished, following = {}, 0
        for window, ids in windows:
            finished[window] = ids
            while following in finished:
                yield finished.pop(following)
                following += 1

    def _expand_windows(self, latents, method, batch_size, show_progress, in_order, corrections=None):
        """Yields (window, its token ids); longest windows first unless `in_order`."""
        stored = None if corrections is None else [window for text in corrections for window in text.windows]
        values, spans = latents.windows(), [span for text in latents.spans for span in text]
        special = torch.tensor(special_ids(self.processor), dtype=torch.long)
        order = list(range(len(spans)))
        if stored is not None:
            # Windows all of whose tokens are stored need no decoder.
            order = [i for i in order if len(stored[i]) < spans[i].num_tokens]
            yield from ((i, list(each.values())) for i, each in enumerate(stored) if len(each) == spans[i].num_tokens)
        if not in_order:
            order.sort(key=lambda i: (spans[i].num_tokens, spans[i].num_latents), reverse=True)
        with progress_bar(len(order), batch_size, show_progress, "Expanding", "window") as bar:
            for start in range(0, len(order), batch_size):
                chosen = order[start : start + batch_size]
                with torch.no_grad():
                    rows = [self.processor.row([spans[i]]) for i in chosen]
                    prompt = prompt_embeds(self, rows, torch.cat([values[i] for i in chosen]))
                    forced = None
                    if stored is not None:
                        longest = max(spans[i].num_tokens for i in chosen)
                        forced = forced_tokens([stored[i] for i in chosen], longest)
                    ids = decode_windows(self, prompt, [spans[i] for i in chosen], special, method, forced)
                bar.update(len(chosen))
                yield from zip(chosen, ids, strict=True)


def prompt_embeds(model, rows, latents):
    """
    What the decoder reads of latents and prompts, as keywords of `C3Model.forward` and of `GenerationMixin.generate`.

    Args:
        model ([`C3Model`]): the model.
        rows (`list`): of segments, see `C3Processor.row`.
        latents (`torch.Tensor` of shape `(latents, D_dec)`): of all rows, in order.

    Returns:
        `dict`: `inputs_embeds` `(rows, length, D_dec)`, `attention_mask` and `position_ids` `(rows, length)`, padded on
        the left.
    """
    device = execution_device(model.get_input_embeddings())
    batch = {name: each.to(device) for name, each in model.processor.decoder_inputs(rows).items()}
    return {"inputs_embeds": model.embed_prompt(batch.pop("input_ids"), latents), **batch}


def joined_pieces(processor, windows):
    """Yields the pieces of a text from the ids of its windows (iterable of `list[int]`), one a window at most."""
    before, held, piece = [], [], ""
    for ids in windows:
        # Decoded together with the window before, as some tokenizers treat the start of a text differently; held back
        # while a character's bytes are still incomplete.
        held += ids
        known = processor.decode(before) if before else ""
        piece = processor.decode(before + held)[len(known) :]
        if not piece.endswith("\ufffd"):
            yield piece
            before, held = held, []
    if held:
        yield piece


def unpacked_corrections(latents, vocab_size):
    """
    [`TextCorrections`] of each text, `list`; None where there are none. `ValueError` for what no text of a model with
    so many tokens has.
    """
    if latents.corrections is None:
        return None
    lengths = latents.text_lengths.tolist()
    return [
        unpack(packed, [lengths[place] for place in owned], vocab_size)
        for packed, owned in zip(latents.corrections, latents.windows_of_texts, strict=True)
    ]


def checked_pieces(processor, windows, corrections, name):
    """As `joined_pieces`, of a text with corrections; raises [`InexactTextError`] where it is not that text."""
    pieces = joined_pieces(processor, _checked_windows(windows, corrections, name))
    if corrections.text is not None:
        for _ in pieces:
            pass
        pieces = [corrections.text]
    checksum = 0
    for piece in pieces:
        checksum = zlib.crc32(piece.encode("utf-8", "surrogatepass"), checksum)
        yield piece
    if checksum != corrections.checksum:
        raise InexactTextError(f"{name} {NOT_EXACT}")


def _checked_windows(windows, corrections, name):
    for number, (ids, checksum) in enumerate(zip(windows, corrections.window_checksums, strict=True)):
        if checksum_of_ids(ids) != checksum:
            raise InexactTextError(f"{name}, window {number}, {NOT_EXACT}")
        yield ids


def decode_windows(model, prompt, spans, suppressed, method=None, forced=None):
    """
    From the latents of windows to their token ids, by one of two ways that give the same: one token a pass, or drafted
    in parallel; and by transformers' `generate` where processes share a model.

    Args:
        model (`C3Model`): the model.
        prompt (`dict[str, torch.Tensor]`): see `prompt_embeds`.
        spans (`list[LatentSpan]`): latents and tokens of each row.
        suppressed (`torch.LongTensor`): ids that are never chosen.
        forced (`torch.LongTensor` of shape `(rows, tokens)`, *optional*): ids that are taken instead of the decoder's
            own; -1 where there is none.
        method (`str`, *optional*): of `DECODING_METHODS`. By default parallel where the decoder was trained for it, but
            greedy for so many rows, or so many tokens per latent, that correcting the drafts takes longer. A model
            whose weights are shared among processes (ZeRO-3, FSDP) decodes greedily, by transformers' `generate`.

    Returns:
        `list[list[int]]`: the ids of each row.
    """
    if is_sharded(model):
        return _generate_together(model, prompt, [span.num_tokens for span in spans], suppressed, forced)
    if method is None:
        is_trained = model.mask_embedding is not None
        is_parallel = is_trained and is_worth_drafting(prompt["attention_mask"].device.type, spans)
        method = "parallel" if is_parallel else "greedy"
    return DECODING_METHODS[method](model, prompt, spans, suppressed, forced)


def _generate_together(model, prompt, lengths, suppressed, forced):
    """`decode_greedily` by transformers' `generate`, which under ZeRO-3 goes on until all processes have finished."""
    ids = GenerationMixin.generate(
        model,
        **prompt,
        do_sample=False,
        num_beams=1,
        max_new_tokens=max(lengths),
        suppress_tokens=suppressed.tolist() or None,
        stopping_criteria=StoppingCriteriaList([StopAtLengths(lengths)]),
        logits_processor=LogitsProcessorList([] if forced is None else [ForceTokens(forced)]),
        pad_token_id=0,
    )
    return [row[:length] for row, length in zip(ids.tolist(), lengths, strict=True)]


class ForceTokens(LogitsProcessor):
    """Has row i choose `forced[i, n]`, `(rows, tokens)`, as its n-th new token, where that is no -1."""

    def __init__(self, forced):
        self.forced = forced

    def __call__(self, input_ids, scores):
        # Generation from embeddings starts with no ids, so all ids are new.
        forced = self.forced[:, input_ids.shape[1] : input_ids.shape[1] + 1].to(scores.device)
        forced = forced.repeat_interleave(len(scores) // len(self.forced), dim=0)
        is_other = torch.arange(scores.shape[-1], device=scores.device) != forced
        return scores.masked_fill(is_other & (forced >= 0), -torch.inf)


class StopAtLengths(StoppingCriteria):
    """Stops row i after `lengths[i]` new tokens; with several beams or sequences a row, all of them."""

    def __init__(self, lengths):
        self.lengths = torch.tensor(lengths)

    def __call__(self, input_ids, scores, **kwargs):
        # Generation from embeddings starts with no ids, so all ids are new.
        lengths = self.lengths.repeat_interleave(len(input_ids) // len(self.lengths))
        return (lengths <= input_ids.shape[1]).to(input_ids.device)
