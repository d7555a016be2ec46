"""
Training in two processes over gloo against one process, in small real runs. Run: pytest -m distributed

The reference is one process that accumulates over two micro-batches, the same two that two processes share.
"""

import json
import shutil
import socket
import subprocess
import sys
import textwrap

import pytest
import torch
import yaml
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from c3.training.data.tokenizer import train_tokenizer
from c3.training.run.checkpoints import layout_of, mark_complete
from distributed_runs import ADAMW, CONFIGS, MODES, ROOT, TRAIN, WORKER, environment_of, python, torchrun, zero
from tiny_models import TEXTS, history, tiny_backbone, write_training_folder

pytestmark = pytest.mark.distributed

STEPS = 10
# Of fp32 sums taken in another order.
TOLERANCE = 2e-6


def accelerate(*options):
    def launcher(*script):
        command = [sys.executable, "-m", "accelerate.commands.launch", *options, "--num_processes", "2"]
        return [*command, "--main_process_port", str(free_port()), *script]

    return launcher


def deepspeed(*script):
    command = [sys.executable, "-m", "deepspeed.launcher.runner", "--num_gpus", "2"]
    return [*command, "--master_port", str(free_port()), *script]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("distributed")
    write_training_folder(folder, STEPS)
    values = yaml.safe_load((folder / "recipe.yaml").read_text())
    values["training"] |= {"save_steps": 5, "eval_steps": 10}
    # Three texts for two processes. A table that both backbones share is beyond FSDP; one of the decoder's is not.
    values["evaluation"]["windows"] = 3
    values["model"]["tie_word_embeddings"] = False
    values["model"]["decoder_config"]["tie_word_embeddings"] = True
    (folder / "recipe.yaml").write_text(yaml.safe_dump(values))
    return folder


@pytest.fixture(scope="module")
def environment(folder):
    return environment_of(folder)


@pytest.fixture(scope="module")
def start(folder, environment):
    """`start(name, launcher, script, *overrides)` runs to the end; its output folder, once for each name."""
    finished = {}

    def start(name, launcher, script, *overrides, recipe="recipe.yaml"):
        if name not in finished:
            output = folder / name
            command = launcher(*script, folder / recipe, f"output_dir={output}", *overrides)
            run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=180)
            assert run.returncode == 0, run.stderr[-6000:]
            finished[name] = output
        return finished[name]

    return start


@pytest.fixture(scope="module")
def reference(start):
    return start("reference", python, [TRAIN], ADAMW, "training.gradient_accumulation_steps=2")


@pytest.fixture
def fails(folder, environment):
    """`fails(launcher, script, *overrides, **variables)`: the messages of a run that must not go well."""

    def fails(launcher, script, *overrides, **variables):
        command = launcher(*script, folder / "recipe.yaml", f"output_dir={folder / 'failing'}", *overrides)
        run = subprocess.run(command, env=environment | variables, capture_output=True, text=True, timeout=120)
        assert run.returncode != 0
        return run.stderr

    return fails


def assert_same_trace(output, reference, tolerance=TOLERANCE, keys=("loss", "grad_norm")):
    for key in (*keys, "learning_rate"):
        assert history(output, key) == pytest.approx(history(reference, key), rel=tolerance, abs=tolerance), key
    for key in ("eval_precision_2x", "eval_precision_4x"):
        assert history(output, key) == pytest.approx(history(reference, key)), key
    assert len(history(output, "loss")) in (5, STEPS)


def test_the_reference_learns(reference):
    losses = history(reference, "loss")
    assert list(losses) == list(range(1, STEPS + 1))
    assert losses[STEPS] < losses[1] - 0.3


@pytest.mark.parametrize("mode", MODES)
def test_same_trace_as_one_process(mode, start, reference):
    script, overrides = MODES[mode]
    assert_same_trace(start(mode, torchrun, script, ADAMW, *overrides), reference)


