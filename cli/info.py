"""`c3 info`: what is in a file of latents."""

import json
from dataclasses import asdict
from pathlib import Path

from c3.quoting_c3 import printable, quoted
from c3.support.arguments import file_name

from .inputs import LATENTS_HELP, load_latents
from .model_options import add_debug

SUMMARY = "what is in a file of latents; no model is loaded"


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
        "each": [_facts(text) for text in latents],
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
        print(f"{field.replace('_', ' ') + ':':<24}{_rounded(value)}")
    for index, text in enumerate(each if len(each) > 1 else []):
        said = ", ".join(f"{field.replace('_', ' ')} {_rounded(value)}" for field, value in text.items())
        print(f"{f'text {index}:':<24}{said}")


def _facts(latents):
    return {
        "windows": latents.num_windows,
        "latents": latents.num_latents,
        "text_tokens": latents.text_tokens,
        "ratio": latents.ratio if len(latents) else None,  # JSON has no NaN
        **({} if latents.fidelity is None else {"fidelity": round(latents.fidelity, 4)}),
    }


def _rounded(value):
    return f"{value:.2f}" if isinstance(value, float) else "none" if value is None else value
