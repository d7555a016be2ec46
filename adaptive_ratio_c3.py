"""
An adaptive ratio: every window gets as few latents as its fidelity allows. It is tried with the number that was asked
for, and where too many of its tokens need a correction with the next ones of a short ladder.
"""

from .options_c3 import progress_bar

# From one number of a ladder to the next: fine enough that little is given away, and a dozen numbers at most from 56
# tokens per latent to 4. Latents that then stand for no whole number of tokens cost nothing that could be measured.
STEP = 1.3
# Own tokens per latent at the end of a ladder, where a model's config names no lowest ratio.
LOWEST_RATIO = 4


def ladder(num_latents, most):
    """
    Numbers of latents from `num_latents` to `most`, rising, `list[int]`; the first alone where that is no less.

        ladder(3, 10)  # [3, 4, 5, 6, 8, 10]
    """
    numbers = [num_latents]
    while numbers[-1] < most:
        numbers.append(min(most, max(numbers[-1] + 1, int(numbers[-1] * STEP))))
    return numbers


def ladders_of_windows(config, lengths, num_latents):
    """
    The numbers of latents to try for each window, `list[list[int]]`.

    Args:
        config ([`C3Config`]): of the model.
        lengths (`list[int]`), num_latents (`list[int]`): text tokens and latents of each window, as planned.

    Raises:
        ValueError: the layout takes no more latents than every window has.
    """
    if config.latent_position_layout == "appended":
        ladders = [ladder(n, config.num_latents) for n in num_latents]
        if all(len(each) == 1 for each in ladders):
            raise ValueError(
                f"min_fidelity has nothing to try: every window has the {config.num_latents} latents that this model "
                "was trained with, and only the uniform layout takes more. Ask for fewer by num_latents or ratio, or "
                "only measure the fidelity, with measure=True."
            )
        return ladders
    lowest = config.ratio_range[0] if config.ratio_range else LOWEST_RATIO
    return [ladder(n, int(length / lowest)) for n, length in zip(num_latents, lengths, strict=True)]


def fit_windows(encode, ladders, measured, min_fidelity, batch_size, show_progress=None, keep=True):
    """
    Encodes every window with the fewest latents of its ladder at which it reaches a fidelity; where it reaches that
    with none, with those at which it is highest.

    Args:
        encode (`Callable`): given places of windows and N of each, `list[int]`, gives the latents of each,
            `list[torch.Tensor]`, after it has told `measured`; and whether that kept what was found, `list[bool]`.
        ladders (`list[list[int]]`): for each window the numbers of latents to try.
        measured ([`MeasuredWindows`]): what is known of the windows.
        min_fidelity (`float`): the fidelity to reach.
        batch_size (`int`), show_progress (`bool`, *optional*): as in `C3Model.compress`.
        keep (`bool`): whether to keep the latents; else each window's number is found alone.

    Returns: N of each window, `list[int]`, and its latents, `list[torch.Tensor]`, or None.
    """
    counts = [numbers[0] for numbers in ladders]
    kept = [None] * len(ladders) if keep else None
    places, rung = list(range(len(ladders))), 0
    with progress_bar(len(places), batch_size, show_progress, "Compressing" if keep else "Measuring", "window") as bar:
        while places:
            # Longest first, as `compress` does.
            places.sort(key=lambda i: measured.lengths[i] + ladders[i][rung], reverse=True)
            failing = []
            for start in range(0, len(places), batch_size):
                chosen = places[start : start + batch_size]
                found = encode(chosen, [ladders[i][rung] for i in chosen])
                for i, latents, is_better in zip(chosen, *found, strict=True):
                    if is_better:
                        counts[i] = ladders[i][rung]
                        if keep:
                            kept[i] = latents.clone()  # not with the whole batch
                    if measured.fidelity(i) < min_fidelity and rung + 1 < len(ladders[i]):
                        failing.append(i)
                    else:
                        bar.update()
            places, rung = failing, rung + 1
    return counts, kept


__all__ = ["LOWEST_RATIO", "fit_windows", "ladder", "ladders_of_windows"]
