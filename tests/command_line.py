"""What the tests of the commands share."""

import json
import subprocess
import sys

import torch

# Line ends of three kinds, a byte order mark, characters of one to four bytes, no line end at the end.
TEXT = "\ufeffÉmigré — 短い文章。\r\nIt was the best of times,\n\rit was 😀 the worst; 42 %."


def same(left, right):
    return torch.equal(left.values, right.values) and torch.equal(left.latent_lengths, right.latent_lengths)


def pages_file(folder):
    path = folder / "pages.jsonl"
    path.write_text(json.dumps({"text": " ".join(["It was the best of times."] * 100)}))
    return path


def python(*argv, **options):
    return subprocess.run([sys.executable, *argv], capture_output=True, timeout=120, **options)
