"""
Free-running reconstruction of whole pages at several compression ratios.

    python -m c3.eval.pages --model PATH_OR_ID --data pages.parquet --count-with Qwen/Qwen2.5-1.5B --output results.json

Every page is compressed, expanded greedily from its latents alone, and compared with its text: nothing is teacher
forced. A ratio counts tokens of the `--count-with` tokenizer, Qwen2.5's for a comparison with C3 (arXiv 2511.15244). It
is a floor: a page of T counted tokens gets floor(T / ratio) latents in all, so never fewer tokens per latent than asked
for. The one exception, a page that needs more because every window has a latent, is named in the result.
"""

import hashlib
import statistics
import time
from dataclasses import asdict
from pathlib import Path

import torch
import transformers
from tqdm.auto import tqdm

from c3 import C3Latents, __version__
from c3.quoting_c3 import in_one_line, printable_lines, quoted
from c3.support.arguments import MODEL_HELP, Parser, positive, ratio_of_one_or_more
from c3.support.loading import load_model
from c3.support.termination import cleaned_up_when_terminated
from c3.whole_files_c3 import ensure_writable

from .metrics import bootstrap_interval, exact_match, precision, token_f1
from .page_data import (
    count_page,
    describe_counter,
    describe_pages,
    load_counter,
    own_ratio,
    read_pages,
    wanted_latents,
)
from .result_file import read_finished, write_result

BYTES_PER_NUMBER = 2  # bfloat16, whatever the model runs in


def measure(model, pages, ratio, window, batch_size):
    """
    Free-running reconstruction at one ratio.

    Args:
        pages (`list[Page]`): counted pages.
        ratio (`float`): counted tokens per latent, at least.
        window (`int`): encoder tokens of a window.
        batch_size (`int`): windows compressed, and expanded, at once.

    Returns: `tuple[dict, dict]`, the result and its timing in seconds, as they are in the result file.
    """
    started = time.perf_counter()
    parts = []
    for page in tqdm(pages, desc=f"Compressing at {ratio:g}x", unit="page"):
        asked = own_ratio(page, wanted_latents(page, ratio))
        options = {"ratio": asked, "window": window, "batch_size": batch_size, "show_progress": False}
        try:
            parts.append(model.compress(page.text, **options))
        except ValueError as error:
            raise ValueError(f"ratio {ratio:g}, page {quoted(page.id)}: {error}") from error
    compressed = time.perf_counter()
    outputs = model.expand(C3Latents.cat(parts), batch_size=batch_size, show_progress=True)
    outputs = [outputs] if isinstance(outputs, str) else outputs
    expanded = time.perf_counter()
    rows = [_row(page, part, output) for page, part, output in zip(pages, parts, outputs, strict=True)]
    scores = [row["precision"] for row in rows]
    result = {
        "n_pages": len(rows),
        "precision": {
            "mean": statistics.fmean(scores),
            "ci95": list(bootstrap_interval(scores)),
            "median": statistics.median(scores),
            "min": min(scores),
        },
        "exact_share": statistics.fmean(row["exact"] for row in rows),
        "token_f1": statistics.fmean(row["token_f1"] for row in rows),
        "latent_bytes_bfloat16": statistics.fmean(row["latent_bytes_bfloat16"] for row in rows),
        "text_bytes": statistics.fmean(row["text_bytes"] for row in rows),
        "counted_ratio": _reached(rows, "counted_ratio"),
        "own_ratio": _reached(rows, "own_ratio"),
        "below_ratio": [row["id"] for row in rows if row["counted_ratio"] < ratio],
        "pages": rows,
    }
    seconds = {"compress": compressed - started, "expand": expanded - compressed}
    return result, {**seconds, "per_page": (expanded - started) / len(pages)}


def _reached(rows, name):
    ratios = [row[name] for row in rows]
    return {"min": min(ratios), "mean": statistics.fmean(ratios)}


def _row(page, latents, output):
    return {
        "id": page.id,
        **({"source": page.source} if page.source else {}),
        "counted_tokens": page.counted_tokens,
        "own_tokens": page.own_tokens,
        "windows": latents.num_windows,
        "latents": latents.num_latents,
        "counted_ratio": page.counted_tokens / latents.num_latents,
        "own_ratio": page.own_tokens / latents.num_latents,
        "latent_bytes_bfloat16": latents.values.numel() * BYTES_PER_NUMBER,
        "text_bytes": len(page.text.encode()),
        "precision": precision(page.text, output),
        "exact": exact_match(page.text, output),
        "token_f1": token_f1(page.text, output),
        "output": output,
    }


