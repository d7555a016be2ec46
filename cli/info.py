"""`c3 info`: what is in a file of latents."""

import json
from dataclasses import asdict
from pathlib import Path

from c3.quoting_c3 import printable, quoted
from c3.support.arguments import file_name

from .inputs import LATENTS_HELP, load_latents
from .model_options import add_debug

SUMMARY = "what is in a file of latents; no model is loaded"
# Windows that are named one by one, those that lose most.
WORST_WINDOWS = 8


def add_arguments(parser):
    add_debug(parser)
    parser.add_argument("file", type=file_name, metavar="FILE.c3", help=LATENTS_HELP)
    parser.add_argument("--json", action="store_true", help="one JSON object")


def run(args):
    latents = load_latents(args.file)
    facts = {"file": args.file}
    if Path(args.file).is_file():
        facts["file_bytes"] = Path(args.file).stat().st_size
    facts |= {"texts": len(latents), **_facts(latents)}
    facts |= {
        "width": latents.hidden_size,
        "dtype": str(latents.dtype).removeprefix("torch."),
        "latent_bytes": latents.nbytes,
        **({} if latents.corrections is None else {"correction_bytes": sum(map(len, latents.corrections))}),
        "provenance": asdict(latents.provenance),
        "each": [_facts(text) | _window_facts(text) for text in latents],
    }
    if args.json:
        # In ASCII: JSON itself leaves some of the characters that a terminal obeys as they are.
        print(json.dumps(facts, indent=2))
        return
    provenance, each = facts.pop("provenance"), facts.pop("each")
    provenance = {field: quoted(value) if value else "unknown" for field, value in provenance.items()}
    facts["file"] = printable(facts["file"])
    provenance["model_dtype"] = provenance.pop("dtype")
    for field, value in (facts | provenance).items():
        print(f"{field.replace('_', ' ') + ':':<24}{_said(field, value)}")
    for index, text in enumerate(each if len(each) > 1 else []):
        text = {field: value for field, value in text.items() if not isinstance(value, list)}
        said = ", ".join(f"{field.replace('_', ' ')} {_said(field, value)}" for field, value in text.items())
        print(f"{f'text {index}:':<24}{said}")
    for line in _worst_windows(latents):
        print(line)


def _facts(latents):
    return {
        "windows": latents.num_windows,
        "latents": latents.num_latents,
        "text_tokens": latents.text_tokens,
        "ratio": latents.ratio if len(latents) else None,  # JSON has no NaN
        **({} if latents.fidelity is None else {"fidelity": latents.fidelity}),
    }


def _window_facts(text):
    return {} if text.window_fidelities is None else {"window_fidelities": text.window_fidelities}


def _worst_windows(latents):
    """Yields a line for each of the windows that lose most: which, where in its text, and its fidelity."""
    fidelities = latents.window_fidelities or []
    worst = sorted((each, place) for place, each in enumerate(fidelities) if each < 1)
    if worst:
        yield f"{'windows that lose some:':<24}{len(worst)} of {len(fidelities)}"
    lengths, latent_lengths = latents.text_lengths.tolist(), latents.latent_lengths.tolist()
    owners = {place: (index, owned) for index, owned in enumerate(latents.windows_of_texts) for place in owned}
    for each, place in worst[:WORST_WINDOWS]:
        index, owned = owners[place]
        start, whole = sum(lengths[owned.start : place]), sum(lengths[owned.start : owned.stop])
        name = f"window {place - owned.start}" if len(latents) == 1 else f"text {index}, window {place - owned.start}"
        where = f"tokens {start} to {start + lengths[place] - 1} of {whole}, latents {latent_lengths[place]}"
        yield f"{f'{name}:':<24}fidelity {_said('fidelity', each)}, {where}"
    if len(worst) > WORST_WINDOWS:
        yield f"{'':<24}and {len(worst) - WORST_WINDOWS} more, with --json"


def _said(field, value):
    if field == "fidelity":
        from c3.latents_fidelity_c3 import rounded_fidelity

        return rounded_fidelity(value)
    return f"{value:.2f}" if isinstance(value, float) else "none" if value is None else value
