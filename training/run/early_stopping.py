"""Early stopping that a kill does not reset."""

from transformers import EarlyStoppingCallback


class EarlyStopping(EarlyStoppingCallback):
    """
    As transformers' own, but a resumed run counts on from the evaluations before: from the log, which every checkpoint
    holds, so that the recipe's patience may be another one by then. (The state that `Trainer` could restore brings the
    old patience along.) A run that had been stopped stays so.
    """

    def on_train_begin(self, args, state, control, **kwargs):
        super().on_train_begin(args, state, control, **kwargs)
        name = f"eval_{args.metric_for_best_model.removeprefix('eval_')}"
        # What `training.eval_on_start` measures is not compared with.
        values = [entry[name] for entry in state.log_history if name in entry and entry["step"]]
        if values:
            best = max(values) if args.greater_is_better else min(values)
            self.early_stopping_patience_counter = len(values) - 1 - values.index(best)
        if self.early_stopping_patience_counter >= self.early_stopping_patience:
            control.should_training_stop = True
