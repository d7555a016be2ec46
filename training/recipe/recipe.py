"""Training recipes: one experiment each, checked before anything is loaded."""

import inspect
import os
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from transformers import CONFIG_MAPPING

from c3.configuration_c3 import INHERITED_FIELDS, OWN_FIELDS, C3Config
from c3.training.checks import RecipeError, check_integer, check_number, checked, reject_unknown
from c3.training.data.curriculum import TEXT_OBJECTIVES, Phase, check_curriculum
from c3.training.data.sources import GeneratedSource, check_sources
from c3.training.devices.attention import check_attention
from c3.training.devices.distributed import TIED_UNDER_FSDP
from c3.training.devices.liger import check_liger_kernel
from c3.training.devices.sharding import check_sharding
from c3.training.optim.lora import LoraSettings
from c3.training.optim.optimizers import OPTIMIZERS
from c3.training.optim.parts import PARTS
from c3.training.publish.hub_settings import HubSettings

from .training_keys import check_training

BACKBONES = ("encoder_config", "decoder_config")
ORIGINS = ("model", "init_from", "init_from_pair")
EVALUATION = ("ratios", "windows", "window")
OBJECTIVES = (*TEXT_OBJECTIVES, "instruction")
DTYPES = ("float32", "bfloat16", "float16")
# Backbone settings that transformers takes without listing them as fields.
ROPE_FIELDS = {"rope_theta", "rope_scaling", "partial_rotary_factor"}
# What a stage may set for itself.
STAGE_KEYS = (
    "trainable",
    "learning_rates",
    "curriculum",
    "objectives",
    "continuation_length",
    "tokens_per_batch",
    "dropout_windows",
    "dropout_halved_above",
    "random_windows",
    "optimizer",
    "early_stopping_patience",
    "training",
)


