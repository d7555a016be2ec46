"""Committed figures, to be compared with what is drawn from the committed results."""

import re
from pathlib import Path


def drawn(path):
    """What an SVG shows (`str`): all of it but the version of matplotlib that drew it."""
    return re.sub(r"<dc:title>Matplotlib .*?</dc:title>", "", Path(path).read_text(encoding="utf-8"))
