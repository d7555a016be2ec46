"""What `compress` warns of: texts that are not given, or may not come back, as they were asked for."""

import math
import warnings

from .character_ranges_c3 import kinds_in
from .latents_fidelity_c3 import rounded_fidelity
from .options_c3 import CompressionWarning
from .quoting_c3 import printable

# The caller of `compress`, which `torch.no_grad` wraps.
CALLER = 4


def warn_of_ratio(ratio_range, plans, num_latents, ratio, window, is_told, stacklevel=CALLER):
    """
    Warns where texts get another ratio than was asked for, or one outside the `ratio_range` that the weights are good
    for; of one above it only unless what texts lose `is_told` anyway.
    """
    tokens = [sum(plan.windows.lengths) for plan in plans]
    latents = [sum(plan.num_latents) for plan in plans]
    reached = [length / n for length, n in zip(tokens, latents, strict=True)]
    lowest, highest = ratio_range or (0, math.inf)
    asked = window / num_latents if num_latents else ratio and float(ratio)
    wanted = [max(1, int(length / (ratio or math.inf))) for length in tokens]
    reasons = []
    if asked and asked < lowest:
        reasons.append(f"{asked:.3g} were asked for, but this model is at its best from {lowest:g} on")
    elif any(each < lowest and n > 1 for each, n in zip(reached, latents, strict=True)):
        reasons.append(f"every window has a latent, but this model is at its best from {lowest:g} on")
    if ratio and (ratio > window or any(n > most for n, most in zip(latents, wanted, strict=True))):
        reasons.append(f"{asked:g} were asked for, but every window of at most {window} tokens has a latent")
    # What is asked for is a floor: texts may come out a little above it.
    if not is_told and max(reached) > highest and (not asked or asked > highest):
        reasons.append(f"this model is good for at most {highest:g}, so that the text may come back wrong")
    if reasons:
        said = " to ".join(dict.fromkeys(f"{each:.3g}" for each in (min(reached), max(reached))))
        warnings.warn(f"{said} tokens per latent: {'; '.join(reasons)}.", CompressionWarning, stacklevel=stacklevel)


def warn_of_characters(unreliable, texts):
    """Warns once of all texts, `dict` by name, with characters that weights may not give back (`dict` of ranges)."""
    unreliable = unreliable or {}
    kinds, holding = {}, []
    for name, text in texts.items() if unreliable else ():
        if found := kinds_in(text, unreliable):
            kinds |= dict.fromkeys(found)
            holding.append(name)
    if holding:
        hold = f"{holding[0]} holds" if len(holding) == 1 else f"{holding[0]} and {len(holding) - 1} more hold"
        warnings.warn(
            f"{hold} {printable(' and '.join(kinds))}, which this model may not give back as in the text: compare "
            "what expand returns.",
            CompressionWarning,
            stacklevel=CALLER,
        )


def warn_of_fidelity(latents, min_fidelity):
    """Warns where windows have less, whatever was tried."""
    below = [each for each in latents.window_fidelities if each < min_fidelity]
    if below:
        warnings.warn(
            f"{len(below)} of {latents.num_windows} windows do not reach min_fidelity={min_fidelity:g} with any number "
            f"of latents, the lowest has {rounded_fidelity(min(below))}: see window_fidelities, or c3 info.",
            CompressionWarning,
            stacklevel=CALLER,
        )


__all__ = ["warn_of_characters", "warn_of_fidelity", "warn_of_ratio"]
