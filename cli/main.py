"""The command line: `c3 demo`, `compress`, `expand`, `info`, `generate`, `convert`, `eval` and `bench`.

Results go to standard output, progress to standard error. Exit codes: 0; 2 with one line on standard error for what the
caller can put right; 1 for anything unforeseen; 130 when interrupted, 143 when terminated, both without half-written
files; 141 when standard output was closed.
torch and transformers are imported inside the commands, so that `c3 --help` answers at once.
"""

import argparse
import contextlib
import json
import math
import os
import re
import sys
import traceback
import warnings
from dataclasses import asdict
from pathlib import Path

from c3.quoting_c3 import in_one_line, printable, printable_lines, quoted
from c3.support.allocator import keep_freed_memory
from c3.support.arguments import MODEL_HELP, Parser
from c3.support.errors import USER_ERROR, UserError, is_out_of_memory, naming, one_line
from c3.support.loading import PACKAGE, loaded_model
from c3.support.termination import cleaned_up_when_terminated
from c3.version_c3 import VERSION
from c3.whole_files_c3 import ensure_writable, write_whole

from .demo import run_demo
from .inputs import load_latents, read_text, source_name

UNFORESEEN, INTERRUPTED, BROKEN_PIPE = 1, 130, 141
INDEX = "{index}"
OUTPUT_NAME = "standard output"
LATENTS_HELP = "what c3 compress wrote; - for standard input"
NOTHING_LEFT = "none of the texts can be compressed"


@cleaned_up_when_terminated()
def main(argv=None):
    """Runs one command, `argv` or the process's arguments; returns its exit code."""
    _use_utf8()
    debug, batched = False, True
    try:
        _check_streams()
        try:
            argv = sys.argv[1:] if argv is None else list(argv)
            if argv[:1] and argv[0] in OWN_PARSERS:
                code = OWN_PARSERS[argv[0]](argv[1:])
            else:
                args = _parser().parse_args(argv)
                debug, batched = args.debug, hasattr(args, "batch_size")
                # The process is ours: on a CPU, encoding is a quarter faster (docs/performance.md).
                keep_freed_memory()
                code = args.run(args) or 0
        except SystemExit as end:  # argparse: --help, --version, a command line it cannot read; SIGTERM
            code = end.code
        with naming(OUTPUT_NAME):
            sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read standard output is gone; without this Python complains once more when it closes it.
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except Exception as error:
        if debug:
            print(printable_lines(traceback.format_exc()), file=sys.stderr)
        return _report(error, batched)


def _report(error, batched):
    """One line on standard error; returns the exit code."""
    line, code = _described(error), USER_ERROR
    if is_out_of_memory(error):
        line = f"out of memory{': try a smaller --batch-size' if batched else ''}"
    elif not isinstance(error, (ValueError, OSError)):
        line, code = f"{type(error).__name__}: {one_line(error)} (--debug shows where)", UNFORESEEN
    # The library's messages name its Python arguments.
    print(f"c3: error: {in_one_line(line).replace('allow_mismatch=True', '--allow-mismatch')}", file=sys.stderr)
    return code


def _described(error):
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return " ".join(str(error).split())


def _use_utf8():
    """Text goes in and out as UTF-8 with its own line ends, whatever the locale and the platform."""
    for stream, errors in ((sys.stdout, "surrogateescape"), (sys.stderr, "backslashreplace")):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding="utf-8", errors=errors, newline="")


def _check_streams():
    """Before files are opened, which would take their places."""
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115  `print` would take None for standard output
    if sys.stdout is None:
        raise UserError(f"{OUTPUT_NAME} is closed: send to /dev/null what is not wanted")


# ------------------------------------------------------------------------------------------------------- commands


def run_compress(args):
    if args.files.count("-") > 1:
        raise UserError("standard input (-) can be read only once")
    if "-" in args.files and args.output is None:
        raise UserError("text from standard input has no file name: say with -o where the latents go")
    if args.output == "-":
        raise UserError("latents go to a file, not to standard output: name one with -o")
    if args.output:
        _check_output(args.output, args.files)
    files, texts = _read_texts(args)
    outputs = [args.output] if args.output else [f"{file}.c3" for file in files]
    skipped = {}
    with _model(args) as model, _named(files):
        latents = model.compress(
            texts[0] if len(texts) == 1 else texts,
            num_latents=args.num_latents,
            ratio=args.ratio,
            window=args.window,
            batch_size=args.batch_size,
            show_progress=_progress(args),
            output=outputs[0] if len(outputs) == 1 else None,
            on_error=args.on_error,
            dtype=args.latents_dtype,
        )
    if args.on_error == "skip":
        latents, skipped = latents
    for reason in skipped.values():
        _say_skipped(_of_file(reason, files))
    if latents is None:
        raise UserError(NOTHING_LEFT)
    parts = [latents.to("cpu")]
    if len(outputs) > 1:
        outputs = [output for index, output in enumerate(outputs) if index not in skipped]
        parts = list(parts[0])
        for output, part in zip(outputs, parts, strict=True):
            part.save(output)
    for output, part in zip(outputs, parts, strict=True):
        print(printable(f"{output}: {part!r}"))


