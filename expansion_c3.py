"""Latents back to text: `expand`, which decodes the windows of all texts side by side and joins them."""

import warnings
import zlib
from collections import Counter
from dataclasses import dataclass, replace
from itertools import islice
from math import inf

import torch

from .corrections_c3 import InexactTextError, checksum_of_ids, forced_tokens, special_ids, unpack
from .expanded_text_c3 import ExpandedText, ExpandedWindow, named_windows
from .options_c3 import CompressionWarning, progress_bar, whole_number
from .reencoding_c3 import MOST_DISTANCE, measured, most_distance
from .search_decoding_c3 import BEAMS_LIMIT, MOST_BEAMS, search_windows
from .stored_weights_c3 import is_sharded
from .text_pieces_c3 import with_texts
from .window_decoding_c3 import DECODING_METHODS, decode_windows, prompt_embeds

NOT_EXACT = (
    "did not come back as it was, though it was compressed exactly: the latents are not those that were made, or this "
    "device, dtype or adapter computes too differently. Expand it where it was compressed, or compress it again."
)


@dataclass(frozen=True)
class ExpandOptions:
    """
    Of `C3Model.expand`; `in_order` is its `stream`, `with_margins` its `return_scores`. Windows come back that are at
    most `most_distance` away.
    """

    method: str | None = None
    batch_size: int = 8
    show_progress: bool | None = False
    in_order: bool = False
    with_margins: bool = False
    check: bool = False
    beams: int = MOST_BEAMS
    most_distance: float = MOST_DISTANCE


