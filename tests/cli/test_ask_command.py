"""`c3 ask`: what the decoder is given, what is said of it, and what cannot be."""

import io
import re
from pathlib import Path

import pytest

from c3 import C3Latents, C3Model
from c3.cache_size_c3 import cache_bytes
from c3.chunked_rows_c3 import Chunking
from c3.position_limits_c3 import taken_positions
from command_line import TEXT

SHORT = "Short.\n"
# Whose answers tell contexts apart.
QUESTION = "When was it so? "
QUESTIONS = [QUESTION, "Où ?"]


@pytest.fixture
def ask(run, checkpoint):
    """`ask(a, "Où ?")`: exit code, standard output, standard error; five new tokens."""
    return lambda *argv: run("ask", *argv, "--model", checkpoint, "--max-new-tokens", "5")


@pytest.fixture
def answer(model):
    """`answer([a, b], "Où ?")`: what the library answers to contexts."""
    return lambda contexts, question: model.generate(contexts, question, max_new_tokens=5)


def test_several_files_are_one_context(ask, answer, model, texts):
    """In their order, whatever stands between them on the command line."""
    latents = model.compress([TEXT, SHORT], ratio=3)
    expected = answer([latents], QUESTION)
    code, out, err = ask(*texts, "--ratio", "3", QUESTION)
    assert (code, out) == (0, expected + "\n") and err.count("\n") == 1
    assert ask(texts[0], "--ratio", "3", texts[1], "--quiet", QUESTION) == (0, expected + "\n", "")
    assert answer([latents[1], latents[0]], QUESTION) + "\n" == ask(*texts[::-1], QUESTION, "--ratio", "3")[1] != out
    saved = [cache_bytes(model, count) / 2**20 for count in (latents.num_latents, latents.text_tokens)]
    said = f"c3: 2 files: {latents.text_tokens} tokens in {latents.num_latents} latents ({latents.ratio:.1f}x), "
    said += f"cache {saved[0]:.2f} MiB instead of {saved[1]:.2f} MiB, compressed in "
    assert re.fullmatch(re.escape(said) + r"[\d.]+ s\n", err) and latents.cache_bytes(model) / 2**20 == saved[0]


def test_latents_stand_for_their_texts(ask, run, texts, checkpoint, model, answer):
    """Also among texts; one file may hold several."""
    expected = ask(*texts, QUESTION)[1]
    assert run("compress", *texts, "--model", checkpoint)[0] == 0
    assert run("compress", *texts, "--model", checkpoint, "-o", "both.c3")[0] == 0
    for files in (["a.txt.c3", "b.txt"], ["a.txt", "b.txt.c3"], ["a.txt.c3", "b.txt.c3"], ["both.c3"]):
        code, out, err = ask(*files, QUESTION)
        assert (code, out) == (0, expected) and ("compressed in" in err) == any(each[-1] == "t" for each in files)
        assert err.startswith(f"c3: {'both.c3' if len(files) == 1 else '2 files'}: ") and err.count("\n") == 1


def test_each_text_and_several_questions(ask, answer, model, texts, latents_file):
    latents = C3Latents.load(latents_file)
    expected = [[answer(each, question) for question in QUESTIONS] for each in latents]
    code, out, err = ask(*texts, latents_file, "--each", QUESTIONS[0])
    names = [*map(str, texts), f"{latents_file}, text 0", f"{latents_file}, text 1"]
    firsts = [expected[0][0], expected[1][0]] * 2
    assert code == 0 and out == "".join(f"{name}: {each}\n" for name, each in zip(names, firsts, strict=True))
    assert [line.split(": ")[1] for line in err.splitlines()] == names
    asked = [part for question in QUESTIONS for part in ("-q", question)]
    code, out, err = ask("a.txt", *asked)
    both = "".join(f"{question} {each}\n" for question, each in zip(QUESTIONS, expected[0], strict=True))
    assert (code, out) == (0, both) and err.count("\n") == 1
    assert ask("--each", *asked, "b.txt")[1].startswith(f"b.txt: {QUESTIONS[0]} {expected[1][0]}\n")
    # One word is a question too, also one like the name of a file.
    assert ask("a.txt", "Who?")[0] == ask("a.txt", "-q", "notes.md")[0] == 0


def test_answers_in_chunks(ask, model, texts):
    """At the ratio of the texts."""
    latents = model.compress(TEXT, ratio=3)
    expected = model.generate(latents, QUESTION, max_new_tokens=5, compress_every=4, ratio=3)
    chunks = ("--ratio", "3", "--compress-every", "4", "--quiet", QUESTION)
    assert ask(texts[0], *chunks) == (0, expected + "\n", "")
    # Of latents, and of the text itself, the ratio is that of question and answer alone.
    latents.save("three.c3")
    assert ask("three.c3", *chunks) == (0, expected + "\n", "")
    raw = model.generate([TEXT], QUESTION, max_new_tokens=5, compress_every=4, ratio=3)
    assert ask(texts[0], "--raw", *chunks) == (0, raw + "\n", "")


