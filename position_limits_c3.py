"""How many positions a decoder was made for, and what latents and a prompt leave of them for an answer."""

import math

from .decoder_rows_c3 import LatentSpan, row_length, row_positions


def most_positions(config):
    """
    Positions that a language model was made for, with those that its rotary embeddings are scaled to (YaRN and the
    like), or infinity where its config names none.

        most_positions(model.config.decoder_config)  # 4096
    """
    most = getattr(config, "max_position_embeddings", None)
    if not most:
        return math.inf
    rope = getattr(config, "rope_parameters", None) or {}
    # Decoders with several kinds of layers have parameters for each kind.
    kinds = [each for each in (rope, *rope.values()) if isinstance(each, dict) and each.get("factor")]
    # Some configs name the positions before scaling, others those after it.
    scaled = [each["factor"] * (each.get("original_max_position_embeddings") or most) for each in kinds]
    return int(max([most, *scaled]))


def taken_positions(config, rows):
    """Positions that some rows take at their ends, the most of them (`int`), see `room_for_answers`."""
    layout = config.latent_position_layout, config.prompt_positions
    ends = [positions[-1] for positions in (row_positions(row, *layout) for row in rows) if positions]
    return math.ceil(max(ends)) + 1


def positions_of_chunks(config, rows):
    """Positions that what is read of chunks takes at its highest, in any of some rows (`int`); 0 without chunks."""
    highest = 0
    for row in rows:
        held = {segment.chunk for segment in row if isinstance(segment, LatentSpan)}
        positions = iter(row_positions(row, config.latent_position_layout, config.prompt_positions))
        for segment in row:
            own = [next(positions) for _ in range(row_length([segment]))]
            is_read = isinstance(segment, LatentSpan) or config.latents_see_chunk or segment.chunk not in held
            if segment.chunk and is_read and own:
                highest = max(highest, own[-1] + 1)
    return highest


def check_chunk_length(config, every, window):
    """
    Raises `ValueError` where a decoder has no positions for the latents of so long a chunk, one at least of each of its
    windows: before these are planned, which takes time and memory.

        check_chunk_length(model.config, 64, model.processor.default_window)
    """
    most = most_positions(config.decoder_config)
    if every > most * window:
        raise ValueError(
            f"compress_every must be {most * window} or less, not {every}: a window has at least one latent, and the "
            f"decoder was made for {most} positions."
        )


def room_for_answers(config, rows):
    """
    New tokens for which the decoder has positions after each of some rows.

        room_for_answers(model.config, [model.processor.row(latents.spans[0], "What is it about?")])

    Args:
        config ([`C3Config`]): the model's.
        rows (`list[list[TextSegment or LatentSpan]]`): latents and prompts.

    Returns: `int`, or infinity, see `most_positions`.

    Raises:
        ValueError: there is no room at all, or not for the text of a chunk, which gives its positions back.
    """
    taken = taken_positions(config, rows)
    most = most_positions(config.decoder_config)
    if taken >= most:
        raise ValueError(
            f"Latents and prompt take {taken} positions, but the decoder was made for {most}: compress at a higher "
            "ratio, or ask about a part of the text."
        )
    if (highest := positions_of_chunks(config, rows)) > most:
        raise ValueError(
            f"A chunk of the prompt is read at positions up to {highest}, but the decoder was made for {most}: give a "
            "smaller compress_every, or a higher ratio."
        )
    return most - taken


__all__ = ["check_chunk_length", "most_positions", "positions_of_chunks", "room_for_answers", "taken_positions"]