def _read_texts(args):
    """The files to compress and their texts; with `--on-error skip` less those that cannot be read."""
    files, texts, outputs = [], [], set()
    for file in args.files:
        try:
            text = read_text(file)
            if args.output is None:
                output = os.path.realpath(f"{file}.c3")
                if output in outputs:
                    raise UserError(
                        f"{file} is given twice, for one file of latents: give it once, or name one with -o"
                    )
                _check_output(f"{file}.c3", args.files)
                outputs.add(output)
            files.append(file)
            texts.append(text)
        except (UserError, OSError) as error:
            if args.on_error == "raise":
                raise
            _say_skipped(_described(error))
    if not files:
        raise UserError(NOTHING_LEFT)
    return files, texts


def _of_file(said, files):
    """What the library says of "text", or of "text I" where there are several, said of the file."""
    text = re.match(r"text\b" if len(files) == 1 else r"text ([0-9]+)\b", said)
    return said if text is None else source_name(files[int(text[1]) if text.groups() else 0]) + said[text.end() :]


@contextlib.contextmanager
def _named(files):
    """Meanwhile warnings and errors of texts name their files."""
    show = warnings.showwarning
    warnings.showwarning = lambda message, *rest, **more: show(_of_file(str(message), files), *rest, **more)
    try:
        yield
    except ValueError as error:
        raise UserError(_of_file(str(error), files)) from error
    finally:
        warnings.showwarning = show


def _say_skipped(reason):
    print(f"c3: skipped: {in_one_line(reason)}", file=sys.stderr)


def run_expand(args):
    latents, indices = _load_texts(args)
    if not indices:
        raise UserError(f"{source_name(args.file)} holds no texts: there is nothing to expand")
    if len(indices) > 1 and INDEX not in args.output:
        raise UserError(
            f"{source_name(args.file)} holds {len(indices)} texts: pick one with --text-index (0 to "
            f"{len(indices) - 1}), or write each to a file of its own with -o 'NAME-{INDEX}.txt'"
        )
    outputs = [] if args.output == "-" else [args.output.replace(INDEX, str(index)) for index in indices]
    for output in outputs:
        _check_output(output, [args.file])
    with _model(args) as model:
        texts = model.expand(
            latents,
            method=args.method,
            batch_size=args.batch_size,
            show_progress=_progress(args),
            allow_mismatch=args.allow_mismatch,
        )
    texts = [texts] if len(indices) == 1 else texts
    if not outputs:
        with naming(OUTPUT_NAME):
            sys.stdout.write(texts[0])
    for output, text in zip(outputs, texts if outputs else [], strict=True):
        write_whole(output, text)


def run_info(args):
    latents = load_latents(args.file)
    facts = {"file": args.file}
    if Path(args.file).is_file():
        facts["file_bytes"] = Path(args.file).stat().st_size
    facts |= {"texts": len(latents), **_facts(latents)}
    facts |= {
        "width": latents.hidden_size,
        "dtype": str(latents.dtype).removeprefix("torch."),
        "latent_bytes": latents.nbytes,
        "provenance": asdict(latents.provenance),
        "each": [_facts(text) for text in latents],
    }
    if args.json:
        # In ASCII: JSON itself leaves some of the characters that a terminal obeys as they are.
        print(json.dumps(facts, indent=2))
        return
    provenance, each = facts.pop("provenance"), facts.pop("each")
    provenance = {name: quoted(value) if value else "unknown" for name, value in provenance.items()}
    facts["file"] = printable(facts["file"])
    provenance["model_dtype"] = provenance.pop("dtype")
    for name, value in (facts | provenance).items():
        print(f"{name.replace('_', ' ') + ':':<24}{_rounded(value)}")
    for index, text in enumerate(each if len(each) > 1 else []):
        described = ", ".join(f"{name.replace('_', ' ')} {_rounded(value)}" for name, value in text.items())
        print(f"{f'text {index}:':<24}{described}")