@pytest.mark.parametrize("mode", MODES)
def test_resumed_run_continues_the_trace(mode, start, reference, folder):
    script, overrides = MODES[mode]
    before = start(mode, torchrun, script, ADAMW, *overrides)
    resumed = folder / f"{mode}-resumed"
    shutil.copytree(before, resumed, ignore=shutil.ignore_patterns("checkpoint-10", "final", "log_history.json"))
    state = json.loads((resumed / "checkpoint-5" / "trainer_state.json").read_text())
    state["log_history"].append({"step": 5, "resumed": True})
    (resumed / "checkpoint-5" / "trainer_state.json").write_text(json.dumps(state))
    mark_complete(resumed / "checkpoint-5", layout_of(resumed / "checkpoint-5"))
    assert start(f"{mode}-resumed", torchrun, script, ADAMW, *overrides) == resumed
    assert history(resumed, "resumed") == {5: True}
    assert_same_trace(resumed, reference)


@pytest.mark.parametrize("mode", MODES)
def test_the_finished_model_holds_the_last_weights(mode, start, reference):
    script, overrides = MODES[mode]
    output = start(mode, torchrun, script, ADAMW, *overrides)
    last, expected = (load_file(each / "checkpoint-10" / "model.safetensors") for each in (output, reference))
    final = load_file(output / "final" / "model.safetensors")
    # Checkpoints under ZeRO and FSDP may write a tied table twice.
    assert set(final) == set(expected) <= set(last)
    for name, weight in expected.items():
        assert torch.allclose(last[name], weight, atol=1e-5), name
        assert torch.equal(final[name], last[name].to(torch.bfloat16)), name


LOAD = """
import sys, torch
from transformers import AutoModel

latents = {}
for folder in sys.argv[3:]:
    model = AutoModel.from_pretrained(folder, trust_remote_code=True, dtype=torch.float32)
    assert type(model).__module__.startswith("transformers_modules."), type(model)
    latents[folder] = model.compress(sys.argv[2], ratio=4).values
torch.save(latents, sys.argv[1])
"""