def table(result):
    """The result as Markdown."""
    data, counter = result["data"], result["counted_with"]
    unit = f"tokens of {counter['name']}" if counter else "the model's OWN tokens (no --count-with)"
    lines = [
        f"{result['model']['model_name']}, {describe_pages(data)}, free-running; ratios in {unit}.",
        "",
        "| ratio asked | reached: mean (min) | in own tokens: mean | precision [95 % CI] | median | min | exact "
        "| token F1 | bytes: latents (bf16) / text |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for ratio, each in result["ratios"].items():
        reached, scores = each["counted_ratio"], each["precision"]
        low, high = scores["ci95"]
        lines.append(
            f"| {ratio}x | {reached['mean']:.2f} ({reached['min']:.2f}) | {each['own_ratio']['mean']:.2f} "
            f"| {scores['mean']:.2%} [{low:.2%}, {high:.2%}] | {scores['median']:.2%} | {scores['min']:.2%} "
            f"| {each['exact_share']:.1%} | {each['token_f1']:.2%} "
            f"| {each['latent_bytes_bfloat16']:.0f} / {each['text_bytes']:.0f} |"
        )
    notes = {f"Below {ratio}x, as every window has a latent": r["below_ratio"] for ratio, r in result["ratios"].items()}
    for note, pages in (notes | {"Left out, without text": data["empty_pages"]}).items():
        names = ", ".join(pages)
        if note in notes and 1 < len(pages) == data["n_pages"]:
            names = "all of them"
        lines += ["", f"{note}: {len(pages)} pages ({names})."] if pages else []
    return "\n".join(lines)


def run(args):
    """Measures what is not yet in the output file; returns the result, see `measure` and `result_file`."""
    if args.output and not args.output.parent.is_dir():
        raise FileNotFoundError(f"the folder of {args.output} does not exist")
    if args.output:
        ensure_writable(args.output)
    pages, empty = read_pages(args.data, args.limit)
    counter = load_counter(args.count_with)
    model = load_model(args.model, args.device, args.dtype)
    window = model.processor.default_window if args.window is None else args.window
    pages = [count_page(page, model, counter, window) for page in pages]
    header = {
        "model": asdict(model.latent_provenance()),
        "counted_with": describe_counter(args.count_with, counter),
        "data": {
            "file": args.data.name,
            "sha256": hashlib.sha256(args.data.read_bytes()).hexdigest(),
            "limit": args.limit,
            "n_pages": len(pages),
            "empty_pages": empty,
        },
        "options": {"window": window, "batch_size": args.batch_size, "device": args.device, "dtype": args.dtype},
        "versions": {"c3": __version__, "torch": torch.__version__, "transformers": transformers.__version__},
    }
    finished, timing = read_finished(args.output, header)
    for ratio in sorted(set(args.ratios)):
        name = str(ratio).removesuffix(".0")
        if name not in finished:
            finished[name], timing[name] = measure(model, pages, ratio, window, args.batch_size)
            if args.leave_out_texts:
                for row in finished[name]["pages"]:
                    del row["output"]
            if args.output:
                write_result(args.output, header, finished, timing)
    return {**header, "ratios": dict(sorted(finished.items(), key=lambda item: float(item[0])))}


@cleaned_up_when_terminated()
def main(argv=None):
    parser = Parser(prog="python -m c3.eval.pages", description=__doc__.strip().splitlines()[0])
    parser.add_argument("--model", metavar="PATH_OR_ID", help=MODEL_HELP)
    parser.add_argument("--data", required=True, type=Path, help=".parquet or .jsonl file with a column `text`")
    parser.add_argument("--count-with", help="folder or Hub id of the tokenizer of the ratios; default the model's own")
    parser.add_argument("--ratios", nargs="+", type=ratio_of_one_or_more, default=[4.0, 8.0, 16.0, 20.0, 40.0])
    parser.add_argument("--output", type=Path, help="JSON file; ratios already in it are not measured again")
    parser.add_argument("--leave-out-texts", action="store_true", help="keep the pages' texts out of the JSON file")
    parser.add_argument("--window", type=positive, help="encoder tokens of a window; default the model's")
    parser.add_argument("--limit", type=positive, help="measure the first so many rows only")
    parser.add_argument("--batch-size", type=positive, default=64, help="windows at once (default 64)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", choices=["float32", "bfloat16", "float16"], help="default float32 on a CPU")
    args = parser.parse_args(argv)
    args.dtype = args.dtype or ("float32" if args.device == "cpu" else "bfloat16")
    try:
        print(printable_lines(table(run(args))))
    except (OSError, ValueError) as error:
        raise SystemExit(f"c3.eval.pages: error: {in_one_line(error)}") from error


if __name__ == "__main__":
    main()