def run_generate(args):
    latents, indices = _load_texts(args)
    if not indices:
        raise UserError(f"{source_name(args.file)} holds no texts: there is nothing to ask about")
    if len(indices) > 1:
        last = len(indices) - 1
        held = f"{source_name(args.file)} holds {len(indices)} texts"
        raise UserError(f"{held}: pick one with --text-index (0 to {last})")
    options = {"max_new_tokens": args.max_new_tokens, "allow_mismatch": args.allow_mismatch}
    with _model(args) as model:
        print(model.generate(latents, args.prompt, **options))


def run_convert(args):
    from c3.convert.authors_checkpoint import run_convert

    run_convert(args)


def run_eval(argv):
    from c3.eval.command import evaluate

    keep_freed_memory()
    evaluate(argv, "c3 eval")
    return 0


def run_bench(argv):
    from c3.benchmarks.command import bench

    return bench(argv, "c3 bench")


# Commands whose options are known only once torch is imported.
OWN_PARSERS = {"eval": run_eval, "bench": run_bench}


def _facts(latents):
    return {
        "windows": latents.num_windows,
        "latents": latents.num_latents,
        "text_tokens": latents.text_tokens,
        "ratio": latents.ratio if len(latents) else None,  # JSON has no NaN
    }


def _rounded(value):
    return f"{value:.2f}" if isinstance(value, float) else "none" if value is None else value


def _load_texts(args):
    """`C3Latents` of the texts asked for, and their indices in the file."""
    latents = load_latents(args.file)
    if args.text_index is None:
        return latents, range(len(latents))
    if args.text_index >= len(latents):
        held = f"{len(latents)} texts, 0 to {len(latents) - 1}" if len(latents) > 1 else "one text, 0"
        raise UserError(f"--text-index {args.text_index}: {source_name(args.file)} holds {held}")
    return latents[args.text_index], [args.text_index]


def _check_output(output, inputs):
    """Before the work, not after it."""
    path = Path(output)
    if path.is_dir():
        raise UserError(f"cannot write {output}: it is a folder; name a file with -o")
    if not path.parent.is_dir():
        raise UserError(f"cannot write {output}: there is no folder {path.parent}")
    for each in inputs:
        if each != "-" and path.exists() and Path(each).exists() and path.samefile(each):
            raise UserError(f"{output} would overwrite the input: name another file with -o")
    try:
        ensure_writable(path)
    except OSError as error:
        raise UserError(f"cannot write {output}: {error.strerror}") from error


def _model(args):
    return loaded_model(args.model, args.device, args.dtype, args.debug)


def _progress(args):
    return False if args.quiet else None


# --------------------------------------------------------------------------------------------------------- parser


