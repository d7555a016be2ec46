"""Training recipes: one YAML file per experiment, checked before anything is loaded."""

import difflib
import inspect
import re
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path

import torch
from transformers import CONFIG_MAPPING, TrainingArguments

from .configuration_c3 import INHERITED_FIELDS, OWN_FIELDS, C3Config
from .data_c3 import Phase, check_curriculum, check_source
from .optim_c3 import MuonWithAdamW

OPTIMIZERS = {"muon": MuonWithAdamW, "adamw": torch.optim.AdamW}
BACKBONES = ("encoder_config", "decoder_config")
EVALUATION = ("ratios", "windows", "window")
# Backbone settings that transformers takes without listing them as fields.
ROPE_FIELDS = {"rope_theta", "rope_scaling", "partial_rotary_factor"}
# Settings of TrainingArguments that a recipe has under another name; there they would do nothing.
ELSEWHERE = {
    "output_dir": "output_dir",
    "per_device_train_batch_size": "tokens_per_batch",
    "num_train_epochs": "training.max_steps",
    "optim": "optimizer.name",
    "learning_rate": "optimizer.lr",
    "weight_decay": "optimizer.weight_decay",
    "adam_beta1": "optimizer.betas",
    "adam_beta2": "optimizer.betas",
    "torch_compile": "torch_compile",
}


class RecipeError(ValueError):
    """A recipe that cannot be run; the message names the key and says what is allowed."""


