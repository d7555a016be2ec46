"""`c3 generate`: answers a prompt about a compressed text."""

from c3.support.arguments import utf8_text, whole_number
from c3.support.errors import UserError

from .inputs import add_latents_options, load_texts, source_name
from .model_options import add_model_options, asked_model

SUMMARY = "answer a prompt about a compressed text"


def add_arguments(parser):
    add_model_options(parser)
    add_latents_options(parser)
    parser.add_argument("--prompt", type=utf8_text, required=True, help="what to ask, after the latents")
    parser.add_argument("--max-new-tokens", type=whole_number(1), default=256, metavar="N", help="(default: 256)")


def run(args):
    latents, indices = load_texts(args)
    if not indices:
        raise UserError(f"{source_name(args.file)} holds no texts: there is nothing to ask about")
    if len(indices) > 1:
        last = len(indices) - 1
        held = f"{source_name(args.file)} holds {len(indices)} texts"
        raise UserError(f"{held}: pick one with --text-index (0 to {last})")
    options = {"max_new_tokens": args.max_new_tokens, "allow_mismatch": args.allow_mismatch}
    with asked_model(args) as model:
        print(model.generate(latents, args.prompt, **options))
