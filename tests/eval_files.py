"""Pages, Fox archives and result files for the tests of evaluation."""

import json
import zipfile

from c3.eval.command import evaluate

PAGES = [
    "It was the best of times, it was the worst of times, it was the age of wisdom, it was the age of foolishness. ",
    "We, the undersigned, have found no evidence of this; a second look, at 5 pm on 3 May 1912, found the same. ",
    "Of man's first disobedience, and the fruit of that forbidden tree, whose mortal taste brought death. ",
]


def main(argv):
    """`c3 eval …`, whose errors are raised."""
    evaluate(argv, "c3 eval")


def write_lines(path, rows):
    """A .jsonl file, its path."""
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n", encoding="utf-8")
    return path


def load(path):
    """What a JSON file holds."""
    return json.loads(path.read_text(encoding="utf-8"))


def write_fox(path, english, chinese=()):
    """An archive that is laid out as the Fox benchmark's; its path, `str`."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, texts in (("en_page_ocr.json", english), ("cn_page_ocr.json", chinese)):
            if texts:
                entries = json.dumps(list(map(_fox_entry, texts)))
                archive.writestr(f"focus_benchmark_test/{name}", entries)
                archive.writestr(f"__MACOSX/focus_benchmark_test/{name}", "nothing")
    return str(path)


def _fox_entry(text):
    return {
        "image": "en_1.png",
        "len": 5,
        "conversations": [{"from": "human", "value": "OCR"}, {"from": "gpt", "value": text}],
    }
