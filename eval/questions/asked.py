"""Questions to measure with, wherever they are from: made of a corpus, or rows of a file of questions."""

import json
from pathlib import Path
from typing import NamedTuple

from c3.quoting_c3 import listed
from c3.support.errors import pip_install


class AskedQuestion(NamedTuple):
    """
    Args:
        context (`str`): the text.
        prompt (`str`): what is asked about it.
        answers (`tuple[str, ...]`): all that is to be named; with `any_of` the right answers, of which one will do.
        task (`str`): what kind of question it is.
        length (`int`, *optional*): tokens that the text was to have, at most.
        depth (`float`, *optional*): where that stands on which the answer depends, see [`Question`].
        any_of (`bool`): see `answers`.
    """

    context: str
    prompt: str
    answers: tuple
    task: str
    length: int | None = None
    depth: float | None = None
    any_of: bool = False


def question_of_row(row):
    """
    The [`AskedQuestion`] of a row of `make_rows`, or of any `context` and `messages`, `dict`: the first user's message
    and the assistant's after it.

        question_of_row({"context": "A text.", "messages": [{"role": "user", "content": "Is it one?"}, …]})

    Raises: `ValueError` for a row without a text, a question or an answer.
    """
    said = [(each.get("role"), (each.get("content") or "").strip()) for each in row.get("messages") or []]
    system = [content for role, content in said if role == "system"][:1]
    said = [(role, content) for role, content in said if role != "system"]
    context, (asked, answered) = row.get("context") or "", [*said[:2], (None, ""), (None, "")][:2]
    if not context.strip() or asked[0] != "user" or answered[0] != "assistant" or not (asked[1] and answered[1]):
        raise ValueError("it has no context, or no messages that begin with a user's and an assistant's")
    return AskedQuestion(
        context,
        "\n\n".join([*system, asked[1]]),
        tuple(row.get("answers") or [answered[1]]),
        row.get("task") or "questions",
        row.get("length"),
        row.get("depth"),
    )


def read_questions(path, limit=None):
    """
    The questions of a .jsonl or .parquet file as `c3 data questions` writes it, of its first `limit` rows.

    Returns: `list[AskedQuestion]`.

    Raises: `OSError`, `ValueError` saying in one line what is wrong with the file.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no such file of questions: {path}")
    rows = _read_parquet(path, limit) if path.suffix == ".parquet" else _read_lines(path, limit)
    found = []
    for number, row in enumerate(rows, 1):
        try:
            found.append(question_of_row(row))
        except (AttributeError, ValueError) as error:
            reason = error if isinstance(error, ValueError) else f"it has {listed(row) if row else 'nothing'}"
            raise ValueError(f"{path}, row {number} is no question: {reason}") from None
    if not found:
        raise ValueError(f"{path} holds no questions")
    return found


def _read_parquet(path, limit):
    try:
        import pyarrow.parquet as parquet
    except ImportError:
        raise ValueError(f"reading .parquet files needs pyarrow: {pip_install('eval')}") from None
    try:
        return parquet.read_table(path).slice(0, limit).to_pylist()
    except ValueError as error:
        raise ValueError(f"{path} cannot be read as parquet: {error}") from None


def _read_lines(path, limit):
    try:
        lines = [line for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]
        return [json.loads(line) for line in lines[:limit]]
    except ValueError:
        raise ValueError(f"{path} is not a .jsonl file of questions, nor a .parquet file by its name") from None