class ExpansionMixin:
    """
    Latents in, their text out; mixed into [`C3Model`]. It needs of the model `embed_prompt`, `mask_embedding` and
    `forward`, and `processor` and `check_latents` of [`CheckpointMixin`].
    """

    def expand(
        self,
        latents,
        *,
        method=None,
        batch_size=8,
        show_progress=None,
        stream=False,
        allow_mismatch=False,
        return_scores=False,
        check=False,
        beams=None,
    ):
        """
        Reconstructs the texts, greedily: the windows of all texts are decoded side by side and joined. Each window
        stops after exactly the number of text tokens that it stands for.

            texts = model.expand(model.compress(["a long text", "another"]))
            expanded = model.expand(latents, method="search", check=True)
            print(expanded.text, expanded.lost_windows)

        Args:
            latents ([`C3Latents`]): what `compress` returned.
            method (`str`, *optional*): of `DECODING_METHODS`: `"greedy"`, one token a pass, or `"parallel"`, which
                drafts a window in one pass and corrects it until it is the same text, in far fewer passes the fewer the
                errors of the draft are. By default parallel where the decoder was trained for it, with a mask embedding
                (`config.use_mask_embedding`), unless so many windows go at once, or so many tokens stand behind each
                latent, that greedy passes are the cheaper. Or `"search"`: as by default, but windows that `check` finds
                wrong are decoded again with beams until the right text is found, which takes many times as long (see
                `search_decoding_c3.py`); where it is not found the nearest one is taken.
            batch_size (`int`): windows decoded at once.
            show_progress (`bool`, *optional*): a bar on standard error; by default for more than one batch, and for a
                search.
            stream (`bool`): return an iterator over pieces of text, in order, as they come; where a list was compressed
                over `(text index, piece)`. A piece is then given out when one byte has proven it, and the whole text's
                checksum is looked at after the last one.
            allow_mismatch (`bool`): read latents that another model made.
            return_scores (`bool`): return an [`ExpandedText`] for each `str`, and with `stream` an [`ExpandedWindow`]
                for each piece: the tokens with how sure the decoder was of each, window by window.
            check (`bool`): encode what came back once more, and return the same objects, which say of each window
                whether its latents are those that were given, but for rounding. A wrong text's are hardly ever as
                near; it is no proof. Texts that were compressed with `exact=True` have checksums instead, which are
                looked at in any case.
            beams (`int`, *optional*): of the search, at most, by default 128, up to 256.

        Returns:
            `str` where one text was compressed by itself, `list[str]` where a list was; an iterator with `stream`.

        Warns:
            CompressionWarning: which windows were not found by a search, unless `check` has them returned.

        Raises:
            LatentMismatchError: the latents are another model's.
            InexactTextError: a text that was compressed with `exact=True` did not come back as it was.
            ValueError: wrong width or options, a method that this model was not trained for, or windows of more tokens
                or latents than `compress` makes.
        """
        batch_size = whole_number("batch_size", batch_size)
        self._check_method(method, beams)
        beams = MOST_BEAMS if beams is None else whole_number("beams", beams, most=BEAMS_LIMIT)
        self.check_latents(latents, allow_mismatch)
        most = most_distance(self.dtype, latents.provenance.dtype)
        options = ExpandOptions(method, batch_size, show_progress, stream, return_scores, check, beams, most)
        windows = self._stream_windows(latents, options)
        if method == "search" and not check:
            windows = _telling_of_lost(windows)
        if stream:
            pieces = ((index, each.text) for index, each in windows if each.text)
            pieces = windows if return_scores or check else pieces
            return (piece for _, piece in pieces) if latents.single else pieces
        texts = [ExpandedText([]) for _ in latents.spans]
        for index, window in windows:
            texts[index].windows.append(window)
        if not (return_scores or check):
            texts = [each.text for each in texts]
        return texts[0] if latents.single else texts

    def _check_method(self, method, beams):
        if method not in (None, *DECODING_METHODS, "search"):
            raise ValueError(f"method must be one of {', '.join(DECODING_METHODS)}, search, not {method!r}.")
        if beams is not None and method != "search":
            raise ValueError("beams are those of method='search': give that too, or leave beams out.")
        if method == "search" and is_sharded(self):
            raise ValueError(
                "method='search' takes as many passes as a text needs, which processes that share a model cannot do: "
                "search in one process."
            )
        if method == "parallel" and self.mask_embedding is None:
            raise ValueError(
                "method='parallel' needs a decoder that was trained with a mask embedding "
                "(config.use_mask_embedding); use method='greedy'."
            )

    def _stream_windows(self, latents, options):
        """Yields (text index, [`ExpandedWindow`]): the windows of a text in order, with the pieces of it."""
        corrections = unpacked_corrections(latents, self.config.decoder_config.vocab_size)
        windows = self._in_order(self.expand_windows(latents, corrections, options))
        for index, owned in enumerate(latents.windows_of_texts):
            ours = islice(windows, len(owned))
            if corrections is None:
                ours = with_texts(self.processor, ours, len(owned))
            else:
                ours = checked_windows(self.processor, ours, corrections[index], f"text {index}")
            yield from ((index, window) for window in ours)

    @staticmethod
    def _in_order(windows):
        """The windows of (place, window), in the order of their places."""
        finished, following = {}, 0
        for place, window in windows:
            finished[place] = window
            while following in finished:
                yield finished.pop(following)
                following += 1

    def expand_windows(self, latents, corrections=None, options=None):
        """
        Yields what each window was decoded to.

            ids = {place: window.ids for place, window in model.expand_windows(latents)}

        Args:
            latents ([`C3Latents`]): of this model.
            corrections (`list[TextCorrections]`, *optional*): of each text.
            options (`ExpandOptions`, *optional*): see there.

        Yields:
            `tuple[int, ExpandedWindow]`: the window's place among all, and what came back, without its text; longest
            windows first, unless they are to come in order.
        """
        options = options or ExpandOptions()
        stored = None if corrections is None else [window for text in corrections for window in text.windows]
        values, spans = latents.windows(), [span for text in latents.spans for span in text]
        follow = [number > 0 for text in latents.spans for number in range(len(text))]
        order = list(range(len(spans)))
        if stored is not None:
            # Windows all of whose tokens are stored need no decoder, unless processes must run it equally often.
            kept = set() if is_sharded(self) else {i for i in order if len(stored[i]) == spans[i].num_tokens}
            order = [i for i in order if i not in kept]
            for i, each in enumerate(stored):
                if i in kept:
                    yield i, ExpandedWindow(list(each.values()), [inf] * len(each) if options.with_margins else None)
        if not options.in_order:
            order.sort(key=lambda i: (spans[i].num_tokens, spans[i].num_latents), reverse=True)
        size = options.batch_size
        # A search may take minutes for a window.
        told = 0 if options.method == "search" else size
        with progress_bar(len(order), told, options.show_progress, "Expanding", "window") as bar:
            for start in range(0, len(order), size):
                chosen = order[start : start + size]
                forced = None
                if stored is not None:
                    longest = max(spans[i].num_tokens for i in chosen)
                    forced = forced_tokens([stored[i] for i in chosen], longest)
                about = ([each[i] for i in chosen] for each in (spans, values, follow))
                found = self._decode(*about, forced, options, bar)
                bar.update(start + len(chosen) - bar.n)
                yield from zip(chosen, found, strict=True)

    @torch.no_grad()
    def _decode(self, spans, values, follow, forced, options, bar):
        """
        The [`ExpandedWindow`]s of a batch of windows, without their texts.

        Args:
            spans (`list[LatentSpan]`), values (`list[torch.Tensor]` of shape `(N, D_dec)`): of each window.
            follow (`list[bool]`): which come after another window of their text.
            forced (`torch.LongTensor` of shape `(rows, tokens)`, *optional*): see `decode_windows`.
            options (`ExpandOptions`): see there.
            bar (`tqdm`): which a search moves as it finds windows.
        """
        special = torch.tensor(special_ids(self.processor), dtype=torch.long)
        prompt = prompt_embeds(self, [self.processor.row([span]) for span in spans], torch.cat(values))
        searches = options.method == "search"
        method = None if searches else options.method
        found = decode_windows(self, prompt, spans, special, method, forced, options.with_margins)
        if forced is not None or not (options.check or searches):
            return found
        found = measured(self, found, spans, values, options.batch_size, options.most_distance, follow)
        if not searches:
            return found
        return search_windows(self, found, spans, values, follow, special, options, bar)