@dataclass
class Recipe:
    """
    One experiment.

    Args:
        output_dir (`str`): checkpoints, logs, figures and at the end the model.
        train_data, validation_data (`list[str]`): .parquet, .jsonl, .json or .txt files, or Hub dataset names; a string
            is one.
        text_column (`str`): the column that holds the text.
        init_from (`str`, *optional*): a C3 checkpoint to go on from; then `model` and `tokenizer` must be left out.
        model (`dict`): keywords of `C3Config`, `encoder_config` and `decoder_config` as dicts with `model_type`.
        tokenizer (`str` or `dict`): a folder or Hub id, or `{vocab_size: …}` to train a byte-level BPE on the train
            data.
        curriculum (`list[Phase]`): window lengths and ratios over the run, see `data_c3.Phase`.
        tokens_per_batch (`int`): text tokens in a micro-batch.
        dropout_windows (`float`): share of the windows with decoder-input dropout; needs `model.use_mask_embedding`.
        random_windows (`float`): share of the windows, at low ratios, that hold random tokens.
        optimizer (`dict`): `name` (muon or adamw) and keywords of `optim_c3.MuonWithAdamW` or `torch.optim.AdamW`.
        torch_compile (`bool`): compile the two backbones, with dynamic shapes.
        attn_implementation (`str`, *optional*): as in transformers, or `cpu_matmul` (`attention_c3.py`).
        evaluation (`dict`): `ratios`, `windows` (how many) and `window` (tokens) for free-running precision on
            `validation_data`; `training.eval_strategy` and `training.eval_steps` say when.
        training (`dict`): keywords of `transformers.TrainingArguments`; `max_steps` is required.

    Raises:
        RecipeError, ValueError: a value that is not allowed; the message names the key.
        FileNotFoundError: a data file, a tokenizer or a checkpoint that is not there.
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
    dropout_windows: float = 0.0
    random_windows: float = 0.0
    optimizer: dict = field(default_factory=lambda: {"name": "muon"})
    torch_compile: bool = False
    attn_implementation: str | None = None
    evaluation: dict = field(default_factory=dict)
    training: dict = field(default_factory=dict)

    def __post_init__(self):
        self._check_types()
        self._check_data()
        self._check_optimizer()
        self._check_training()
        self._check_evaluation()
        self._check_origin()
        if self.init_from is None:
            # A stand-in for the vocabulary of a tokenizer that is not loaded yet.
            vocab_size = self.tokenizer["vocab_size"] if isinstance(self.tokenizer, dict) else 257
            self.check_model(self.model_config(vocab_size))

    @property
    def longest_window(self):
        """Tokens of the curriculum's longest window."""
        return max(length for phase in self.curriculum for length in phase.windows)

    def model_config(self, vocab_size, **special_tokens):
        """The [`C3Config`] of a new model for a tokenizer of `vocab_size` with these `bos_token_id` and so on."""
        tokens = {"vocab_size": vocab_size} | special_tokens
        try:
            return C3Config(**self.model | {part: tokens | self.model.get(part, {}) for part in BACKBONES})
        except (TypeError, ValueError) as error:
            raise RecipeError(f"model: {error}") from error

    def check_model(self, config):
        """Raises `RecipeError` unless a model of this [`C3Config`] can take the curriculum and the evaluation."""
        if self.longest_window > config.window:
            raise RecipeError(
                f"curriculum: windows of {self.longest_window} tokens are above the model's window of {config.window}."
            )
        if self.dropout_windows and not config.use_mask_embedding:
            raise RecipeError("dropout_windows needs a model with use_mask_embedding: true; or leave it at 0.")
        if config.latent_position_layout == "appended":
            wanted = [max(phase.windows) / phase.ratios[0] for phase in self.curriculum]
            wanted += [self.evaluation["window"] / min(self.evaluation["ratios"])] if self.evaluation else []
            if round(max(wanted)) > config.num_latents:
                raise RecipeError(
                    f"curriculum, evaluation: the lowest ratio asks for {round(max(wanted))} latents, but with the "
                    f"appended layout there are at most num_latents, {config.num_latents}."
                )

    def _check_types(self):
        for name, kind, said in (
            ("output_dir", str, "a folder"),
            ("text_column", str, "the name of a column"),
            ("torch_compile", bool, "true or false"),
            ("model", dict, "keys and values"),
            ("optimizer", dict, "keys and values"),
            ("evaluation", dict, "keys and values"),
            ("training", dict, "keys and values"),
        ):
            if not isinstance(getattr(self, name), kind) or getattr(self, name) == "":
                raise RecipeError(f"{name} must be {said}, not {getattr(self, name)!r}.")
        for name in ("dropout_windows", "random_windows"):
            _check_number(name, getattr(self, name), 0, 1)

    def _check_data(self):
        for name in ("train_data", "validation_data"):
            value = getattr(self, name)
            sources = [value] if isinstance(value, str) else value
            if not isinstance(sources, list) or not all(isinstance(each, str) for each in sources):
                raise RecipeError(f"{name} must be a file or a dataset, or a list of them, not {value!r}.")
            setattr(self, name, sources)
        if not self.train_data:
            raise RecipeError("train_data: name at least one file or dataset.")
        for source in self.train_data + self.validation_data:
            check_source(source)
        if not isinstance(self.curriculum, list) or not self.curriculum:
            example = "{until: 1.0, windows: [256], ratios: [4, 16]}"
            raise RecipeError(f"curriculum: give a list of phases, for example [{example}].")
        self.curriculum = [_checked(Phase, "curriculum", phase) for phase in self.curriculum]
        check_curriculum(self.curriculum)
        _check_integer("tokens_per_batch", self.tokens_per_batch)
        if self.tokens_per_batch < self.longest_window:
            raise RecipeError(
                f"tokens_per_batch ({self.tokens_per_batch}) must not be below the longest window of the curriculum "
                f"({self.longest_window})."
            )

    def _check_optimizer(self):
        name = self.optimizer.get("name")
        if name not in OPTIMIZERS:
            raise RecipeError(f"optimizer.name must be one of {', '.join(OPTIMIZERS)}, not {name!r}.")
        known = {"name", *inspect.signature(OPTIMIZERS[name]).parameters} - {"model", "params"}
        _reject_unknown("optimizer", self.optimizer, sorted(known))
        for key, value in self.optimizer.items():
            if key != "name" and isinstance(value, str):
                raise RecipeError(f"optimizer.{key} must be a number, not {value!r}.")

    def _check_training(self):
        for key in self.training:
            if key in ELSEWHERE:
                raise RecipeError(f"training.{key} would have no effect: set {ELSEWHERE[key]}.")
        known = [each.name for each in fields(TrainingArguments) if each.init and each.name != "remove_unused_columns"]
        _reject_unknown("training", self.training, known)
        _check_integer("training.max_steps", self.training.get("max_steps"))

    def _check_evaluation(self):
        evaluates = self.training.get("eval_strategy", "no") not in ("no", False)
        if not self.evaluation:
            if self.validation_data or evaluates:
                raise RecipeError(f"evaluation: give {', '.join(EVALUATION)} to evaluate on validation_data.")
            return
        _reject_unknown("evaluation", self.evaluation, EVALUATION)
        missing = [name for name in EVALUATION if name not in self.evaluation]
        if missing or not self.validation_data:
            raise RecipeError(f"evaluation needs {', '.join(missing or ['validation_data'])}.")
        for name in ("windows", "window"):
            _check_integer(f"evaluation.{name}", self.evaluation[name])
        ratios = self.evaluation["ratios"]
        if not isinstance(ratios, list) or not ratios:
            raise RecipeError(f"evaluation.ratios must be a list of numbers, not {ratios!r}.")
        for ratio in ratios:
            _check_number("evaluation.ratios", ratio, 1, self.evaluation["window"])

    def _check_origin(self):
        if self.init_from is not None:
            if self.model or self.tokenizer is not None:
                raise RecipeError("init_from brings its own model and tokenizer: leave out `model` and `tokenizer`.")
            _check_checkpoint("init_from", self.init_from)
            return
        if isinstance(self.tokenizer, dict):
            _reject_unknown("tokenizer", self.tokenizer, ("vocab_size",))
            _check_integer("tokenizer.vocab_size", self.tokenizer.get("vocab_size"), 257)
        elif self.tokenizer is None:
            raise RecipeError("tokenizer: give a folder, a Hub id or {vocab_size: …} (or init_from).")
        else:
            _check_checkpoint("tokenizer", self.tokenizer)
        _reject_unknown("model", self.model, OWN_FIELDS)
        for part in BACKBONES:
            backbone = self.model.get(part)
            if not isinstance(backbone, dict):
                raise RecipeError(f"model.{part} must be keys and values with a model_type, not {backbone!r}.")
            model_type = backbone.get("model_type")
            if model_type in CONFIG_MAPPING:
                _reject_unknown(f"model.{part}", backbone, _backbone_fields(CONFIG_MAPPING[model_type]))


