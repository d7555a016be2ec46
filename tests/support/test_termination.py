"""SIGTERM ends our commands with the status 143, and what was half written is gone."""

import os
import runpy
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from c3.support.termination import cleaned_up_when_terminated
from c3.training.run.checkpoints import COMPLETE, checkpoints
from c3.whole_files_c3 import whole_file

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs SIGTERM")


def test_a_process_that_compresses(checkpoint, tmp_path):
    (tmp_path / "text.txt").write_text("It was the best of times. " * 1000)
    command = [sys.executable, "-m", "c3", "compress", "text.txt", "--model", str(checkpoint), "--batch-size", "1"]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE)
    while not any(each.stat().st_size for each in tmp_path.glob(".*.tmp")):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)
    process.terminate()
    assert process.wait(60) == 143 and b"Traceback" not in process.stderr.read()
    assert os.listdir(tmp_path) == ["text.txt"]


def test_training_while_it_writes_a_checkpoint(training_folder, monkeypatch):
    """It is not left half written, and the one before it is kept."""
    from transformers import Trainer

    save, output = Trainer._save_optimizer_and_scheduler, training_folder / "terminated"

    def terminated(trainer, folder):
        if trainer.state.global_step == 4:
            signal.raise_signal(signal.SIGTERM)
        save(trainer, folder)

    monkeypatch.setattr(Trainer, "_save_optimizer_and_scheduler", terminated)
    monkeypatch.setattr(sys, "argv", ["train_hf.py", str(training_folder / "recipe.yaml"), f"output_dir={output}"])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(ROOT / "train_hf.py"), run_name="__main__")
    assert end.value.code == 143
    assert [each.name for each in checkpoints(output)] == ["checkpoint-2"]
    assert (output / "checkpoint-2" / COMPLETE).is_file()
    assert not list(output.rglob("*.tmp"))


def test_another_handler_and_other_threads_are_left_alone():
    with cleaned_up_when_terminated():
        ours = signal.getsignal(signal.SIGTERM)
        with cleaned_up_when_terminated():
            assert signal.getsignal(signal.SIGTERM) is ours is not signal.SIG_DFL
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    found = []

    @cleaned_up_when_terminated()
    def elsewhere():
        found.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert found == [signal.SIG_DFL]


def test_a_forked_worker_ends_as_before(tmp_path):
    """Its copies of what is to be cleaned up are the parent's."""
    with cleaned_up_when_terminated(), whole_file(tmp_path / "file"):
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            os.write(writing, b".")
            time.sleep(60)
            os._exit(0)
        os.read(reading, 1)  # Python forgets signals that come before a child has begun
        os.kill(child, signal.SIGTERM)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGTERM
        assert len(os.listdir(tmp_path)) == 1
    assert os.listdir(tmp_path) == ["file"]