def test_what_was_compressed_of_questions_and_answers(ask, model, texts):
    """Of all questions together, whose answers are the same in other batches."""
    asked = {"max_new_tokens": 5, "compress_every": 4, "ratio": 3}
    outputs = [
        model.generate(model.compress(TEXT, ratio=3), question, return_dict_in_generate=True, **asked)
        for question in QUESTIONS
    ]
    made = [output.latents[0] for output in outputs]
    tokens, latents = sum(each.text_tokens for each in made), sum(each.num_latents for each in made)
    options = ("-q", QUESTIONS[0], "-q", QUESTIONS[1], "--ratio", "3", "--compress-every", "4")
    code, out, err = ask(texts[0], *options)
    assert code == 0 and f"\nc3: {tokens} tokens of prompt and answer in {latents} latents, cache " in err
    assert ask(texts[0], *options, "--batch-size", "1")[1] == out
    assert [line.removeprefix(f"{question} ") for line, question in zip(out.splitlines(), QUESTIONS, strict=True)] == [
        model.processor.decode(output.sequences[0]) for output in outputs
    ]
    code, out, err = ask(texts[0], *options, "--compress-every", "10000000000")
    assert (code, out) == (2, "") and "compress_every must be" in err


def test_positions_of_answers_in_chunks(run, make_model, texts):
    """Compressed, they take those of their latents."""
    command = ["ask", texts[0], "-q", QUESTION, "--ratio", "3", "--compress-every", "6", "--quiet"]
    model = make_model()
    spans, chunking = model.compress(TEXT, ratio=3).spans[0], Chunking(model.processor, 6, 3)
    model.config.decoder_config.max_position_embeddings = taken_positions(
        model.config, [chunking.row(spans, QUESTION)]
    ) + (room := 13)
    model.save_pretrained("narrow")
    most = chunking.new_tokens(room)
    assert most > room
    assert run(*command, "--model", "narrow", "--max-new-tokens", f"{most}")[0] == 0
    code, out, err = run(*command, "--model", "narrow", "--max-new-tokens", f"{most + 1}")
    assert (code, out) == (2, "") and f"there is room for {most} new tokens, 6 of them in 2 latents" in err
    code, out, err = run(*command, "-q", "Who? " * 40, "--model", "narrow", "--compress-every", "100")
    assert (code, out) == (2, "") and "a chunk of the question is read at positions up to" in err


def test_the_texts_themselves(ask, answer, model, texts):
    code, out, err = ask(*texts, QUESTION, "--raw")
    assert (code, out) == (0, answer([TEXT, SHORT], QUESTION) + "\n")
    tokens = sum(len(model.processor.encode(each)) for each in (TEXT, SHORT))
    assert err == f"c3: 2 files: {tokens} tokens as they are, cache {cache_bytes(model, tokens) / 2**20:.2f} MiB\n"


def test_standard_input(ask, texts, latents_file, feed):
    """A text or latents, which are told apart by how they begin."""
    expected = ask("a.txt", "b.txt", QUESTION)[1]
    feed(TEXT.encode())
    code, out, err = ask("-", "b.txt", QUESTION)
    assert (code, out) == (0, expected)
    feed(TEXT.encode())
    assert ask("-", QUESTION, "--each")[1].startswith("standard input: ")
    held = latents_file.read_bytes()
    feed(held)
    code, out, err = ask("-", QUESTION)
    assert (code, out) == (0, expected) and err.startswith("c3: standard input: ") and "compressed in" not in err
    # Under any name, as that of a pipe: a shell's <(c3 compress …).
    latents_file.rename("piped")
    assert ask("piped", QUESTION)[1] == expected
    for data, options, message in (
        (held[:-9], [], "standard input is truncated or damaged: its "),
        (held, ["--raw"], "--raw: standard input holds latents and not the text itself"),
        (held, ["--ratio", "4"], "--ratio: standard input is compressed already"),
    ):
        feed(data)
        code, out, err = ask("-", QUESTION, *options)
        assert (code, out, err.count("\n")) == (2, "", 1) and message in err


