"""
Ways to make latents, like for like: the same small model trained on the same batches, differing in one setting.

    c3 compare --data PAGES --output eval/results [key=value …]

Appended queries (C3, arXiv 2511.15244), queries at uniform positions, mean pooling (LCLM, arXiv 2606.09659), and
pictures of the text (VIST2, arXiv 2601.10378), each trained by one recipe (configs/c3_like_for_like.yaml) from several
seeds and measured free-running, on windows of the recipe's validation data, of shuffled words, of random characters and
of code, and on whole pages. Writes like_for_like.json, .md, .png and .svg. Finished runs in the JSON are not trained
again, and a run that was interrupted goes on from its last checkpoint.
"""

import json
import random
import statistics
from dataclasses import replace
from pathlib import Path

import torch
import transformers
from tqdm.auto import tqdm

from c3 import __version__
from c3.eval.free_running import free_running_scores
from c3.eval.like_for_like_report import draw, report
from c3.eval.page_files import read_data
from c3.eval.report import check_figures
from c3.eval.result_file import read_matching, write_json
from c3.eval.text_kinds import GENERATED_KINDS, PAGE_KINDS, cut_tokens, pieces, text_of_length
from c3.quoting_c3 import printable_lines
from c3.support.arguments import Parser, whole_number
from c3.support.loading import load_model
from c3.whole_files_c3 import ensure_writable

from .data.validation import validation_windows
from .optim.parts import count_parameters
from .recipe.recipe_file import load_recipe
from .run.build import make_tokenizer
from .run.stages import LOG, plain, train

NAME = "like_for_like"
RECIPE = Path(__file__).parents[1] / "configs" / "c3_like_for_like.yaml"
# What differs from one to the next; everything else is the recipe's.
LAYOUTS = {
    "appended queries": {"latent_position_layout": "appended", "pooling": "queries"},
    "uniform queries": {"latent_position_layout": "uniform", "pooling": "queries"},
    "mean pooling": {"latent_position_layout": "uniform", "pooling": "mean"},
    # As kind to a tower that has yet to learn to read as can be: latents one below the other, so that each holds the
    # next stretch of the text, large letters, and patches of 24 pixels that hold four of them, whole.
    "pictures": {
        "latent_position_layout": "uniform",
        "pooling": "patches",
        "context_modality": "image",
        "context_picture": {"font_size": 13, "cell": [12, 12], "latents_across": 1},
        "tie_word_embeddings": False,
    },
}
# Of the pictures: pixels of a patch's side, and patches of the side of the table of positions.
PATCH, POSITIONS = 24, 16
ENGLISH, SHUFFLED = "English", "shuffled words"
KINDS = (ENGLISH, SHUFFLED, "random characters", "code")


def model_fields(layout, model):
    """
    What a layout makes of the key `model` of a recipe, `dict`. A vision tower is as wide and deep as the encoder that
    it stands for; its MLPs have two matrices where that one's have three, and are half as wide again.
    """
    changed = model | LAYOUTS[layout]
    if changed.get("context_modality") == "image":
        text = model["encoder_config"]
        changed["encoder_config"] = {
            "model_type": "siglip_vision_model",
            **{name: text[name] for name in ("hidden_size", "num_hidden_layers", "num_attention_heads")},
            "intermediate_size": 3 * text["intermediate_size"] // 2,
            "num_channels": 1,
            "patch_size": PATCH,
            "image_size": POSITIONS * PATCH,
        }
    return changed


def run(args):
    """
    Trains and measures what is not yet in the output file.

    Returns: `dict`, the result as it is in the file: `runs` holds a `dict` for each layout and seed.

    Raises: `OSError`, `ValueError` saying in one line what is wrong.
    """
    recipe = load_recipe(args.recipe, args.overrides)
    if not recipe.model or not recipe.evaluation or recipe.stages:
        raise ValueError(f"{args.recipe}: a comparison needs `model`, `evaluation` and no stages")
    pages, data, _ = read_data([args.data], args.limit)
    texts = {"pages": [page.text for page in pages]}
    header = {
        "comparison": {layout: LAYOUTS[layout] for layout in args.layouts},
        "recipe": _portable(plain(recipe)),
        "seeds": args.seeds,
        "ratios": recipe.evaluation["ratios"],
        "validation_windows": args.windows,
        "data": data,
        "versions": {"c3": __version__, "torch": torch.__version__, "transformers": transformers.__version__},
    }
    # As it comes back from the file.
    header = json.loads(json.dumps(header))
    path = args.output / f"{NAME}.json"
    result = read_matching(path, header, ("runs",)) or {**header, "runs": []}
    runs = result["runs"]
    finished = {(each["layout"], each["seed"]) for each in runs}
    # One tokenizer for all, so that precision counts the same tokens.
    make_tokenizer(recipe)
    tokenizer = recipe.tokenizer if isinstance(recipe.tokenizer, str) else str(Path(recipe.output_dir) / "tokenizer")
    # All layouts of a seed before the next seed: what is there after an interruption can be compared.
    wanted = [(layout, seed) for seed in args.seeds for layout in args.layouts]
    for layout, seed in tqdm(wanted, desc="Runs", unit="run"):
        if (layout, seed) in finished:
            continue
        folder = Path(recipe.output_dir) / f"{layout.replace(' ', '_')}_{seed}"
        each = replace(
            recipe,
            output_dir=str(folder),
            tokenizer=tokenizer,
            model=model_fields(layout, recipe.model),
            training=recipe.training | {"seed": seed},
        )
        final = train(each)
        # The next model compiles anew; beside this one's code it would be taken for a change of shapes.
        torch.compiler.reset()
        model = load_model(str(final), args.device, "float32")
        if "validation" not in texts:
            evaluation = recipe.evaluation | {"windows": args.windows}
            windows = validation_windows(replace(each, evaluation=evaluation), model.processor)
            texts |= {"validation": windows} | texts_of_kinds(windows, evaluation["window"], model.processor.tokenizer)
        runs.append({"layout": layout, "seed": seed} | _measured(model, texts, folder, header["ratios"]))
        write_json(path, result)
    return result


