"""Latents back to text: `expand`, which decodes the windows of all texts side by side and joins them."""

import torch

from .options_c3 import progress_bar, whole_number
from .window_decoding_c3 import DECODING_METHODS, decode_windows


class ExpansionMixin:
    """Latents in, their text out; mixed into [`C3Model`]."""

    def expand(self, latents, *, method=None, batch_size=8, show_progress=None, stream=False, allow_mismatch=False):
        """
        Reconstructs the texts, greedily: the windows of all texts are decoded side by side and joined. Each window
        stops after exactly the number of text tokens that it stands for.

        Args:
            latents ([`C3Latents`]): what `compress` returned.
            method (`str`, *optional*): `"greedy"`, one token a pass, or `"parallel"`, which drafts a window in one pass
                and corrects it until it is the same text, in far fewer passes the fewer the errors of the draft are. By
                default parallel where the decoder was trained for it, with a mask embedding
                (`config.use_mask_embedding`), unless so many windows go at once, or so many tokens stand behind each
                latent, that greedy passes are the cheaper.
            batch_size (`int`): windows decoded at once.
            show_progress (`bool`, *optional*): a bar on standard error; by default for more than one batch.
            stream (`bool`): return an iterator over pieces of text, in order, as they come; for several texts over
                `(text index, piece)`.
            allow_mismatch (`bool`): read latents that another model made.

        Returns:
            `str` for one text, else `list[str]`; an iterator with `stream`.

        Raises:
            LatentMismatchError: the latents are another model's.
            ValueError: wrong width or options, a method that this model was not trained for, or windows of more tokens
                or latents than `compress` makes.
        """
        self._check_latents(latents, allow_mismatch)
        batch_size = whole_number("batch_size", batch_size)
        self._check_method(method)
        pieces = self._stream_text(latents, method, batch_size, show_progress, in_order=stream)
        if stream:
            return (piece for _, piece in pieces) if len(latents) == 1 else pieces
        texts = [""] * len(latents)
        for index, piece in pieces:
            texts[index] += piece
        return texts[0] if len(texts) == 1 else texts

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
        owners = [i for i, count in enumerate(latents.window_counts.tolist()) for _ in range(count)]
        finished, following, before, held = {}, 0, [], []
        for window, ids in self._expand_windows(latents, method, batch_size, show_progress, in_order):
            finished[window] = ids
            while following in finished:
                index = owners[following]
                held += finished.pop(following)
                following += 1
                last = following == len(owners) or owners[following] != index
                # Decoded together with the window before, as some tokenizers treat the start of a text differently;
                # held back while a character's bytes are still incomplete.
                known = self.processor.decode(before) if before else ""
                piece = self.processor.decode(before + held)[len(known) :]
                if last or not piece.endswith("\ufffd"):
                    yield index, piece
                    before, held = ([], []) if last else (held, [])

    def _expand_windows(self, latents, method, batch_size, show_progress, in_order):
        """Yields (window, its token ids); longest windows first unless `in_order`."""
        windows = latents.windows()
        lengths = latents.text_lengths.tolist()
        # Text never holds special tokens: they are encoded as the characters they are written with.
        special = torch.tensor(sorted(set(self.processor.tokenizer.all_special_ids)), dtype=torch.long)
        order = list(range(len(windows)))
        if not in_order:
            order.sort(key=lambda i: (lengths[i], len(windows[i])), reverse=True)
        with progress_bar(len(order), batch_size, show_progress, "Expanding", "window") as bar:
            for start in range(0, len(order), batch_size):
                chosen = order[start : start + batch_size]
                spans = [(len(windows[i]), lengths[i]) for i in chosen]
                with torch.no_grad():
                    prompt = self._prompt_embeds([[span] for span in spans], [windows[i] for i in chosen], None)
                    ids = decode_windows(self, prompt, spans, special, method)
                bar.update(len(chosen))
                yield from zip(chosen, ids, strict=True)
