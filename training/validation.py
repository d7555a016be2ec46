"""The texts on which free-running precision is measured while training."""

from ..data_c3 import load_texts
from .checks import RecipeError, loading


def validation_windows(recipe, processor):
    """`list[str]`: texts of `evaluation.window` tokens each, spread over the validation documents."""
    wanted, length = recipe.evaluation["windows"], recipe.evaluation["window"]
    chosen = []
    for source in recipe.validation_data:
        with loading(f"validation_data: {source.path}"):
            texts = load_texts(source)["text"]
        step = max(1, len(texts) // wanted)
        for text in texts[::step][:wanted]:
            windows = [each.text_ids for each in processor.split(text, length)] if text else []
            windows = [ids for ids in windows if len(ids) == length]
            if windows:
                # A window from the middle: documents start with titles and tables of contents. The characters that its
                # cuts went through are left out.
                chosen.append(processor.decode(windows[len(windows) // 2]).strip("\ufffd"))
    chosen = [text for text in chosen if text.strip() and "\ufffd" not in text]
    if not chosen:
        raise RecipeError(f"evaluation.window: no document of validation_data has {length} tokens; take fewer.")
    return chosen