@dataclass
class Recipe:
    """
    One experiment.

    Args:
        output_dir (`str`): checkpoints, logs, figures and at the end the model; `~` is the home folder.
        train_data, validation_data (`list[DataSource]`): texts; a path, or `{path, column, split, config, weight,
            streaming, keep}`, or a list of them, see `data_c3.DataSource`; of train data also `{generate, characters,
            seed, weight}`, see `training/data/sources.py`.
        crlf_documents (`float`): share of the train documents whose lines are made to end with `\\r\\n`, the same
            documents in every run.
        instruction_data (`list[DataSource]`): rows of `context` and `messages`, see `training/data/instructions.py`.
        init_from (`str`, *optional*): a C3 checkpoint to go on from.
        init_from_pair (`dict`, *optional*): `encoder` and `decoder`, causal language models (folders or Hub ids) to
            start from, and fields of `C3Config`.
        model (`dict`): keywords of `C3Config` for a model from scratch, `encoder_config` and `decoder_config` as dicts
            with `model_type`. One of these three says where the model comes from.
        tokenizer (`str` or `dict`): with `model`, a folder or Hub id, or `{vocab_size: …}` to train a byte-level BPE on
            the train data.
        dtype (`str`): of the weights while training: float32, bfloat16 or float16. (`training.bf16` computes in
            bfloat16 over float32 weights; `auto` does so where the device has instructions for it.)
        objectives (`dict[str, float]`): weights of reconstruction, continuation and instruction; each batch has one. A
            model that was trained on reconstruction alone, in all of its stages, says so in its config
            (`reconstruction_only`), and refuses other prompts.
        continuation_length (`int`): tokens that are continued after a compressed prefix, at most.
        max_target_length (`int`): tokens of a conversation over a compressed context, at most.
        max_context_length (`int`, *optional*): tokens of that context, at most; by default `tokens_per_batch`, since a
            longer one makes a larger batch by itself. Rows above these two are left out and named in the log.
        trainable (`list[str]`): parts that are trained: encoder, queries, projector, decoder.
        learning_rates (`dict[str, float]`): of single parts, instead of `optimizer.lr`.
        lora ([`LoraSettings`], *optional*): adapters instead of whole backbones, see `training/optim/lora.py`.
        stages (`list[dict]`): stages that follow one another, each with a `name` and its own values of `STAGE_KEYS`;
            `optimizer` and `training` are merged with the recipe's.
        curriculum (`list[Phase]`): window lengths and ratios over the run, see `training.curriculum.Phase`.
        tokens_per_batch (`int`): text tokens in a micro-batch.
        dropout_windows (`float`): share of the windows with decoder-input dropout; needs `model.use_mask_embedding`.
        dropout_halved_above (`float`, *optional*): half of that share where a latent stands for more tokens than this.
        random_windows (`float`): share of the windows, at low ratios, in which tokens are replaced by random ones.
        optimizer (`dict`): `name` (muon or adamw) and keywords of it, see `training/optim/optimizers.py`.
        torch_compile (`bool`): compile the two backbones, with dynamic shapes.
        liger_kernel (`bool`): fused layers of the package liger-kernel in the two backbones (GPUs only).
        attn_implementation (`str`, *optional*): see `training/devices/attention.py`; `cpu_matmul` is
            `cpu_attention.py` there.
        evaluation (`dict`): `ratios`, `windows` (how many) and `window` (tokens) for free-running precision on
            `validation_data`; `training.eval_strategy` and `training.eval_steps` say when.
        early_stopping_patience (`int`, *optional*): evaluations without a better mean precision before training stops.
            The best model is the one to end with, unless `training.load_best_model_at_end` is false.
        hub ([`HubSettings`], *optional*): where to push the finished model, see `training/publish/hub_settings.py`.
        training (`dict`): keywords of `transformers.TrainingArguments`; `max_steps` is required.

    Raises:
        RecipeError, ValueError: a value that is not allowed; the message names the key.
        FileNotFoundError: a data file, a tokenizer or a checkpoint that is not there.
    """

    output_dir: str
    train_data: list = field(default_factory=list)
    crlf_documents: float = 0.0
    validation_data: list = field(default_factory=list)
    instruction_data: list = field(default_factory=list)
    init_from: str | None = None
    init_from_pair: dict | None = None
    model: dict = field(default_factory=dict)
    tokenizer: str | dict | None = None
    dtype: str = "float32"
    objectives: dict = field(default_factory=lambda: {"reconstruction": 1.0})
    continuation_length: int = 64
    max_target_length: int = 1024
    max_context_length: int | None = None
    trainable: list = field(default_factory=lambda: list(PARTS))
    learning_rates: dict = field(default_factory=dict)
    lora: LoraSettings | None = None
    stages: list = field(default_factory=list)
    curriculum: list = field(default_factory=list)
    tokens_per_batch: int = 4096
    dropout_windows: float = 0.0
    dropout_halved_above: float | None = None
    random_windows: float = 0.0
    optimizer: dict = field(default_factory=lambda: {"name": "muon"})
    torch_compile: bool = False
    liger_kernel: bool = False
    attn_implementation: str | None = None
    evaluation: dict = field(default_factory=dict)
    early_stopping_patience: int | None = None
    hub: HubSettings | None = None
    training: dict = field(default_factory=dict)

    def __post_init__(self):
        self._check_types()
        self._check_origin()
        if self.stages:
            self._check_stages()
            return
        self._check_data()
        self._check_parts()
        self._check_optimizer()
        self._check_training()
        self._check_evaluation()
        if self.model:
            # A stand-in for the vocabulary of a tokenizer that is not loaded yet.
            vocab_size = self.tokenizer["vocab_size"] if isinstance(self.tokenizer, dict) else 257
            self.check_model(self.model_config(vocab_size))
        elif self.init_from_pair:
            self.check_model(_pair_config(self.init_from_pair))

    @property
    def longest_window(self):
        """Tokens of the curriculum's longest window."""
        return max(length for phase in self.curriculum for length in phase.windows)

    @property
    def streams(self):
        """Whether the train data are read while training."""
        return any(source.streaming for source in self.train_data)

    @property
    def reconstruction_only(self):
        """Whether what is trained here is to give texts back and nothing else, which `C3Config` has a field for."""
        return {name for name, weight in self.objectives.items() if weight} == {"reconstruction"}

    @property
    def text_objectives(self):
        """Those of its objectives that are trained on `train_data`, `list[str]`."""
        return [name for name in TEXT_OBJECTIVES if self.objectives.get(name)]

    @property
    def conversation_limits(self):
        """Tokens of a conversation and of its context, at most, `tuple[int, int]`."""
        return self.max_target_length, self.max_context_length or self.tokens_per_batch

    def stage_recipes(self):
        """`list[Recipe]`: one for each stage, in a folder of its own; a recipe without stages is its only one."""
        return [self._stage(number) for number in range(len(self.stages))] or [self]

    def _stage(self, number):
        name = self.stages[number]["name"]
        values = {
            key: getattr(self, key) | value if key in ("optimizer", "training") and isinstance(value, dict) else value
            for key, value in self.stages[number].items()
            if key != "name"
        }
        with in_stage(name):
            return replace(self, stages=[], output_dir=str(Path(self.output_dir) / f"{number + 1}-{name}"), **values)

    def model_config(self, vocab_size, **special_tokens):
        """The [`C3Config`] of a new model for a tokenizer of `vocab_size` with these `bos_token_id` and so on."""
        tokens = {"vocab_size": vocab_size} | special_tokens
        fields = {"reconstruction_only": self.reconstruction_only} | self.model
        try:
            return C3Config(**fields | {part: tokens | self.model.get(part, {}) for part in BACKBONES})
        except (TypeError, ValueError) as error:
            raise RecipeError(f"model: {error}") from error

    def check_stages(self, config):
        """As `check_model`, for every stage of a run that starts with a model of this [`C3Config`]."""
        for stage, recipe in zip(self.stages or [{"name": None}], self.stage_recipes(), strict=True):
            with in_stage(stage["name"]):
                recipe.check_model(config)

    def check_model(self, config):
        """Raises `RecipeError` unless a model of this [`C3Config`] can take the curriculum and the evaluation."""
        if self.longest_window > config.window:
            raise RecipeError(
                f"curriculum: windows of {self.longest_window} tokens are above the model's window of {config.window}."
            )
        if self.training.get("fsdp") and config.tie_word_embeddings:
            raise RecipeError(TIED_UNDER_FSDP)
        if self.dropout_windows and not config.use_mask_embedding:
            raise RecipeError("dropout_windows needs a model with use_mask_embedding: true; or leave it at 0.")
        if config.num_queries == 0:
            if self.trainable == ["queries"] or "queries" in self.learning_rates:
                raise RecipeError("trainable, learning_rates: a model with pooling: mean has no queries to train.")
        if config.latent_position_layout == "appended":
            wanted = [phase.most_latents for phase in self.curriculum]
            if self.evaluation:
                wanted.append(min(self.evaluation["window"], config.window) / min(self.evaluation["ratios"]))
            if round(max(wanted)) > config.num_latents:
                raise RecipeError(
                    f"curriculum, evaluation: the lowest ratio asks for {round(max(wanted))} latents, but with the "
                    f"appended layout there are at most num_latents, {config.num_latents}."
                )

    def _check_types(self):
        for name, kind, said in (
            ("output_dir", str, "a folder"),
            ("torch_compile", bool, "true or false"),
            ("liger_kernel", bool, "true or false"),
            ("model", dict, "keys and values"),
            ("optimizer", dict, "keys and values"),
            ("objectives", dict, "keys and values"),
            ("learning_rates", dict, "keys and values"),
            ("evaluation", dict, "keys and values"),
            ("training", dict, "keys and values"),
            ("trainable", list, "a list of parts"),
            ("stages", list, "a list of stages"),
        ):
            if not isinstance(getattr(self, name), kind) or getattr(self, name) == "":
                raise RecipeError(f"{name} must be {said}, not {getattr(self, name)!r}.")
        self.output_dir = os.path.expanduser(self.output_dir)
        for name in ("crlf_documents", "dropout_windows", "random_windows"):
            check_number(name, getattr(self, name), 0, 1)
        if self.dropout_halved_above is not None:
            check_number("dropout_halved_above", self.dropout_halved_above, 1, float("inf"))
        for name in ("continuation_length", "max_target_length"):
            check_integer(name, getattr(self, name))
        if self.max_context_length is not None:
            check_integer("max_context_length", self.max_context_length)
        if self.hub is not None:
            self.hub = checked(HubSettings, "hub", self.hub)
        if self.early_stopping_patience is not None:
            check_integer("early_stopping_patience", self.early_stopping_patience)
        if self.dtype not in DTYPES:
            raise RecipeError(f"dtype must be one of {', '.join(DTYPES)}, not {self.dtype!r}.")
        if self.attn_implementation is not None:
            check_attention(self.attn_implementation)
        if self.liger_kernel:
            check_liger_kernel()

    def _check_stages(self):
        for stage in self.stages:
            if not isinstance(stage, dict) or not isinstance(stage.get("name"), str):
                raise RecipeError(f"stages: each needs a name and values of its own, not {stage!r}.")
            if not stage["name"] or Path(stage["name"]).name != stage["name"]:
                raise RecipeError(f"stages: a name is also that of a folder, which {stage['name']!r} cannot be.")
            reject_unknown(f"stages: {stage['name']}", stage, ("name", *STAGE_KEYS))
        if self.lora is not None and len(self.stages) > 1:
            raise RecipeError(
                "lora, stages: adapters are trained in one stage; run the stages first, and then a recipe with lora "
                "and init_from."
            )
        self.stage_recipes()

    def _check_data(self):
        for name in ("train_data", "validation_data", "instruction_data"):
            setattr(self, name, check_sources(name, getattr(self, name)))
        self._check_objectives()
        if not isinstance(self.curriculum, list) or not self.curriculum:
            example = "{until: 1.0, windows: [256], ratios: [4, 16]}"
            raise RecipeError(f"curriculum: give a list of phases, for example [{example}].")
        self.curriculum = [checked(Phase, "curriculum", phase) for phase in self.curriculum]
        check_curriculum(self.curriculum)
        if self.dropout_halved_above is not None and not self.dropout_windows:
            raise RecipeError(
                "dropout_halved_above: there is no dropout to halve; set dropout_windows, or leave it out."
            )
        check_integer("tokens_per_batch", self.tokens_per_batch)
        if self.tokens_per_batch < self.longest_window:
            raise RecipeError(
                f"tokens_per_batch ({self.tokens_per_batch}) must not be below the longest window of the curriculum "
                f"({self.longest_window})."
            )

    def _check_objectives(self):
        reject_unknown("objectives", self.objectives, OBJECTIVES)
        for name, weight in self.objectives.items():
            check_number(f"objectives.{name}", weight, 0, float("inf"))
        wanted = {name for name, weight in self.objectives.items() if weight}
        if not wanted:
            raise RecipeError("objectives: give at least one a weight above 0.")
        if wanted & set(TEXT_OBJECTIVES) and not self.train_data:
            raise RecipeError("train_data: name at least one file or dataset.")
        if "instruction" in wanted and not self.instruction_data:
            raise RecipeError("objectives.instruction needs instruction_data, rows of context and messages.")
        if (self.model or self.init_from_pair or {}).get("reconstruction_only") and not self.reconstruction_only:
            raise RecipeError("reconstruction_only: the objectives train for more; leave it out.")
        if any(source.streaming for source in self.instruction_data):
            raise RecipeError("streaming is for train_data and validation_data: instruction_data are read whole.")
        if self.streams:
            if not all(source.streaming for source in self.train_data):
                generated = [source.path for source in self.train_data if isinstance(source, GeneratedSource)]
                why = f": what is generated ({generated[0]}) does not" if generated else ""
                raise RecipeError(f"train_data: either all sources stream or none{why}.")
            if isinstance(self.tokenizer, dict):
                raise RecipeError("tokenizer: it is trained on data that are read whole, not on streaming ones.")
        weights = [source.weight for source in self.train_data]
        if any(weight is not None for weight in weights):
            for weight in weights:
                if not isinstance(weight, (int, float)) or isinstance(weight, bool) or not 0 < weight < float("inf"):
                    raise RecipeError(f"train_data: give every source a weight above 0, or none; found {weight!r}.")

    def _check_parts(self):
        reject_unknown("trainable", self.trainable, PARTS)
        if not self.trainable:
            raise RecipeError(f"trainable: name at least one of {', '.join(PARTS)}.")
        if self.lora is not None:
            if self.trainable != list(PARTS):
                raise RecipeError("lora says itself what is trained: leave out trainable.")
            self.lora = checked(LoraSettings, "lora", self.lora)
        if self.hub is not None:
            self.hub.check_adapter(self.lora, self.init_from)
        reject_unknown("learning_rates", self.learning_rates, PARTS)
        for part, rate in self.learning_rates.items():
            if part not in self.trainable:
                raise RecipeError(f"learning_rates.{part}: this part is not trained; add it to trainable or drop it.")
            check_number(f"learning_rates.{part}", rate, 1e-12, 10)

    def _check_optimizer(self):
        name = self.optimizer.get("name")
        if name not in OPTIMIZERS:
            raise RecipeError(f"optimizer.name must be one of {', '.join(OPTIMIZERS)}, not {name!r}.")
        if name == "muon" and self.lora is not None:
            raise RecipeError("optimizer.name: muon is for whole matrices, not for adapters; take adamw with lora.")
        if name == "muon" and not {"encoder", "decoder"} & set(self.trainable):
            raise RecipeError(f"optimizer.name: muon is for backbones, but trainable is {self.trainable}; take adamw.")
        known = {"name", *inspect.signature(OPTIMIZERS[name]).parameters} - {"model", "learning_rates"}
        reject_unknown("optimizer", self.optimizer, sorted(known))
        for key, value in self.optimizer.items():
            if key != "name" and isinstance(value, str):
                raise RecipeError(f"optimizer.{key} must be a number, not {value!r}.")
        for key in ("lr", "muon_lr"):
            if key in self.optimizer:
                check_number(f"optimizer.{key}", self.optimizer[key], 1e-12, 10)
        for key, least, most in (("weight_decay", 0, 10), ("momentum", 0, 1), ("eps", 0, 1)):
            if key in self.optimizer:
                check_number(f"optimizer.{key}", self.optimizer[key], least, most)
        betas = self.optimizer.get("betas", [0.9, 0.95])
        if not isinstance(betas, (list, tuple)) or len(betas) != 2 or not all(map(_is_share, betas)):
            raise RecipeError(
                f"optimizer.betas must be two numbers from 0 to below 1, for example [0.9, 0.95], not {betas!r}."
            )
        if "ns_steps" in self.optimizer:
            check_integer("optimizer.ns_steps", self.optimizer["ns_steps"])

    def _check_training(self):
        if self.early_stopping_patience is not None and self.training.get("eval_strategy", "no") in ("no", False):
            raise RecipeError("early_stopping_patience needs training.eval_strategy and evaluation.")
        defaults = {"load_best_model_at_end": True} if self.early_stopping_patience is not None else {}
        self.training = check_training(defaults | self.training)
        if self.streams and self.text_objectives and self.training.get("dataloader_num_workers"):
            raise RecipeError(
                "training.dataloader_num_workers: streamed data are read by the training process itself, which "
                "knows where to go on from: leave it out."
            )
        try:
            check_sharding(self.training, self.optimizer)
        except ValueError as error:
            raise RecipeError(str(error)) from error

    def _check_evaluation(self):
        evaluates = self.training.get("eval_strategy", "no") != "no"
        if not self.evaluation:
            if self.validation_data or evaluates:
                raise RecipeError(f"evaluation: give {', '.join(EVALUATION)} to evaluate on validation_data.")
            return
        reject_unknown("evaluation", self.evaluation, EVALUATION)
        if "eval_strategy" not in self.training:
            raise RecipeError(
                "evaluation needs training.eval_strategy: steps, and training.eval_steps; or `no` to leave it for now."
            )
        missing = [name for name in EVALUATION if name not in self.evaluation]
        if missing or not self.validation_data:
            raise RecipeError(f"evaluation needs {', '.join(missing or ['validation_data'])}.")
        for name in ("windows", "window"):
            check_integer(f"evaluation.{name}", self.evaluation[name])
        ratios = self.evaluation["ratios"]
        if not isinstance(ratios, list) or not ratios:
            raise RecipeError(f"evaluation.ratios must be a list of numbers, not {ratios!r}.")
        for ratio in ratios:
            check_number("evaluation.ratios", ratio, 1, self.evaluation["window"])
        metric, measured = self.training.get("metric_for_best_model"), ["precision"]
        measured += [f"precision_{ratio:g}x" for ratio in ratios]
        if metric is not None and str(metric).removeprefix("eval_") not in measured:
            raise RecipeError(f"training.metric_for_best_model must be one of {', '.join(measured)}, not {metric!r}.")

    def _check_origin(self):
        given = [name for name in ORIGINS if getattr(self, name)]
        if len(given) != 1:
            raise RecipeError(f"Give exactly one of {', '.join(ORIGINS)}, not {' and '.join(given) or 'none'}.")
        if not self.model:
            if self.tokenizer is not None:
                raise RecipeError(f"{given[0]} brings its own tokenizer: leave out `tokenizer`.")
            if self.init_from is not None:
                _check_checkpoint("init_from", self.init_from)
                return
            if not isinstance(self.init_from_pair, dict):
                raise RecipeError(f"init_from_pair must be keys and values, not {self.init_from_pair!r}.")
            known = [name for name in OWN_FIELDS if name not in BACKBONES]
            reject_unknown("init_from_pair", self.init_from_pair, ("encoder", "decoder", *known))
            for part in ("encoder", "decoder"):
                _check_checkpoint(f"init_from_pair.{part}", self.init_from_pair.get(part))
            return
        if isinstance(self.tokenizer, dict):
            reject_unknown("tokenizer", self.tokenizer, ("vocab_size",))
            check_integer("tokenizer.vocab_size", self.tokenizer.get("vocab_size"), 257)
        elif self.tokenizer is None:
            raise RecipeError("tokenizer: give a folder, a Hub id or {vocab_size: …} (or init_from).")
        else:
            _check_checkpoint("tokenizer", self.tokenizer)
        reject_unknown("model", self.model, OWN_FIELDS)
        for part in BACKBONES:
            backbone = self.model.get(part)
            if not isinstance(backbone, dict):
                raise RecipeError(f"model.{part} must be keys and values with a model_type, not {backbone!r}.")
            model_type = backbone.get("model_type")
            if model_type in CONFIG_MAPPING:
                reject_unknown(f"model.{part}", backbone, _backbone_fields(CONFIG_MAPPING[model_type]))


