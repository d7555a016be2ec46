"""`c3 generate`: answers a prompt about a compressed text."""

import sys

from c3.support.arguments import compression_ratio, fidelity, utf8_text, whole_number
from c3.support.errors import UserError

from .inputs import add_latents_options, load_texts, source_name
from .model_options import add_model_options, asked_model

SUMMARY = "answer a prompt about a compressed text"


def add_arguments(parser):
    add_model_options(parser)
    add_latents_options(parser)
    parser.add_argument("--prompt", type=utf8_text, required=True, help="what to ask, after the latents")
    parser.add_argument("--max-new-tokens", type=whole_number(1), default=256, metavar="N", help="(default: 256)")
    parser.add_argument(
        "--raw-below",
        type=fidelity,
        metavar="F",
        help="read windows of a lower fidelity as their text's tokens and not as latents; not for what c3 "
        "compress --no-exact wrote",
    )
    about = "compress the prompt and what is generated as well, so many tokens at a time, whose text leaves the cache"
    parser.add_argument("--compress-every", type=whole_number(1), metavar="K", help=about)
    about = "with --compress-every, tokens per latent (default: as c3 compress)"
    parser.add_argument("--ratio", type=compression_ratio, metavar="R", help=about)


def run(args):
    if args.ratio is not None and args.compress_every is None:
        raise UserError("--ratio is that of --compress-every: give that too; FILE is compressed already")
    latents, indices = load_texts(args)
    if not indices:
        raise UserError(f"{source_name(args.file)} holds no texts: there is nothing to ask about")
    if len(indices) > 1:
        last = len(indices) - 1
        held = f"{source_name(args.file)} holds {len(indices)} texts"
        raise UserError(f"{held}: pick one with --text-index (0 to {last})")
    if args.raw_below is not None and latents.corrections is None:
        held = f"{source_name(args.file)} holds no corrections"
        raise UserError(f"--raw-below: {held}, from which the text would come: compress it without --no-exact")
    options = {"max_new_tokens": args.max_new_tokens, "allow_mismatch": args.allow_mismatch}
    options |= {"raw_below": args.raw_below, "compress_every": args.compress_every, "ratio": args.ratio}
    with asked_model(args) as model:
        if args.compress_every is None:
            print(model.generate(latents, args.prompt, **options))
            return
        output = model.generate(latents, args.prompt, return_dict_in_generate=True, **options)
        print(model.answering().processor.decode_answer(output.sequences[0]))
        print("c3:", what_was_compressed([output]), file=sys.stderr)


def what_was_compressed(outputs):
    """
    A line, `str`, on what took the place of prompts and answers.

        what_was_compressed([model.generate(latents, "Who?", compress_every=64, return_dict_in_generate=True)])

    Args:
        outputs (`list[ChunkedGenerationOutput]`): of one batch after the other.
    """
    latents = [each for output in outputs for each in output.latents if each is not None]
    cache = f"cache {max(output.most_cache_bytes for output in outputs) / 2**20:.2f} MiB at most"
    if not latents:
        return f"nothing of prompt and answer was compressed, {cache}"
    tokens, count = sum(each.text_tokens for each in latents), sum(each.num_latents for each in latents)
    return f"{tokens} tokens of prompt and answer in {count} latents, {cache}"