def test_the_finished_models_load_plainly_with_the_same_latents(start, reference, folder, environment):
    outputs = [reference]
    outputs += [start(mode, torchrun, script, ADAMW, *overrides) for mode, (script, overrides) in MODES.items()]
    finals = [str(each / "final") for each in outputs]
    variables = {name: value for name, value in environment.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-c", LOAD, folder / "latents.pt", TEXTS[0], *finals]
    subprocess.run(command, env=variables, cwd=folder, check=True, timeout=120)
    latents = torch.load(folder / "latents.pt")
    expected = latents[finals[0]]
    assert expected.shape[0] > 5 and expected.std() > 0.01
    for final in finals[1:]:
        # A weight in a thousand may have been rounded the other way.
        assert torch.allclose(latents[final], expected, atol=0.01 * expected.abs().max().item()), final


@pytest.mark.parametrize("name", ["zero2_offload", "zero3_offload"])
def test_offload_has_the_same_trace(name, start, reference):
    assert_same_trace(start(name, torchrun, [TRAIN], ADAMW, zero(name)), reference)


def test_deepspeed_in_a_single_process_without_a_launcher(start, reference):
    overrides = [ADAMW, "training.gradient_accumulation_steps=2", zero("zero3")]
    assert_same_trace(start("alone", python, [TRAIN], *overrides), reference)


LAUNCHERS = {
    "accelerate": (accelerate("--multi_gpu"), []),
    "accelerate-deepspeed": (accelerate("--use_deepspeed", "--deepspeed_config_file", str(CONFIGS / "zero2.json")), []),
    "deepspeed": (deepspeed, [zero("zero2")]),
}


@pytest.mark.parametrize("name", LAUNCHERS)
def test_other_launchers_have_the_same_trace(name, start, reference):
    launcher, overrides = LAUNCHERS[name]
    assert_same_trace(start(name, launcher, [TRAIN], ADAMW, *overrides), reference)


@pytest.mark.parametrize("name", ["zero2", "zero3_muon"])
def test_muon_has_the_trace_of_our_own(name, start, reference):
    """Newton-Schulz iterates in bfloat16; gradient norms are left out, as DeepSpeed's are those of Muon's updates."""
    alone = start("muon", python, [TRAIN], "training.max_grad_norm=0", "training.gradient_accumulation_steps=2")
    output = start(f"muon-{name}", torchrun, [TRAIN], "training.max_grad_norm=0", zero(name))
    assert_same_trace(output, alone, tolerance=1e-4, keys=("loss",))
    assert history(output, "loss") != pytest.approx(history(reference, "loss"), rel=1e-3)


STAGES = """stages=[
    {name: first, trainable: [encoder, queries, projector], training: {max_steps: 5}},
    {name: second, training: {max_steps: 5}}]"""


@pytest.mark.parametrize("mode", ["ddp", "zero2", "zero3"])
def test_two_stages_in_the_same_processes(mode, start):
    script = [WORKER, "two_stages"]
    alone = start("stages", python, script, ADAMW, STAGES, "training.gradient_accumulation_steps=2")
    output = start(f"stages-{mode}", torchrun, script, ADAMW, STAGES, *MODES[mode][1])
    for stage in ("1-first", "2-second"):
        assert_same_trace(output / stage, alone / stage)
    # Frozen in the first stage and trained in the second.
    name = "decoder.model.layers.0.mlp.up_proj.weight"
    first, second = (
        load_file(output / each / "checkpoint-5" / "model.safetensors")[name] for each in ("1-first", "2-second")
    )
    assert torch.equal(first, load_file(output / "1-first" / "finished" / "model.safetensors")[name])
    assert not torch.equal(first, second)
    # Bytes of tensors that outlive the first stage: nothing as large as a weight.
    assert all(json.loads((output / f"left-{rank}.json").read_text()) < 1024 for rank in (0, 1))


def test_a_pair_of_backbones_under_zero3(start, folder):
    tokenizer = train_tokenizer(TEXTS * 4, vocab_size=300)
    pair = {"num_latents": 8, "window": 32, "latent_position_layout": "uniform", "use_mask_embedding": True}
    for name, kind, width in (("encoder", "qwen2", 32), ("decoder", "qwen3", 48)):
        torch.manual_seed(width)
        AutoModelForCausalLM.from_config(tiny_backbone(kind, len(tokenizer), width)).save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
        pair[name] = str(folder / name)
    options = [ADAMW, "model={}", "tokenizer=null", f"init_from_pair={json.dumps(pair)}"]
    alone = start("pair", python, [TRAIN], *options, "training.gradient_accumulation_steps=2")
    assert_same_trace(start("pair-zero3", torchrun, [TRAIN], *options, zero("zero3")), alone)


@pytest.fixture(scope="module")
def flagship(folder):
    """
    `configs/c3_paper.yaml` but for its sizes, with the objectives of `configs/c3_apache.yaml`: two models with a
    tokenizer each, weighted streams, numbers of latents, bfloat16, gradient checkpointing and ZeRO-2.
    """
    values = yaml.safe_load((ROOT / "configs" / "c3_paper.yaml").read_text())
    values["init_from_pair"] |= {"num_latents": 8, "window": 32}
    for part, kind, width, texts in (("encoder", "qwen2", 32, TEXTS), ("decoder", "qwen3", 48, TEXTS[::-1])):
        tokenizer = train_tokenizer(texts * 4, vocab_size=260 + width)
        torch.manual_seed(width)
        model = AutoModelForCausalLM.from_config(tiny_backbone(kind, len(tokenizer), width))
        for each in (model, tokenizer):
            each.save_pretrained(folder / f"flagship-{part}")
        values["init_from_pair"][part] = str(folder / f"flagship-{part}")
    for source, name in zip(values["train_data"], ("train", "validation"), strict=True):
        source["path"] = str(folder / f"{name}.jsonl")
        del source["config"]
    values["curriculum"] = [{"until": 1.0, "windows": [32], "num_latents": [2, 4, 8]}]
    values["objectives"] = {"reconstruction": 0.7, "continuation": 0.3}
    values |= {"continuation_length": 8, "tokens_per_batch": 128}
    values["optimizer"]["lr"] = 0.003
    values["training"] |= {"max_steps": 5, "gradient_accumulation_steps": 2, "warmup_steps": 1, "save_steps": 2}
    values["training"] |= {"logging_steps": 1, "use_cpu": True, "disable_tqdm": True}
    values["training"]["deepspeed"] = str(ROOT / values["training"]["deepspeed"])
    (folder / "flagship.yaml").write_text(yaml.safe_dump(values))
    return "flagship.yaml"


def test_the_flagship_goes_on_after_a_kill(flagship, start, folder, environment):
    """Both processes die in the fourth step; started again they go on to the very numbers of an uninterrupted run."""
    straight = start("flagship", torchrun, [TRAIN], recipe=flagship)
    killed = folder / "flagship-killed"
    command = torchrun(WORKER, "killed", folder / flagship, f"output_dir={killed}")
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=180)
    assert run.returncode != 0 and "SIGKILL" in run.stderr, run.stderr[-6000:]
    assert [each.name for each in killed.glob("checkpoint-*")] == ["checkpoint-2"]
    assert start("flagship-killed", torchrun, [TRAIN], recipe=flagship) == killed
    for key in ("loss", "grad_norm", "learning_rate"):
        assert history(killed, key) == history(straight, key) and len(history(straight, key)) == 5
    ours, theirs = (load_file(each / "final" / "model.safetensors") for each in (killed, straight))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert history(straight)[5] < history(straight)[1]
    # In one process: bfloat16 rounds sums in another order.
    alone = start("flagship-alone", python, [TRAIN], "training.gradient_accumulation_steps=4", recipe=flagship)
    assert_same_trace(straight, alone, tolerance=1e-3)


