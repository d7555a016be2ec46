"""Writes rows of questions to .jsonl and .parquet files."""

import json
from contextlib import contextmanager
from pathlib import Path

from c3.support.errors import pip_install

ENDINGS = ".jsonl", ".parquet"
# Rows that are written to a .parquet file together, as it compresses them.
ROWS_TOGETHER = 1000


def check_ending(path):
    """Raises `ValueError` unless rows can be written to a file of this name."""
    if Path(path).suffix not in ENDINGS:
        raise ValueError(f"{path} must end in {' or '.join(ENDINGS)}")
    if Path(path).suffix == ".parquet":
        _pyarrow()


@contextmanager
def row_writer(path, ending):
    """
    Gives a function that writes a row, `dict` as of `make_rows`.

    Args:
        path (`Path`): the file; it is made.
        ending (`str`): one of `ENDINGS`, which says how.
    """
    if ending == ".jsonl":
        with open(path, "w", encoding="utf-8", newline="\n") as file:
            yield lambda row: file.write(json.dumps(row, ensure_ascii=False) + "\n")
        return
    pyarrow = _pyarrow()
    rows, schema = [], _schema(pyarrow)
    with pyarrow.parquet.ParquetWriter(path, schema) as file:

        def write(row):
            rows.append(row)
            if len(rows) == ROWS_TOGETHER:
                flush()

        def flush():
            file.write_table(pyarrow.Table.from_pylist(rows, schema))
            rows.clear()

        yield write
        if rows:
            flush()


def _pyarrow():
    try:
        import pyarrow.parquet
    except ImportError:
        raise ValueError(f"writing .parquet files needs pyarrow: {pip_install('eval')}") from None
    return pyarrow


def _schema(pyarrow):
    text, number = pyarrow.string(), pyarrow.int64()
    columns = {
        "context": text,
        "messages": pyarrow.list_(pyarrow.struct({"role": text, "content": text})),
        "task": text,
        "answers": pyarrow.list_(text),
        "length": number,
        "tokens": number,
        "depth": pyarrow.float64(),
        "language": text,
        "split": text,
        "seed": number,
        "index": number,
    }
    return pyarrow.schema(list(columns.items()))