def test_what_compress_writes_to_standard_output(run, ask, checkpoint, texts, latents_file, feed, monkeypatch):
    """It is asked about as it comes: `c3 compress a.txt b.txt -o - | c3 ask - "…"`."""
    pipe = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    with monkeypatch.context() as patch:
        patch.setattr("sys.stdout", pipe)
        assert run("compress", *texts, "-o", "-", "--model", checkpoint, "--no-exact") == (0, "", "")
        patch.setattr(pipe, "isatty", lambda: True)
        code, _, err = run("compress", *texts, "-o", "-", "--model", checkpoint)
        assert code == 2 and "not for a terminal: name a file with -o, or send them on with | or >" in err
    sent = pipe.buffer.getvalue()
    assert sent == latents_file.read_bytes()
    feed(sent)
    assert ask("-", QUESTION)[:2] == ask(*texts, QUESTION)[:2]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "the following arguments are required: FILE"),
        (["a.txt"], 'the question is missing, as a.txt is a file: put one behind it, as in c3 ask FILE "Who'),
        (["a.txt", "b.txt", "--ratio", "4"], "the question is missing, as b.txt is a file"),
        (["a.txt", "-"], "the question is missing, as - is a file"),
        (["a.txt", "notes.md"], "there is no file notes.md, or the question is missing: put one last, as in"),
        (["Who?"], "there is no file Who?, or no file before the question: give both"),
        (["a.txt", "Who?", "-q", "When?"], "there is no file Who?: where -q gives a question, all others need it too"),
        (["a.txt", "  "], "a question is empty: say what to ask"),
        (["a.txt", "", "Who?"], "a file or question must be a name, not ''"),
        (["a.txt", "Who?", "--tokens", "5"], "unrecognized arguments: --tokens (see c3 --help)"),
        (["missing.txt", "Who?"], "there is no file missing.txt"),
        (["missing.c3", "Who?"], "no latents file at missing.c3"),
        (["empty.txt", "Who?"], "empty.txt is empty"),
        (["none.c3", "Who?"], "none.c3 holds no texts: there is nothing to ask about"),
        ([".", "Who?"], ". is a folder"),
        (["-", "-", "Who?"], "standard input (-) can be read only once"),
        (["a.txt", "Who?", "--raw", "--ratio", "4"], "--raw compresses nothing: leave --ratio out"),
        (["two.c3", "Who?", "--raw"], "--raw: two.c3 holds latents and not the text itself"),
        (["two.c3", "Who?", "--num-latents", "4"], "--num-latents: two.c3 is compressed already"),
        (["a.txt", "repeat the text: "], "'repeat the text: ' asks for the text itself: c3 expand gives that"),
        (["a.txt", "Who? " * 300], "than the 512 that the decoder was made for: try a shorter question\n"),
        (["a.txt", "Who?", "--window", "64"], "a.txt: window=64 is above this model's window of 32 tokens"),
        (["a.txt", "other.c3", "Who?"], "other.c3: these latents were made by"),
    ],
)
def test_what_cannot_be_is_said_before_any_work(
    run, checkpoint, make_model, texts, latents_file, argv, message, monkeypatch
):
    Path("empty.txt").touch()
    C3Latents.load(latents_file)[:0].save("none.c3")
    if "other.c3" in argv:
        make_model(seed=1).compress("Other.").save("other.c3")
    monkeypatch.setattr(C3Model, "compress", None)
    monkeypatch.setattr(C3Model, "generate", None)
    code, out, err = run("ask", *argv, "--model", checkpoint)
    assert (code, out) == (2, "") and err.startswith("c3: error: ") and message in err and err.count("\n") == 1


def test_a_model_that_only_gives_texts_back(run, make_model, texts, monkeypatch, capsys):
    make_model(reconstruction_only=True).save_pretrained("repeats")
    capsys.readouterr()
    monkeypatch.setattr(C3Model, "compress", None)
    for more in ([], ["--raw"]):
        code, out, err = run("ask", "a.txt", "Who?", "--model", "repeats", *more)
        assert (code, out) == (2, "") and err.count("\n") == 1
        assert "this model only gives texts back (reconstruction_only)" in err and "with --model" in err


@pytest.mark.parametrize("prompt_positions", ["consecutive", "among_text"])
def test_positions_that_do_not_suffice(run, make_model, texts, monkeypatch, capsys, prompt_positions):
    """By how many, and at which ratio they would."""
    model = make_model(prompt_positions=prompt_positions)
    latents, asked = model.compress([TEXT, SHORT], ratio=2), len(model.processor.encode("Who?"))
    model.config.decoder_config.max_position_embeddings = most = latents.num_latents + asked - 1
    model.save_pretrained("narrow")
    capsys.readouterr()
    command = ["ask", *texts, "Who?", "--model", "narrow"]
    with monkeypatch.context() as patch:
        patch.setattr(C3Model, "compress", None)
        code, out, err = run(*command, "--ratio", "2", "--max-new-tokens", "2")
        assert (code, out) == (2, "") and err.count("\n") == 1
        read = latents.num_latents if prompt_positions == "consecutive" else latents.text_tokens
        taken = read + asked + 2
        said = f"2 files: latents, question and answer take {taken} positions, {taken - most} more than the {most} that"
        assert said in err and "fewer files, --each or a smaller" in err
        raw = run(*command, "--raw")[2]
        said = f"2 files: text, question and answer take {latents.text_tokens + asked + 1} positions"
        assert said in raw and "try leaving out --raw, fewer files or --each\n" in raw
    ratio = re.search(r"a --ratio of at least (\d+)", err)
    assert (ratio is None) == (prompt_positions == "among_text")
    if ratio:
        assert run(*command, "--ratio", ratio[1], "--max-new-tokens", "2")[0] == 0
        assert run(*command, "--ratio", "2", "--each")[0] == 0
        latents.save("two.c3")
        assert (
            "try latents of a higher ratio or less text"
            in run("ask", "two.c3", "Who?", "--model", "narrow", "--allow-mismatch")[2]
        )
