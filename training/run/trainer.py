"""C3Trainer: the Hugging Face `Trainer` with curriculum batches, free-running evaluation and safe checkpoints."""

import json
from functools import cached_property
from pathlib import Path

import torch
from accelerate.utils import send_to_device
from transformers import Trainer, TrainingArguments
from transformers.trainer_callback import ExportableState

from c3.training.checks import RecipeError
from c3.training.data.collator import C3Collator
from c3.training.devices.attention import without_cudnn_attention
from c3.training.devices.distributed import EngineCheck, all_finite, prepare_distributed
from c3.training.devices.sharding import check_deepspeed, check_fsdp, require_deepspeed
from c3.training.optim.optimizers import make_optimizer
from c3.training.recipe.recipe_changes import recipe_notes
from c3.whole_files_c3 import write_whole

from .checkpoints import COMPLETE, checkpoints, damage, mark_complete, remove_checkpoint
from .early_stopping import EarlyStopping
from .evaluation import shared_precision
from .full_disk import TrainingError, full_disk_explained, last_checkpoint_said
from .metrics_log import MetricsLog
from .resuming import batch_layout
from .step_tally import StepTally

STREAM = "stream.json"  # in a checkpoint: where streamed data were read up to


def training_arguments(recipe):
    """The recipe's `TrainingArguments`; `RecipeError` for values that transformers refuses."""
    # Batches differ in size, so accelerate cannot make up a missing one for the last process; none is missing.
    accelerator = (recipe.training.get("accelerator_config") or {}) | {"even_batches": False}
    options = {"use_cpu": not torch.accelerator.is_available()}
    # The trained model is to generate with a cache; Trainer would write into its config that it does not.
    options["use_cache"] = True
    # A loss that is no number ends the run (`step_tally.py`); Trainer would look for one in every step.
    options["logging_nan_inf_filter"] = False
    if recipe.evaluation:
        options |= {"metric_for_best_model": "precision", "greater_is_better": True}
    options |= recipe.training | {"accelerator_config": accelerator}
    try:
        require_deepspeed(options)
        prepare_distributed(options)
        return TrainingArguments(output_dir=recipe.output_dir, remove_unused_columns=False, **options)
    except (TypeError, ValueError, ImportError) as error:
        raise RecipeError(f"training: {error}") from error


