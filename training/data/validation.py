"""The texts on which free-running precision is measured while training."""

from itertools import chain

from c3.training.checks import RecipeError, loading

from .documents import load_texts

# Documents of a stream that are looked at for one window, at most: some are too short.
LOOKED_AT = 100


def validation_windows(recipe, processor):
    """
    `list[str]`: texts of `evaluation.window` tokens each, from documents spread over the validation data; of data that
    stream from the first ones that are long enough, and no more is read. Those are left out that the encoder could not
    read at one of `evaluation.ratios`, as where their pictures are too small.
    """
    num_windows, length, ratios = (recipe.evaluation[name] for name in ("windows", "window", "ratios"))
    chosen = []
    for source in recipe.validation_data:
        with loading(f"validation_data: {source.path}"):
            found = []
            for text in _documents(source, num_windows):
                found += [each for each in _window(text, length, processor) if _is_readable(each, ratios, processor)]
                if len(found) == num_windows:
                    break
            chosen += found
    if not chosen:
        advice = "take fewer"
        if not processor.modality.reads_ids(processor):
            advice = "or the encoder cannot read them at evaluation.ratios; take fewer, or lower ratios"
        raise RecipeError(f"evaluation.window: no document of validation_data has {length} tokens; {advice}.")
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
    # Not the windows themselves: where the encoder reads no ids some are shorter, so that no character is cut.
    ids = list(chain(*(each.text_ids for each in processor.split(text, length)))) if text else []
    places = range(0, len(ids) - length + 1, length)
    if not places:
        return []
    # From the middle: documents start with titles and tables of contents. The characters that its cuts went through are
    # left out.
    place = places[len(places) // 2]
    window = processor.decode(ids[place : place + length]).strip("\ufffd")
    return [window] if window.strip() and "\ufffd" not in window else []


def _is_readable(text, ratios, processor):
    """Whether a text can be compressed at these ratios; where the encoder reads ids, none is refused for what it is."""
    if processor.modality.reads_ids(processor):
        return True
    try:
        return all(processor.plan(text, ratio=ratio) for ratio in ratios)
    except ValueError:
        return False
