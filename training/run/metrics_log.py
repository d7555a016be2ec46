"""metrics.jsonl: every logged value of a run, one JSON object per line."""

import json
import time
from pathlib import Path

from transformers import TrainerCallback

from c3.whole_files_c3 import write_whole


class MetricsLog(TrainerCallback):
    """
    Writes what `Trainer` logs to `metrics.jsonl` in the output folder, and adds `num_input_tokens_seen`
    (labels, of all processes) and `seconds`, both up to there and of all starts together.

    When a run is resumed the lines after the checkpoint are dropped first: those steps come again.
    """

    name = "metrics.jsonl"

    def on_train_begin(self, args, state, control, **kwargs):
        self.started = time.monotonic() - max((entry.get("seconds", 0) for entry in state.log_history), default=0)
        if state.is_world_process_zero:
            path = Path(args.output_dir) / self.name
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, "".join(map(_line, state.log_history)))

    def on_log(self, args, state, control, logs=None, **kwargs):
        state.log_history[-1]["num_input_tokens_seen"] = state.num_input_tokens_seen
        state.log_history[-1]["seconds"] = round(time.monotonic() - self.started, 1)
        if state.is_world_process_zero:
            with (Path(args.output_dir) / self.name).open("a", encoding="utf-8") as file:
                file.write(_line(state.log_history[-1]))


def _line(entry):
    return json.dumps(entry) + "\n"