class C3Trainer(Trainer):
    """
    Args:
        recipe ([`Recipe`]): of one stage.
        corpus ([`Corpus`]): its train data.
        **kwargs: as for `Trainer`; `eval_dataset` is a `list[str]` of texts.

    Raises:
        RecipeError: several GPUs for this one process.
    """

    def __init__(self, recipe, corpus, **kwargs):
        callbacks = [MetricsLog()]
        if recipe.early_stopping_patience is not None:
            callbacks.append(EarlyStopping(recipe.early_stopping_patience))
        super().__init__(callbacks=callbacks, **kwargs)
        if self.args.n_gpu > 1:
            # torch's DataParallel cuts a batch's tensors, and knows nothing of the windows in them.
            raise RecipeError(
                f"training: this process has {self.args.n_gpu} GPUs: start one for each (torchrun --nproc-per-node "
                f"{self.args.n_gpu} train_hf.py …), or let it see one (CUDA_VISIBLE_DEVICES=0)."
            )
        self.recipe, self.corpus = recipe, corpus
        self.add_callback(EngineCheck(self))
        # Old checkpoints are deleted here, once the new one is marked as whole.
        self.checkpoints_to_keep, self.args.save_total_limit = self.args.save_total_limit, None
        self.resumed_from = self.streamed = None
        self.tally = StepTally(self.args.device)

    def train(self, resume_from_checkpoint=None, **kwargs):
        """As in `Trainer`, with streamed data from where the checkpoint had read them up to."""
        self.resumed_from = resume_from_checkpoint
        if resume_from_checkpoint is not None:
            self.args.eval_on_start = False  # it was, and its place is in the log
        with without_cudnn_attention():
            trained = super().train(resume_from_checkpoint=resume_from_checkpoint, **kwargs)
        self._look_at_steps()
        return trained

    def get_train_dataloader(self):
        args = self.args
        state = None
        if self.corpus.streamed is not None and self.resumed_from is not None:
            state = json.loads((Path(self.resumed_from) / STREAM).read_text(encoding="utf-8"))
        model = self.model
        loader, is_shared_out = self.corpus.data_loader(
            args.max_steps * args.gradient_accumulation_steps * args.world_size,
            args.seed,
            C3Collator(self.corpus.processor, pack=model.takes_packed_windows),
            args.process_index,
            args.world_size,
            state,
            pin_memory=args.device.type == "cuda",
        )
        self.streamed = loader.dataset if is_shared_out else None
        # Batches go to the device below: accelerate's loader waits for each tensor, at least once a run was resumed.
        return loader if is_shared_out else self.accelerator.prepare_data_loader(loader, device_placement=False)

    def get_batch_samples(self, epoch_iterator, num_batches, device):
        """As in `Trainer`, with batches that are on the device."""
        return super().get_batch_samples(map(self.to_device, epoch_iterator), num_batches, device)

    def to_device(self, batch):
        """The inputs of a batch, `dict`, on the run's device; a GPU copies them when it comes to it, unwaited for."""
        device = self.args.device
        return send_to_device(batch, device, non_blocking=device.type == "cuda")

    def _prepare_input(self, data):
        # As they are: under DeepSpeed, `Trainer` would round positions, which are numbers like 300.5, to bfloat16.
        return data

    def _init_training_state(self, max_steps, *args, **kwargs):
        """
        As in `Trainer`, but of a checkpoint the recipe's intervals and callbacks count, not those it was written with,
        and the best one is looked for in the output folder, wherever that was before.
        """
        trained = super()._init_training_state(max_steps, *args, **kwargs)
        self.state.compute_steps(self.args, max_steps)
        for each in self.callback_handler.callbacks:
            if isinstance(each, ExportableState):
                self.state.stateful_callbacks.setdefault(type(each).__name__, each.state())
        if self.state.best_global_step:
            best = Path(self.args.output_dir) / f"checkpoint-{self.state.best_global_step}"
            if (best / COMPLETE).is_file():
                self.state.best_model_checkpoint = str(best)
            elif self.args.load_best_model_at_end:
                raise TrainingError(
                    f"The best model so far was {best}, which is not there: bring it back, or set "
                    "training.load_best_model_at_end: false to end with the last model."
                )
        return trained

    def _load_best_model(self):
        best = Path(self.state.best_model_checkpoint)
        if reason := damage(best):
            raise TrainingError(
                f"The best model so far, {best}, is damaged ({reason}): set training.load_best_model_at_end: false to "
                "end with the last model."
            )
        super()._load_best_model()

    def _run_epoch(self, *args, **kwargs):
        # A run that is started again after early stopping has ended it.
        if not self.control.should_training_stop:
            super()._run_epoch(*args, **kwargs)

    def create_optimizer(self, model=None):
        if self.optimizer is None:
            zero_stage = 0
            options = self.recipe.optimizer | {"learning_rates": self.recipe.learning_rates}
            try:
                # Once more, because accelerate launch may have made the settings from its own options.
                if self.is_deepspeed_enabled:
                    config = self.accelerator.state.deepspeed_plugin.deepspeed_config
                    check_deepspeed(config, self.recipe.optimizer, self.args.max_grad_norm, self.recipe.lora)
                    zero_stage = config.get("zero_optimization", {}).get("stage", 0)
                elif self.is_fsdp_enabled:
                    check_fsdp(self.recipe.optimizer)
                self.optimizer = make_optimizer(self.model, zero_stage=zero_stage, **options)
            except ValueError as error:
                raise RecipeError(str(error)) from error
        return self.optimizer

    def training_step(self, model, inputs, *args, **kwargs):
        """
        As in `Trainer`, but counts the tokens that were learned from and the padding, and a loss that is not finite
        ends the run; `Trainer` would log it as 0 and go on.
        """
        loss = super().training_step(model, inputs, *args, **kwargs)
        self.tally.add(self.state.global_step + 1, inputs, loss)
        if self.tally.is_full:
            self._look_at_steps()
        return loss

    def _look_at_steps(self):
        """Ends the run where a loss was not finite; every process must look."""
        before = self.tally.learned
        self.tally.look()
        self.state.num_input_tokens_seen += (self.tally.learned - before) * self.args.world_size
        if self.tally.bad_step is not None:
            said = "not finite in another process" if self.tally.bad_loss is None else self.tally.bad_loss
            self._give_up(f"The loss is {said} at step {self.tally.bad_step} of {self.args.max_steps}.")

    @cached_property
    def _flops_per_position(self):
        return 6 * self.model.num_parameters(exclude_embeddings=True)

    def floating_point_ops(self, inputs):
        """As in `Trainer`, which counts the parameters in every step."""
        return self._flops_per_position * inputs["input_ids"].numel()

    def log(self, logs, *args, **kwargs):
        """As in `Trainer`, with the share of this process's positions that were padding since the last time."""
        self._look_at_steps()
        if "loss" in logs and (padding := self.tally.padding()) is not None:
            logs["padding"] = padding
        super().log(logs, *args, **kwargs)

    def evaluate(self, eval_dataset=None, ignore_keys=None, metric_key_prefix="eval"):
        """Precision of text to latents to text, decoding greedily, at every ratio of the recipe, and their mean."""
        self.model.eval()
        # Decoding has a new shape at every step: compiling it would take longer than running it.
        with torch.compiler.set_stance("force_eager"), self.accelerator.autocast():
            precision = shared_precision(self.model, self.eval_dataset, self.recipe.evaluation["ratios"])
        self.model.train()
        metrics = {f"{metric_key_prefix}_precision_{ratio:g}x": value for ratio, value in precision.items()}
        metrics[f"{metric_key_prefix}_precision"] = sum(precision.values()) / len(precision)
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _save_checkpoint(self, model, trial, **kwargs):
        self._look_at_steps()
        if not all_finite(self.model, self.args.device):
            self._give_up(f"The weights are no longer finite numbers after step {self.state.global_step}.")
        folder = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
        with full_disk_explained(self.args.output_dir, partial=folder):
            super()._save_checkpoint(model, trial, **kwargs)
            if self.streamed is not None and self.args.should_save:
                self._save_stream(folder)
            # Whole only once every process has written its share.
            self.accelerator.wait_for_everyone()
            if self.args.should_save:
                *old, new = checkpoints(self.args.output_dir)
                mark_complete(new, batch_layout(self.args) | {"recipe": recipe_notes(self.recipe)})
        if self.args.should_save and self.checkpoints_to_keep:
            for each in old[: max(0, len(old) + 1 - self.checkpoints_to_keep)]:
                # Not by the whole path: transformers writes `./runs` where pathlib writes `runs`.
                if each.name != Path(self.state.best_model_checkpoint or "").name:
                    remove_checkpoint(each)

    def _save_stream(self, folder):
        args = self.args
        state = self.streamed.state(self.state.global_step * args.gradient_accumulation_steps * args.world_size)
        write_whole(folder / STREAM, json.dumps(state))

    def _give_up(self, reason):
        whence = last_checkpoint_said(self.args.output_dir)
        # In another folder, because a checkpoint brings its learning rate along.
        raise TrainingError(f"{reason} {whence}. Start again in a new output_dir with a lower learning rate.")