def _parser():
    parser = Parser(prog="c3", description="Context Cascade Compression: texts to a few latent vectors, and back.")
    parser.add_argument("--version", action="version", version=f"c3 {VERSION}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    debug = argparse.ArgumentParser(add_help=False)
    debug.add_argument("--debug", action="store_true", help="show tracebacks and the libraries' own messages")
    loading = argparse.ArgumentParser(add_help=False, parents=[debug])
    loading.add_argument("--model", type=_name, metavar="PATH_OR_ID", help=MODEL_HELP)
    loading.add_argument("--device", help="cpu, cuda, cuda:1, … (default: cuda where there is one, else cpu)")
    loading.add_argument(
        "--dtype",
        choices=("auto", "float32", "bfloat16", "float16"),
        default="auto",
        help="what the model computes in; auto is float32 on the CPU, elsewhere as stored",
    )
    loading.add_argument("--batch-size", type=_whole(1), default=8, metavar="N", help="windows at once (default: 8)")
    loading.add_argument("--quiet", action="store_true", help="no progress bars")
    reading = argparse.ArgumentParser(add_help=False, parents=[loading])
    reading.add_argument("file", type=_name, metavar="FILE.c3", help=LATENTS_HELP)
    reading.add_argument("--text-index", type=_whole(0), metavar="I", help="the I-th text of the file, from 0")
    reading.add_argument("--allow-mismatch", action="store_true", help="read latents that another model made")

    def add(name, run, help, parent, description=None):
        command = commands.add_parser(name, help=help, description=description or help, parents=[parent])
        command.set_defaults(run=run)
        return command

    demo = add("demo", run_demo, "compress a text at several ratios, read it back and show what was lost", loading)
    about = "a UTF-8 text, - for standard input (default: an example)"
    demo.add_argument("file", type=_name, nargs="?", metavar="FILE", help=about)
    demo.add_argument("--ratio", type=_ratio, default=8.0, metavar="R", help="the ratio shown as text (default: 8)")
    about = "count tokens with this tokenizer too"
    demo.add_argument("--count-with", type=_name, metavar="PATH_OR_ID", help=about)

    compress = add("compress", run_compress, "texts to latents", loading)
    about = "UTF-8 texts, one per file, of any length; - for standard input"
    compress.add_argument("files", type=_name, nargs="+", metavar="FILE", help=about)
    compress.add_argument(
        "-o",
        "--output",
        type=_name,
        metavar="OUT",
        help="one file for the latents of all texts (default: FILE.c3 beside each FILE)",
    )
    amount = compress.add_mutually_exclusive_group()
    amount.add_argument("--num-latents", type=_whole(1), metavar="N", help="latents of a full window")
    amount.add_argument(
        "--ratio",
        type=_ratio,
        metavar="R",
        help=f"text tokens per latent, over each text as a whole (default: the model's own{_default_ratio()})",
    )
    compress.add_argument(
        "--window",
        type=_whole(1),
        metavar="TOKENS",
        help="text tokens of a window (default: the model's own)",
    )
    compress.add_argument(
        "--latents-dtype",
        choices=("bfloat16", "float16", "float32"),
        help="precision of the latents (default: bfloat16, or float16 where the model computes in that)",
    )
    compress.add_argument(
        "--on-error",
        choices=["raise", "skip"],
        default="raise",
        help="stop before any work at a text that cannot be compressed, or leave it out and say so (default: raise)",
    )

    expand = add(
        "expand",
        run_expand,
        "latents to texts",
        reading,
        "Writes the text exactly as it was read, without a line end of its own. A file of several texts needs "
        f"--text-index, or -o with {INDEX} for a file of each.",
    )
    expand.add_argument(
        "-o",
        "--output",
        type=_name,
        default="-",
        metavar="OUT",
        help=f"file to write; {INDEX} becomes 0, 1, … (default: - for standard output)",
    )
    expand.add_argument(
        "--method",
        choices=["greedy", "parallel"],
        help="one token a pass, or windows drafted in one and corrected: the same text (default: what the model can)",
    )

    info = add("info", run_info, "what is in a file of latents; no model is loaded", debug)
    info.add_argument("file", type=_name, metavar="FILE.c3", help=LATENTS_HELP)
    info.add_argument("--json", action="store_true", help="one JSON object")

    generate = add("generate", run_generate, "answer a prompt about a compressed text", reading)
    generate.add_argument("--prompt", type=_utf8, required=True, help="what to ask, after the latents")
    generate.add_argument("--max-new-tokens", type=_whole(1), default=256, metavar="N", help="(default: 256)")

    convert = add("convert", run_convert, "the authors' released checkpoint to this package's layout, or back", debug)
    convert.add_argument("source", type=_name, metavar="SOURCE", help="folder or Hub id of the checkpoint")
    about = "folder to make; only an empty one may be there"
    convert.add_argument("output", type=_name, metavar="OUTPUT", help=about)
    convert.add_argument("--to-authors", action="store_true", help="from this package's layout to the authors'")

    # For the list of commands; see `OWN_PARSERS`.
    commands.add_parser("eval", help="measure a checkpoint by a suite or by all, or write its card", add_help=False)
    commands.add_parser("bench", help="measure speed and memory against stated baselines", add_help=False)
    return parser


def _default_ratio():
    """What the help says of the ratio of the checkpoint that comes with the package; nothing where there is none."""
    try:
        config = json.loads((PACKAGE / "config.json").read_text(encoding="utf-8"))
        ratio = (config.get("default_window") or config["window"]) / config["num_latents"]
    except (OSError, ValueError, KeyError):
        return ""
    return f", {ratio:g} for the one that comes with c3"


def _name(text):
    """Of a file or folder. Shells leave `~` as it is in `--output=~/x`, and make nothing of a variable not set."""
    if not text:
        raise argparse.ArgumentTypeError("must be a name, not ''")
    return os.path.expanduser(text)


def _whole(least):
    def parse(text):
        # int() would also take 1_000 and surrounding blanks.
        if not text.isascii() or not text.isdigit() or int(text) < least:
            raise argparse.ArgumentTypeError(f"must be a whole number of {least} or more, not {text!r}")
        return int(text)

    return parse


def _ratio(text):
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 1 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number of 1 or more (text tokens per latent), not {text!r}")
    return value


def _utf8(text):
    """An argument as UTF-8, also where the locale made something else of its bytes."""
    try:
        return os.fsencode(text).decode("utf-8")
    except UnicodeError:
        raise argparse.ArgumentTypeError("must be UTF-8") from None


if __name__ == "__main__":
    sys.exit(main())
