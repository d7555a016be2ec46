"""Training recipes: one YAML file per experiment, checked before anything is loaded."""

from dataclasses import dataclass, field, fields
from pathlib import Path

from .data_c3 import Phase, check_curriculum

OPTIMIZERS = ("muon", "adamw")


@dataclass
class Recipe:
    """
    One experiment.

    Args:
        output_dir (`str`): checkpoints, logs, figures and at the end the model.
        train_data, validation_data (`list[str]`): .parquet, .jsonl or .txt files, or Hub dataset names; a string is one.
        text_column (`str`): the column that holds the text.
        init_from (`str`, *optional*): a C3 checkpoint to go on from; then `model` and `tokenizer` must be left out.
        model (`dict`): keywords of `C3Config`, `encoder_config` and `decoder_config` as dicts with `model_type`.
        tokenizer (`str` or `dict`): a folder or Hub id, or `{vocab_size: …}` to train a byte-level BPE on the train data.
        curriculum (`list[Phase]`): window lengths and ratios over the run, see `data_c3.Phase`.
        tokens_per_batch (`int`): text tokens in a micro-batch.
        dropout_windows (`float`): share of the windows with decoder-input dropout.
        random_windows (`float`): share of the windows, at low ratios, that hold random tokens.
        optimizer (`dict`): `name` (muon or adamw) and keywords of `optim_c3.MuonWithAdamW` (muon).
        torch_compile (`bool`): compile the two backbones, with dynamic shapes.
        attn_implementation (`str`, *optional*): as in transformers, or `cpu_matmul` (`attention_c3.py`).
        evaluation (`dict`): `ratios`, `windows` (how many) and `window` (tokens) for free-running precision.
        training (`dict`): keywords of `transformers.TrainingArguments`.
    """

    output_dir: str
    train_data: list
    validation_data: list = field(default_factory=list)
    text_column: str = "text"
    init_from: str | None = None
    model: dict = field(default_factory=dict)
    tokenizer: str | dict | None = None
    curriculum: list = field(default_factory=list)
    tokens_per_batch: int = 4096
    dropout_windows: float = 0.75
    random_windows: float = 0.0
    optimizer: dict = field(default_factory=lambda: {"name": "muon"})
    torch_compile: bool = False
    attn_implementation: str | None = None
    evaluation: dict = field(default_factory=dict)
    training: dict = field(default_factory=dict)

    def __post_init__(self):
        for name in ("train_data", "validation_data"):
            value = getattr(self, name)
            setattr(self, name, [value] if isinstance(value, str) else list(value))
        if not self.train_data:
            raise ValueError("train_data: name at least one file or dataset.")
        for source in self.train_data + self.validation_data:
            if Path(source).suffix and not Path(source).is_file():
                raise FileNotFoundError(f"No such data file: {source}.")
        if not self.curriculum:
            raise ValueError("curriculum: give at least one phase, for example {until: 1.0, windows: [256], ratios: [4, 16]}.")
        self.curriculum = [_checked(Phase, "curriculum", phase) for phase in self.curriculum]
        check_curriculum(self.curriculum)
        if self.init_from is not None and (self.model or self.tokenizer is not None):
            raise ValueError("init_from brings its own model and tokenizer: leave out `model` and `tokenizer`.")
        if self.init_from is None and self.tokenizer is None:
            raise ValueError("tokenizer: give a folder, a Hub id or {vocab_size: …} (or init_from).")
        if isinstance(self.tokenizer, dict) and set(self.tokenizer) != {"vocab_size"}:
            raise ValueError(f"tokenizer: a dict takes vocab_size alone, not {', '.join(self.tokenizer)}.")
        for name in ("dropout_windows", "random_windows"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} must lie between 0 and 1, not {getattr(self, name)}.")
        if self.tokens_per_batch < 1:
            raise ValueError(f"tokens_per_batch must be 1 or more, not {self.tokens_per_batch}.")
        if self.optimizer.get("name") not in OPTIMIZERS:
            raise ValueError(f"optimizer: name must be one of {', '.join(OPTIMIZERS)}, not {self.optimizer.get('name')!r}.")
        _reject_unknown("evaluation", self.evaluation, ("ratios", "windows", "window"))


def load_recipe(path, overrides=()):
    """
    Reads a recipe and applies overrides such as `training.max_steps=20`.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a recipe; the message names the key.
    """
    import yaml

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"No such recipe: {path}.")
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(values, dict):
        raise ValueError(f"{path} is not a recipe: it must hold keys and values.")
    for override in overrides:
        key, separator, value = override.partition("=")
        if not separator:
            raise ValueError(f"Overrides are written key=value, not {override!r}.")
        *parents, last = key.split(".")
        target = values
        for parent in parents:
            target = target.setdefault(parent, {})
            if not isinstance(target, dict):
                raise ValueError(f"{key}: {parent} holds no keys of its own.")
        target[last] = yaml.safe_load(value)
    return _checked(Recipe, "recipe", values)


def _reject_unknown(where, values, known):
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise ValueError(f"{where}: unknown key {', '.join(unknown)}; known are {', '.join(known)}.")


def _checked(cls, where, values):
    if isinstance(values, cls):
        return values
    if not isinstance(values, dict):
        raise ValueError(f"{where}: expected keys and values, not {values!r}.")
    known = [f.name for f in fields(cls)]
    _reject_unknown(where, values, known)
    try:
        return cls(**values)
    except TypeError as error:
        raise ValueError(f"{where}: {error}.") from None
