"""How a text is drawn on pages and what a vision-language model is asked about them: files such as glyph_like.yaml."""

from dataclasses import dataclass, fields
from pathlib import Path

from c3.support.errors import pip_install

POINTS_PER_INCH = 72
SMALLEST_FONT = 1  # pixel


@dataclass(frozen=True)
class PageSettings:
    """
    Pages and the question about them. Lengths are in points.

    Args:
        font (`str`): a file with TrueType or OpenType outlines.
        font_size, line_height, margin, padding (`float`): the text stands within margin and padding of a page.
        page_size (`list[float]`): width and height.
        dpi (`float`): pixels of an inch.
        crop (`bool`): whether blank space at the right of a page, and below the last one's text, is cut off behind the
            margin.
        prompt (`str`): what the model is asked.
        answer_limit (`float`): tokens of an answer at most, for each token of the text.
    """

    font: str
    font_size: float
    line_height: float
    page_size: list
    margin: float
    padding: float
    dpi: float
    crop: bool
    prompt: str
    answer_limit: float

    def pixels(self, length):
        """A length in points as pixels (`float`)."""
        return length * self.dpi / POINTS_PER_INCH

    @property
    def text_size(self):
        """Width in pixels that there is for a line, and lines of a page: `(float, int)`."""
        width, height = (length - 2 * (self.margin + self.padding) for length in self.page_size)
        return self.pixels(width), int(height // self.line_height)


def read_page_settings(path):
    """
    The [`PageSettings`] of a YAML file, which has a line for each; `font: null` is matplotlib's DejaVu Sans.

    Raises:
        OSError, ValueError: saying in one line what is wrong with which file.
    """
    import yaml

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no such file of page settings: {path}")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(f"{path} is not YAML: {error}") from None
    names = [field.name for field in fields(PageSettings)]
    if not isinstance(values, dict) or set(values) != set(names):
        raise ValueError(f"{path} must have a line for each of {', '.join(names)}, and no other")
    for name, (allowed, right) in _RULES.items():
        if not right(values[name]):
            raise ValueError(f"{path}: {name} must be {allowed}, not {values[name]!r}")
    settings = PageSettings(**values | {"font": _font_file(path, values["font"])})
    width, lines = settings.text_size
    if lines < 1 or width < settings.pixels(settings.font_size):
        raise ValueError(f"{path}: a page has no room for text: take a larger page_size, or less margin and padding")
    if settings.pixels(settings.font_size) < SMALLEST_FONT:
        raise ValueError(f"{path}: letters of less than a pixel: take a larger font_size or dpi")
    return settings


def _font_file(path, font):
    if font is None:
        try:
            import matplotlib
        except ImportError:
            needed = f"pages are drawn in a font of matplotlib: {pip_install('eval')}, or name a font file"
            raise ValueError(f"{path}: {needed}") from None
        return str(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"))
    if not Path(font).is_file():
        raise FileNotFoundError(f"{path}: there is no font file {font}")
    return font


def _is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < float("inf")


def _is_positive(value):
    return _is_number(value) and value > 0


_POSITIVE = ("a number above 0", _is_positive)
_RULES = {
    "font": ("the name of a file, or null", lambda value: value is None or isinstance(value, str)),
    "page_size": (
        "a width and a height",
        lambda value: isinstance(value, list) and len(value) == 2 and all(map(_is_positive, value)),
    ),
    "crop": ("true or false", lambda value: isinstance(value, bool)),
    "prompt": ("a text", lambda value: isinstance(value, str) and bool(value.strip())),
    **dict.fromkeys(("margin", "padding"), ("a number of 0 or more", _is_number)),
    **dict.fromkeys(("font_size", "line_height", "dpi", "answer_limit"), _POSITIVE),
}
