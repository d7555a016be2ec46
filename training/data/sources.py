"""Where a recipe's texts come from, checked, and the train texts as they are trained on."""

from dataclasses import dataclass
from itertools import islice

from c3.training.checks import RecipeError, check_integer, checked, loading

from .documents import DataSource, check_keep, check_source, load_texts, position_of
from .exact_strings import exact_strings

# By the name that `generate` gives: functions of a number of characters and a seed that yield documents.
GENERATORS = {"exact_strings": exact_strings}


@dataclass(frozen=True)
class GeneratedSource:
    """
    Train texts that are made instead of read.

    Args:
        generate (`str`): what; `exact_strings` is `training/data/exact_strings.py`.
        characters (`int`): of all of them together.
        seed (`int`): the same seed makes the same texts.
        weight (`float`, *optional*): as of a [`DataSource`].
    """

    generate: str
    characters: int
    seed: int = 0
    weight: float | None = None

    # As sources that are read have them.
    streaming = False

    @property
    def path(self):
        """What logs and the model card call it."""
        return f"{self.generate}, generated"

    def documents(self):
        """Yields the texts, `str`."""
        return GENERATORS[self.generate](self.characters, self.seed)


def check_sources(name, value):
    """
    `list` of [`DataSource`] and, of train data, [`GeneratedSource`]: what a recipe says of a key.

    Args:
        name (`str`): of the key.
        value: a path, keys and values, a source, or a list of them.

    Raises:
        RecipeError, ValueError: a value that is not allowed; the message names the key.
        FileNotFoundError: a data file that is not there.
    """
    sources = []
    for each in value if isinstance(value, list) else [value]:
        if isinstance(each, GeneratedSource) or (isinstance(each, dict) and "generate" in each):
            sources.append(_check_generated(name, each))
            continue
        if not isinstance(each, (str, dict, DataSource)):
            raise RecipeError(f"{name} must be a file or a dataset, or a list of them, not {value!r}.")
        source = DataSource(each) if isinstance(each, str) else checked(DataSource, name, each)
        for key in ("path", "column", "split"):
            if not isinstance(getattr(source, key), str) or not getattr(source, key):
                raise RecipeError(f"{name}: {key} must be a name, not {getattr(source, key)!r}.")
        if source.keep is not None:
            try:
                check_keep(source.keep)
            except ValueError as error:
                raise RecipeError(f"{name}: {error}") from error
        try:
            check_source(source.path)
        except (FileNotFoundError, ValueError) as error:
            raise type(error)(f"{name}: {error}") from error
        sources.append(source)
    return sources


def _check_generated(name, value):
    if name != "train_data":
        raise RecipeError(f"{name}: generate is for train_data.")
    for key in ("path", "streaming", "keep") if isinstance(value, dict) else ():
        if value.get(key):
            raise RecipeError(f"{name}: what is generated has no {key}: leave out {key}, or generate.")
    source = checked(GeneratedSource, name, value)
    if not isinstance(source.generate, str) or source.generate not in GENERATORS:
        raise RecipeError(f"{name}: generate must be one of {', '.join(GENERATORS)}, not {source.generate!r}.")
    check_integer(f"{name}: characters", source.characters)
    check_integer(f"{name}: seed", source.seed, 0)
    return source


def train_texts(recipe, source, say=None, max_documents=None):
    """
    The texts of one of the train data of a [`Recipe`], as they are trained on.

    Args:
        say (`Callable[[str], None]`, *optional*): is told how many documents were kept.
        max_documents (`int`, *optional*): for a look at the data.

    Returns: `datasets.Dataset`, or `datasets.IterableDataset` of a source that streams, with one column, `text`.

    Raises:
        RecipeError: data that cannot be read.
    """
    import datasets

    if isinstance(source, GeneratedSource):
        texts = datasets.Dataset.from_dict({"text": list(islice(source.documents(), max_documents))})
    else:
        with loading(f"train_data: {source.path}"):
            texts = load_texts(source, say)
            if max_documents is not None:
                count = max_documents if source.streaming else min(max_documents, len(texts))
                texts = texts.take(count)
    share = recipe.crlf_documents
    if not share:
        return texts
    return texts.map(
        lambda row: {"text": with_crlf(row["text"]) if position_of(row["text"], "crlf") < share else row["text"]},
        features=texts.features,
    )


def with_crlf(text):
    r"""A text, or None, whose lines end with `\r\n`."""
    return text and text.replace("\r\n", "\n").replace("\n", "\r\n")