def texts_of_kinds(windows, length, tokenizer):
    """
    As many texts of every other kind of `KINDS` as there are windows of English, of `length` tokens at most.

    Returns: `dict[str, list[str]]`, by kind.
    """
    shuffled = [PAGE_KINDS[SHUFFLED](text, random.Random(place)) for place, text in enumerate(windows)]
    texts = {SHUFFLED: [cut_tokens(tokenizer, text, length) or text for text in shuffled]}
    for kind in KINDS:
        if kind in GENERATED_KINDS:
            samples = (pieces(kind, place, len(windows), [], tokenizer) for place in range(len(windows)))
            texts[kind] = [text_of_length(tokenizer, sample, length) for sample in samples]
    return texts


def _portable(recipe):
    """A recipe as keys and values, with the names of its data files instead of paths of this machine."""
    for name in ("train_data", "validation_data"):
        recipe[name] = [each | ({"path": Path(each["path"]).name} if "path" in each else {}) for each in recipe[name]]
    return {name: value for name, value in recipe.items() if name != "output_dir"}


def _measured(model, texts, folder, ratios):
    log = json.loads((folder / LOG).read_text(encoding="utf-8"))
    found = {}
    for name, each in texts.items():
        scores = free_running_scores(model, each, ratios, batch_size=64)
        found[name] = {
            f"{ratio:g}": {
                "texts": len(values),
                "precision": statistics.fmean(values),
                "exact_share": sum(value == 1 for value in values) / len(values),
            }
            for ratio, values in scores.items()
        }
    kinds = {ENGLISH: found["validation"]} | {kind: found.pop(kind) for kind in KINDS if kind in found}
    precisions = {f"{ratio:g}": f"eval_precision_{ratio:g}x" for ratio in ratios}
    parameters = {part: total for part, (total, _) in count_parameters(model).items()}
    return {
        "steps": max(entry["step"] for entry in log),
        "tokens": max(entry["num_input_tokens_seen"] for entry in log),
        "seconds": max(entry["seconds"] for entry in log),
        "parameters": sum(parameters.values()),
        "parameters_before_decoder": sum(parameters.values()) - parameters["decoder"],
        "weights_fingerprint": model.latent_provenance().weights_fingerprint,
        **found,
        "kinds": kinds,
        "losses": [[entry["step"], entry["loss"]] for entry in log if "loss" in entry],
        "curve": [
            {"step": entry["step"], "precision": {ratio: entry[key] for ratio, key in precisions.items()}}
            for entry in log
            if precisions and all(key in entry for key in precisions.values())
        ],
    }


def _parser(prog):
    parser = Parser(prog=prog, description=__doc__.strip().splitlines()[0])
    parser.add_argument("overrides", nargs="*", default=[], metavar="key=value", help="of the recipe, as for c3 train")
    parser.add_argument("--recipe", type=Path, default=RECIPE, help="default configs/c3_like_for_like.yaml")
    parser.add_argument("--data", required=True, type=Path, help="pages: .parquet or .jsonl with a column `text`")
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="folder of the results")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument(
        "--layouts",
        nargs="+",
        choices=list(LAYOUTS),
        default=list(LAYOUTS),
        metavar="NAME",
        help=f"of {', '.join(map(repr, LAYOUTS))}; default all",
    )
    parser.add_argument(
        "--windows", type=whole_number(1), default=128, help="of validation text, at the end (default 128)"
    )
    parser.add_argument("--limit", type=whole_number(1), help="measure the first so many pages only")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    return parser


def compare(argv, prog):
    """Trains, measures and reports. Raises `OSError`, `ValueError` saying in one line what is wrong."""
    args = _parser(prog).parse_intermixed_args(argv)
    check_figures()
    args.output.mkdir(parents=True, exist_ok=True)
    ensure_writable(args.output / f"{NAME}.json")
    result = run(args)
    text = report(result)
    (args.output / f"{NAME}.md").write_text(text + "\n", encoding="utf-8")
    draw(result, args.output / NAME)
    print(printable_lines(text))