def _telling_of_lost(windows):
    """The same (text index, [`ExpandedWindow`]), with a warning at the end of those that do not come back."""
    lost, places = {}, Counter()
    for index, window in windows:
        if not window.comes_back:
            lost.setdefault(index, []).append(places[index])
        places[index] += 1
        yield index, window
    if lost:
        said = "; ".join(f"text {index}, {named_windows(each)}" for index, each in islice(lost.items(), 5))
        warnings.warn(
            f"{sum(map(len, lost.values()))} of {places.total()} windows were not found: {said}"
            f"{'; …' if len(lost) > 5 else ''}. The nearest text was taken for them.",
            CompressionWarning,
            stacklevel=3,
        )


def unpacked_corrections(latents, vocab_size):
    """
    [`TextCorrections`] of each text, `list`; None where there are none. `LatentFormatError` for what no text of a model
    with so many tokens has.
    """
    if latents.corrections is None:
        return None
    lengths = latents.text_lengths.tolist()
    return [
        unpack(packed, [lengths[place] for place in owned], vocab_size)
        for packed, owned in zip(latents.corrections, latents.windows_of_texts, strict=True)
    ]


def checked_windows(processor, windows, corrections, name):
    """As `with_texts`, of a text with corrections; raises [`InexactTextError`] where it is not that text."""
    checksum, count = 0, len(corrections.windows)
    known = _checked_ids(windows, corrections.window_checksums, name)
    for number, window in enumerate(with_texts(processor, known, count), start=1):
        if corrections.text is not None:
            # The tokens give other characters, and none of the stored ones can be told to be a window's.
            spans = None if window.token_spans is None else [(0, 0)] * len(window.ids)
            text = corrections.text if number == count else ""
            window = replace(window, text=text, token_spans=spans)
        checksum = zlib.crc32(window.text.encode("utf-8", "surrogatepass"), checksum)
        yield replace(window, comes_back=True)
    if checksum != corrections.checksum:
        raise InexactTextError(f"{name} {NOT_EXACT}")


def _checked_ids(windows, checksums, name):
    for number, (window, checksum) in enumerate(zip(windows, checksums, strict=True)):
        if checksum_of_ids(window.ids) != checksum:
            raise InexactTextError(f"{name}, window {number}, {NOT_EXACT}")
        yield window