LORA = "lora={r: 4, target_modules: [q_proj, v_proj], train_norms: true}"


@pytest.mark.parametrize("name", ["zero2", "zero3"])
def test_adapters_have_the_same_trace(name, start):
    alone = start("lora", python, [TRAIN], ADAMW, LORA, "training.gradient_accumulation_steps=2")
    output = start(f"lora-{name}", torchrun, [TRAIN], ADAMW, LORA, zero(name))
    assert_same_trace(output, alone)
    ours, theirs = (load_file(each / "final" / "adapter_model.safetensors") for each in (output, alone))
    assert set(ours) == set(theirs)
    assert all(torch.allclose(ours[key], theirs[key], atol=1e-5) for key in theirs)


def test_copies_that_are_not_connected_do_not_train(fails):
    """Without a GPU, and without use_cpu, accelerate takes each of the two processes for the only one."""
    errors = fails(torchrun, [TRAIN], "training.use_cpu=false", CUDA_VISIBLE_DEVICES="")
    assert "the launcher counts 2, torch.distributed counts 2, accelerate counts 1" in errors
    assert "on CPUs set training.use_cpu: true" in errors


def test_a_launcher_that_does_not_connect_is_noticed(fails):
    errors = fails(python, [TRAIN], SLURM_STEP_NUM_TASKS="2")
    assert "the launcher counts 2, torch.distributed counts 1, accelerate counts 1" in errors


def test_accelerate_on_cpus_starts_one_process_only(fails):
    errors = fails(accelerate("--cpu"), [TRAIN])
    assert "accelerate launch starts only one process on CPUs without MPI" in errors


def test_a_second_run_in_the_folder_does_not_train(fails, folder, environment):
    """Two copies that both take themselves for the only process."""
    holder = textwrap.dedent("""
        import sys
        from c3.training.run.run_lock import run_lock

        with run_lock(sys.argv[1]):
            print("held", flush=True)
            sys.stdin.read()
    """)
    command = [sys.executable, "-c", holder, folder / "failing"]
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as first:
        assert first.stdout.readline() == b"held\n"
        assert f"Another process trains in {folder / 'failing'}: choose another output_dir" in fails(python, [TRAIN])
        first.kill()
    assert not list((folder / "failing").glob("checkpoint-*"))


def test_other_recipes_in_the_processes_are_noticed(fails):
    assert "The recipes of the processes [1] are not those of process 0" in fails(torchrun, [WORKER, "other_recipe"])


def test_other_weights_in_the_processes_are_noticed(fails):
    errors = fails(torchrun, [WORKER, "other_weights"], "training.save_strategy=no")
    assert "The weights of the processes [1] are not those of process 0" in errors


def test_a_bad_loss_in_one_process_ends_all(fails):
    errors = fails(torchrun, [WORKER, "nan_on_one_rank"], "training.save_strategy=no", "training.eval_strategy=no")
    assert "The loss is not finite in another process at step 3" in errors or "The loss is nan at step 3" in errors


def test_fsdp_on_cpus_is_refused(fails):
    errors = fails(torchrun, [TRAIN], ADAMW, "training.fsdp=true", "training.save_strategy=no")
    assert "training.fsdp was asked for, but accelerate made MULTI_CPU" in errors


def test_fsdp_with_a_shared_table_is_refused(fails):
    errors = fails(torchrun, [WORKER, "fsdp"], ADAMW, "training.fsdp=true", "model.tie_word_embeddings=true")
    assert "encoder and decoder share one embedding table" in errors