def load_recipe(path, overrides=()):
    """
    Reads a recipe and applies overrides such as `training.max_steps=20`.

    Raises:
        FileNotFoundError: no such file.
        RecipeError, ValueError: not a recipe; the message names the key.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"No such recipe: {path}.")
    values = _parse(path.read_text(encoding="utf-8"), path)
    if not isinstance(values, dict):
        raise RecipeError(f"{path} is not a recipe: it must hold keys and values.")
    for override in overrides:
        key, separator, value = override.partition("=")
        if not separator:
            raise RecipeError(f"Overrides are written key=value, not {override!r}.")
        *parents, last = key.split(".")
        target = values
        for parent in parents:
            target = target.setdefault(parent, {})
            if not isinstance(target, dict):
                raise RecipeError(f"{key}: {parent} holds no keys of its own.")
        target[last] = _parse(value, override)
    return _checked(Recipe, "recipe", values)


def _parse(text, where):
    """Values of a piece of YAML."""
    import yaml

    class Loader(yaml.SafeLoader):
        """Reads 1e-3 as a number, as YAML 1.2 does; PyYAML's own would make it a string."""

    number = re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$")
    Loader.add_implicit_resolver("tag:yaml.org,2002:float", number, list("-+0123456789"))
    try:
        return _unshared(yaml.load(text, Loader))
    except yaml.YAMLError as error:
        raise RecipeError(f"{where} is not YAML: {error}") from None


def _unshared(value):
    """A copy in which what an alias (`*name`) repeats is no longer one object: an override changes one place."""
    if isinstance(value, dict):
        return {key: _unshared(each) for key, each in value.items()}
    return [_unshared(each) for each in value] if isinstance(value, list) else value


def _backbone_fields(config_class):
    known = set(inspect.signature(config_class.__init__).parameters) | set(config_class.__dataclass_fields__)
    return sorted((known | set(config_class.attribute_map) | INHERITED_FIELDS | ROPE_FIELDS) - {"self", "kwargs"})


def _check_integer(where, value, least=1):
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise RecipeError(f"{where} must be an integer of {least} or more, not {value!r}.")


def _check_number(where, value, least, most):
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not least <= value <= most:
        raise RecipeError(f"{where} must be a number between {least} and {most}, not {value!r}.")


def _check_checkpoint(where, name):
    """A folder, or what may be a Hub id."""
    if not isinstance(name, str) or not name:
        raise RecipeError(f"{where} must be a folder or a Hub id, not {name!r}.")
    if not Path(name).is_dir() and (name.startswith((".", "/", "~")) or name.count("/") > 1):
        raise FileNotFoundError(f"{where}: no such folder: {name}.")


def _reject_unknown(where, values, known):
    for name in values:
        if name not in known:
            close = difflib.get_close_matches(str(name), known, n=1)
            if close:
                hint = f"did you mean {close[0]}?"
            else:
                hint = f"known are {', '.join(known)}." if len(known) <= 20 else "see transformers' documentation."
            raise RecipeError(f"{where}: unknown key {name}; {hint}")


def _checked(cls, where, values):
    if isinstance(values, cls):
        return values
    if not isinstance(values, dict):
        raise RecipeError(f"{where}: expected keys and values, not {values!r}.")
    _reject_unknown(where, values, [each.name for each in fields(cls)])
    for each in fields(cls):
        if each.default is MISSING and each.default_factory is MISSING and each.name not in values:
            raise RecipeError(f"{where}: the key {each.name} is missing.")
    return cls(**values)
