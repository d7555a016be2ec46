"""The texts on which free-running precision is measured while training."""

from c3.training.checks import RecipeError, loading

from .documents import load_texts

# Documents of a stream that are looked at for one window, at most: some are too short.
LOOKED_AT = 100


def validation_windows(recipe, processor):
    """
    `list[str]`: texts of `evaluation.window` tokens each, from documents spread over the validation data; of data that
    stream from the first ones that are long enough, and no more is read.
    """
    num_windows, length = recipe.evaluation["windows"], recipe.evaluation["window"]
    chosen = []
    for source in recipe.validation_data:
        with loading(f"validation_data: {source.path}"):
            found = []
            for text in _documents(source, num_windows):
                found += _window(text, length, processor)
                if len(found) == num_windows:
                    break
            chosen += found
    if not chosen:
        raise RecipeError(f"evaluation.window: no document of validation_data has {length} tokens; take fewer.")
    return chosen


def _documents(source, num_windows):
    """The texts of a source that a window may be taken from, iterable."""
    texts = load_texts(source)
    if source.streaming:
        return (row["text"] for row in texts.take(LOOKED_AT * num_windows))
    step = max(1, len(texts) // num_windows)
    return texts["text"][::step][:num_windows]


def _window(text, length, processor):
    """A list of a window of `length` tokens from a text, or of none."""
    pieces = [each.text_ids for each in processor.split(text, length)] if text else []
    pieces = [ids for ids in pieces if len(ids) == length]
    if not pieces:
        return []
    # From the middle: documents start with titles and tables of contents. The characters that its cuts went through are
    # left out.
    window = processor.decode(pieces[len(pieces) // 2]).strip("\ufffd")
    return [window] if window.strip() and "\ufffd" not in window else []
