"""The scripts among the examples. Run: pytest tests/test_examples.py"""

import importlib.util
import re
from pathlib import Path

import pytest

from c3 import C3Model
from c3.eval.questions.sentences import split_sentences

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture
def ask_a_book(capsys):
    """`ask_a_book("--model", folder)`: exit code, standard output, standard error."""
    spec = importlib.util.spec_from_file_location("ask_a_book", EXAMPLES / "ask_a_book.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def call(*argv):
        capsys.readouterr()
        try:
            code = module.main([*map(str, argv), "--quiet"])
        except SystemExit as end:
            code = end.code
        return code, *capsys.readouterr()

    return call


@pytest.fixture
def folder(make_model, tmp_path):
    model = make_model()
    # So that the decoder could read the speech itself.
    model.config.decoder_config.max_position_embeddings = 8192
    model.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def read_answers(self, contexts, questions, **_):
    """Answers as a model would that finds everything in a text and nothing in latents."""
    if not isinstance(contexts, list):
        return ["nothing"] * len(questions)
    answers = []
    for question in questions:
        if asked := re.match(r"What is the special magic \w+ for (\S+) in the text\?$", question):
            answers.append(re.search(rf"for {asked[1]} is: (\S+)\.", contexts[0])[1])
        else:
            sentences = [sentence for sentence, _ in split_sentences(contexts[0], "en")]
            answers.append(f" {sentences[sentences.index(question.splitlines()[1]) + 1]}\n")
    return answers


def test_ask_a_book(ask_a_book, folder, checkpoint, tmp_path, monkeypatch):
    """What a model says, also of a text that does not fit; and what is right and what is not."""
    code, out, err = ask_a_book("--model", checkpoint, "--parts", 1, "--tokens", 700, "--question", "Who?")
    assert (code, err) == (None, "") and len(re.findall(r"^    latents: wrong: ", out, re.M)) == out.count("expected: ")
    assert re.search(
        r"^part 1 of \d: \d+ tokens in \d+ latents \(8\.\dx\), cache .* compressed in [\d.]+ s$", out, re.M
    )
    assert "\n  Who?\n    latents: " in out and out.count("raw text: (the part is longer than the decoder") == 3
    assert re.search(r"^from latents: 0 of 2 answers right\nfrom raw text: no part fits$", out, re.M)
    monkeypatch.setattr(C3Model, "generate", read_answers)
    book = tmp_path / "book.txt"
    book.write_text("# A book\n\n" + " ".join(f"Number {number} was {number * number} then." for number in range(99)))
    code, out, err = ask_a_book(book, "--model", folder, "--tokens", 300, "--parts", 4)
    right = re.findall(r"    expected: (.*)\n    latents: wrong: nothing\n    raw text: right: \1\n", out)
    assert (code, err) == (None, "") and len(right) == len(set(right)) == out.count("expected: ") == 12
    assert "Which sentence comes right after this one?\n      Number " in out and "A book" not in out
    assert out.endswith("from latents: 0 of 12 answers right\nfrom raw text: 12 of 12 answers right\n")


def test_what_cannot_be_asked(ask_a_book, make_model, folder, tmp_path):
    make_model(reconstruction_only=True).save_pretrained(tmp_path / "repeats")
    (tmp_path / "short.txt").write_text("A line.")
    for argv, said in (
        (["--model", tmp_path / "repeats"], "this model only gives texts back (reconstruction_only)"),
        (["missing.txt", "--model", folder], "there is no file missing.txt"),
        ([tmp_path / "short.txt", "--model", folder], "the text has too few whole sentences to ask about"),
    ):
        code, out, err = ask_a_book(*argv)
        assert (code, out, err.count("\n")) == (2, "", 1) and said in err