@contextmanager
def in_stage(name):
    """Names the stage in errors; None for a recipe that has none."""
    try:
        yield
    except RecipeError as error:
        if name is None:
            raise
        raise RecipeError(f"stages: {name}: {error}") from error


def _is_share(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 1


def _pair_config(pair):
    """A [`C3Config`] of the fields that `init_from_pair` gives itself; placeholder ids depend on its two models."""
    given = {name: value for name, value in pair.items() if name in OWN_FIELDS and not name.endswith("_token_id")}
    try:
        return C3Config(**given)
    except ValueError as error:
        raise RecipeError(f"init_from_pair: {error}") from error


def _backbone_fields(config_class):
    known = set(inspect.signature(config_class.__init__).parameters) | set(config_class.__dataclass_fields__)
    return sorted((known | set(config_class.attribute_map) | INHERITED_FIELDS | ROPE_FIELDS) - {"self", "kwargs"})


def _check_checkpoint(where, name):
    """A folder, or what may be a Hub id."""
    if not isinstance(name, str) or not name:
        raise RecipeError(f"{where} must be a folder or a Hub id, not {name!r}.")
    if not Path(name).is_dir() and (name.startswith((".", "/", "~")) or name.count("/") > 1):
        raise FileNotFoundError(f"{where}: no such folder: {name}.")
