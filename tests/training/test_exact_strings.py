"""Synthetic exact strings: what is in them. Run: pytest tests/training/test_exact_strings.py"""

import base64
import csv
import ipaddress
import json
import random
import re
import subprocess
import sys
import unicodedata
import uuid
from datetime import datetime
from email.utils import parseaddr
from itertools import islice
from urllib.parse import urlparse

import pytest

from c3.training.data import exact_strings as kinds
from c3.training.data.exact_strings import KINDS, SCRIPTS, SYMBOLS, exact_strings
from c3.training.data.exact_values import VALUES, WORDS


def drawn(make, count=300):
    return [make(random.Random(seed)) for seed in range(count)]


def test_a_seed_gives_the_same_documents():
    """Whatever the hash seed of the process; each document depends on its place alone, and the sum is exact."""
    documents = list(exact_strings(100_000, seed=3))
    assert sum(map(len, documents)) == 100_000 and len(documents) > 15
    assert documents == list(exact_strings(100_000, seed=3))
    assert list(islice(exact_strings(10**12, seed=3), len(documents) - 1)) == documents[:-1]
    assert not set(documents) & set(exact_strings(100_000, seed=4))
    program = "from c3.training.data.exact_strings import exact_strings as e; print(ascii(list(e(9000, seed=3))))"
    other = subprocess.run([sys.executable, "-c", program], capture_output=True, encoding="utf-8", check=True)
    assert other.stdout.strip() == ascii(list(exact_strings(9000, seed=3)))


def test_no_kind_has_most_of_the_characters():
    share = {make: KINDS[make] * sum(map(len, drawn(make))) for make in KINDS}
    assert len(KINDS) == 14
    assert max(share.values()) < sum(share.values()) / 8 and min(share.values()) > sum(share.values()) / 50


def test_documents_are_text():
    """Nothing that UTF-8 or a later Unicode would have otherwise, no control characters but white space."""
    text = "".join(exact_strings(300_000, seed=0))
    assert text.encode("utf-8").decode("utf-8") == text
    odd = {each for each in set(text) if unicodedata.category(each) in ("Cc", "Cf", "Cn", "Co", "Cs")}
    assert odd == {"\n", "\t"}


@pytest.mark.parametrize("alphabets", [SCRIPTS, SYMBOLS], ids=["scripts", "symbols"])
def test_stretches_have_no_gaps(alphabets):
    for name, stretches in alphabets.items():
        for stretch in stretches:
            held = [chr(each) for each in range(ord(stretch[0]), ord(stretch[-1]) + 1)]
            assert set(stretch) <= set(held), name
            categories = {unicodedata.category(each)[0] for each in held}
            assert categories <= ({"L", "S"} if alphabets is SCRIPTS else {"L", "N", "P", "S"}), (name, stretch)


def test_values_are_what_they_are_called():
    found = {name: drawn(make) for name, make in VALUES.items()}
    assert len({each for values in found.values() for each in values}) > 0.8 * sum(map(len, found.values()))
    assert all(uuid.UUID(each).version == 4 for each in found["uuid"])
    for each in found["hash"]:
        assert re.fullmatch(r"(0x|#)?[0-9a-f]+|[0-9A-F]+|[0-9a-f]{2}(:[0-9a-f]{2})+", each), each
    assert all(len(base64.urlsafe_b64decode(each.replace("+", "-").replace("/", "_"))) >= 6 for each in found["data"])
    assert all(re.search(r"\d", each) for each in found["number"] + found["date"] + found["address"])
    whole = [each for each in found["date"] if re.fullmatch(r"\d{4}-\d\d-\d\dT.*Z", each)]
    assert whole and all(datetime.fromisoformat(each) for each in whole)
    assert all(parseaddr(each) == ("", each) and each.count("@") == 1 for each in found["email"])
    assert all(urlparse(each).scheme and urlparse(each).netloc.count(".") >= 1 for each in found["url"])
    for each in found["ip"]:
        if each.count(":") != 1 and "/" not in each:
            assert ipaddress.ip_address(each)
    assert all(re.search(r"[/\\]\w+\.\w+(\.gz)?$", each) for each in found["path"])
    assert any("\\" in each for each in found["path"]) and any(each.startswith("/") for each in found["path"])


def test_words_are_lower_case_and_single():
    assert len(set(WORDS)) == len(WORDS) > 250 and all(re.fullmatch("[a-z]+", word) for word in WORDS)


def test_values_stand_in_tables_and_json():
    for text in drawn(kinds.separated):
        separator = max(";\t,", key=text.split("\n")[0].count)
        assert len({len(row) for row in csv.reader(text.split("\n"), delimiter=separator)}) == 1, text
    for text in drawn(kinds.markdown_table):
        lines = text.split("\n")
        assert re.fullmatch(r"\|( --- \|)+", lines[1]) and len(lines) > 3
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1, text
        assert all(line.startswith("| ") and line.endswith(" |") for line in lines)
    assert all(json.loads(text) for text in drawn(kinds.json_object))
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} ", text) for text in drawn(kinds.log_lines))


def test_repeats():
    texts = drawn(kinds.repeated)
    assert all(len(text) >= 5 for text in texts) and 500 < max(map(len, texts)) <= 600
    assert len([text for text in texts if len(set(text)) == 1]) > 30
    distinct = [len(set(text.split("\n"))) for text in drawn(kinds.repeated_line)]
    # A character may be drawn that was there before.
    assert set(distinct) == {1, 2} and 90 < distinct.count(2) < 180


def test_white_space_comes_in_runs():
    text = "".join(drawn(kinds.white_space))
    assert max(map(len, re.findall(r" +", text))) > 40
    assert max(map(len, re.findall(r"\t+", text))) > 20 and max(map(len, re.findall(r"\n+", text))) > 20
    lines = "\n".join(drawn(kinds.indented)).split("\n")
    assert any(line.startswith("\t\t") for line in lines) and any(line.endswith("   ") for line in lines)


def test_prose_is_altered(monkeypatch):
    """One sentence in every way that there is: each of them happens, and nothing else."""
    line = "see the bridge at 10:30, they said."
    monkeypatch.setattr(kinds, "_sentence", lambda rng: line)
    lines = {each for text in drawn(kinds.altered) for each in text.split("\n")}
    plain = {line.upper(), line[::-1], line.title(), line.replace(" ", ""), " ".join(line)}
    assert plain <= lines
    rest = lines - plain
    assert len(rest) > 50 and all(sorted(each) == sorted(line) for each in rest)
    assert any(sorted(each.split(" ")) == sorted(line.split(" ")) for each in rest)


def test_every_script_and_symbol_occurs():
    text = set("".join(drawn(kinds.letters) + drawn(kinds.symbols)))
    for stretches in (*SCRIPTS.values(), *SYMBOLS.values()):
        for stretch in stretches:
            assert any(stretch[0] <= each <= stretch[-1] for each in text), stretch
