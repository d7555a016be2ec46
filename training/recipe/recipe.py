"""Training recipes: one experiment each, checked before anything is loaded."""

from dataclasses import dataclass, field, replace
from pathlib import Path

from c3.context_modalities_c3 import context_modality
from c3.training.checks import RecipeError
from c3.training.data.objectives import OBJECTIVES
from c3.training.devices.distributed import TIED_UNDER_FSDP
from c3.training.devices.sharding import check_sharding
from c3.training.optim.lora import LoraSettings
from c3.training.optim.parts import MODEL_PARTS
from c3.training.publish.hub_settings import HubSettings

from .data_keys import check_data
from .evaluation_keys import check_evaluation
from .optimizer_keys import check_optimizer, check_parts
from .origin_keys import check_origin, new_config, pair_config
from .plain_keys import check_plain_keys
from .stage_keys import check_stages, in_stage, stage_values
from .training_keys import check_training


@dataclass
class Recipe:
    """
    One experiment.

    Args:
        output_dir (`str`): checkpoints, logs, figures and at the end the model; `~` is the home folder.
        train_data, validation_data (`list[DataSource]`): texts; a path, or `{path, column, split, config, weight,
            streaming, keep}`, or a list of them, see `training/data/documents.py`; of train data also `{generate,
            characters, seed, weight}`, see `training/data/sources.py`.
        crlf_documents (`float`): share of the train documents whose lines are made to end with `\\r\\n`, the same
            documents in every run.
        instruction_data (`list[DataSource]`): rows of `context` and `messages`, see `training/data/instructions.py`.
        init_from (`str`, *optional*): a C3 checkpoint to go on from.
        init_config (`dict`): fields of `C3Config` that the model is to have instead of that checkpoint's own, such as
            another `prompt_template` or `ratio_range` (`INIT_FIELDS` in `origin_keys.py`).
        init_from_pair (`dict`, *optional*): `encoder` and `decoder`, causal language models (folders or Hub ids) to
            start from, and fields of `C3Config`.
        model (`dict`): keywords of `C3Config` for a model from scratch, `encoder_config` and `decoder_config` as dicts
            with `model_type`. One of these three says where the model comes from.
        tokenizer (`str` or `dict`): with `model`, a folder or Hub id, or `{vocab_size: …}` to train a byte-level BPE on
            the train data.
        dtype (`str`): of the weights while training: float32, bfloat16 or float16. (`training.bf16` computes in
            bfloat16 over float32 weights; `auto` does so where the device has instructions for it.)
        objectives (`dict[str, float]`): weights of `OBJECTIVES` (`training/data/objectives.py`); each batch has one. A
            model that was trained on reconstruction alone, in all of its stages, says so in its config
            (`reconstruction_only`), and refuses other prompts.
        continuation_length (`int`): tokens that are continued after a compressed prefix, at most.
        max_target_length (`int`): tokens of a conversation over a compressed context, at most.
        max_context_length (`int`, *optional*): tokens of that context, at most; by default `tokens_per_batch`, since a
            longer one makes a larger batch by itself. Rows above these two are left out and named in the log.
        trainable (`list[str]`): parts that are trained: encoder, queries, projector, decoder.
        learning_rates (`dict[str, float]`): of single parts, instead of `optimizer.lr`.
        lora ([`LoraSettings`], *optional*): adapters instead of whole backbones, see `training/optim/lora.py`.
        stages (`list[dict]`): stages that follow one another, each with a `name` and its own values of `STAGE_KEYS`
            (`stage_keys.py`); `optimizer` and `training` are merged with the recipe's.
        curriculum (`list[Phase]`): window lengths and ratios over the run, see `training/data/curriculum.py`.
        tokens_per_batch (`int`): text tokens in a micro-batch.
        dropout_windows (`float`): share of the windows with decoder-input dropout; needs `model.use_mask_embedding`.
        dropout_halved_above (`float`, *optional*): half of that share where a latent stands for more tokens than this.
        random_windows (`float`): share of the windows, at low ratios, in which tokens are replaced by random ones.
        optimizer (`dict`): `name` (muon or adamw) and keywords of it, see `training/optim/optimizers.py`.
        torch_compile (`bool`): compile the layers of the two backbones, with dynamic shapes.
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
    init_config: dict = field(default_factory=dict)
    init_from_pair: dict | None = None
    model: dict = field(default_factory=dict)
    tokenizer: str | dict | None = None
    dtype: str = "float32"
    objectives: dict = field(default_factory=lambda: {"reconstruction": 1.0})
    continuation_length: int = 64
    max_target_length: int = 1024
    max_context_length: int | None = None
    trainable: list = field(default_factory=lambda: list(MODEL_PARTS))
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
        check_plain_keys(self)
        check_origin(self)
        if self.stages:
            check_stages(self)
            self.stage_recipes()  # checks the values of each
            return
        check_data(self)
        check_parts(self)
        check_optimizer(self)
        self._check_training()
        check_evaluation(self)
        if self.model:
            # A stand-in for the vocabulary of a tokenizer that is not loaded yet.
            vocab_size = self.tokenizer["vocab_size"] if isinstance(self.tokenizer, dict) else 257
            self.check_model(self.model_config(vocab_size))
        elif self.init_from_pair:
            self.check_model(pair_config(self.init_from_pair))

    @property
    def longest_window(self):
        """Tokens of the curriculum's longest window."""
        return max(length for phase in self.curriculum for length in phase.windows)

    @property
    def longest_text(self):
        """Tokens of the longest row of text: windows, or several of them in chunks."""
        return max(phase.longest_text for phase in self.curriculum)

    @property
    def streams(self):
        """Whether the train data are read while training."""
        return any(source.streaming for source in self.train_data)

    @property
    def reconstruction_only(self):
        """Whether what is trained here is to give texts back and nothing else, which `C3Config` has a field for."""
        return all(OBJECTIVES[name].reconstruction_only for name in self.text_objectives + self.row_objectives)

    @property
    def text_objectives(self):
        """Those of its objectives that are trained on documents, `list[str]`."""
        return [name for name, each in OBJECTIVES.items() if each.on_documents and self.objectives.get(name)]

    @property
    def row_objectives(self):
        """Those of its objectives that are trained on rows of their own, `list[str]`."""
        return [name for name, each in OBJECTIVES.items() if not each.on_documents and self.objectives.get(name)]

    @property
    def conversation_limits(self):
        """Tokens of a conversation and of its context, at most, `tuple[int, int]`."""
        return self.max_target_length, self.max_context_length or self.tokens_per_batch

    def stage_recipes(self):
        """`list[Recipe]`: one for each stage, in a folder of its own; a recipe without stages is its only one."""
        return [self._stage(number) for number in range(len(self.stages))] or [self]

    def _stage(self, number):
        stage = self.stages[number]
        folder = Path(self.output_dir) / f"{number + 1}-{stage['name']}"
        with in_stage(stage["name"]):
            return replace(self, stages=[], output_dir=str(folder), **stage_values(self, stage))

    def model_config(self, vocab_size, **special_tokens):
        """The [`C3Config`] of a new model for a tokenizer of `vocab_size` with these `bos_token_id` and so on."""
        fields = {"reconstruction_only": self.reconstruction_only} | self.model
        return new_config(fields, {"vocab_size": vocab_size} | special_tokens)

    def check_stages(self, config):
        """As `check_model`, for every stage of a run that starts with a model of this [`C3Config`]."""
        for stage, recipe in zip(self.stages or [{"name": None}], self.stage_recipes(), strict=True):
            with in_stage(stage["name"]):
                recipe.check_model(config)

    def check_model(self, config):
        """
        Raises `RecipeError` unless a model of this [`C3Config`] can take the curriculum and the evaluation, and what
        its encoder reads with is there.
        """
        try:
            context_modality(config.context_modality).check_ready(config)
        except (ImportError, ValueError) as error:
            raise RecipeError(str(error)) from error
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
                raise RecipeError(
                    f"trainable, learning_rates: a model with pooling: {config.pooling} has no queries to train."
                )
        if config.latent_position_layout == "appended":
            wanted = [phase.most_latents for phase in self.curriculum]
            if self.evaluation:
                wanted.append(min(self.evaluation["window"], config.window) / min(self.evaluation["ratios"]))
            if round(max(wanted)) > config.num_latents:
                raise RecipeError(
                    f"curriculum, evaluation: the lowest ratio asks for {round(max(wanted))} latents, but with the "
                    f"appended layout there are at most num_latents, {config.num_latents}."
                )

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
            check_sharding(self.training, self.optimizer, self.lora)
        except ValueError as error:
            raise RecipeError(str(error)) from error
