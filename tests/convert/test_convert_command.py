"""`c3 convert`: what it writes, and one line for sources and outputs that will not do."""

import shutil
import signal

import pytest
import torch
from huggingface_hub.errors import OfflineModeIsEnabled
from safetensors.torch import save_file

from authors_layout_models import edit_json, equal, random_model, tensors
from c3.cli.main import main
from c3.convert import checkpoint_folder, from_authors
from c3.convert import tensor_files as tensor_files_c3
from c3.convert.from_authors import convert_from_authors
from c3.convert.to_authors import convert_to_authors
from fresh_processes import RUN_C3, run_fresh


@pytest.fixture
def run(capsys):
    def call(*argv):
        code = main(["convert", *map(str, argv)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def test_command(run, theirs, converted, tmp_path):
    code, out, err = run(theirs, tmp_path / "ours")
    assert (code, err) == (0, "") and out.startswith(f"{tmp_path / 'ours'}: ") and out.count("\n") == 1
    assert equal(tensors(tmp_path / "ours"), tensors(converted))
    code, out, err = run(tmp_path / "ours", tmp_path / "theirs", "--to-authors")
    assert (code, err) == (0, "") and "modeling_C3.py" in out
    for part in ("", "llm1"):
        assert equal(tensors(tmp_path / "theirs" / part), tensors(theirs / part))
    assert (tmp_path / "theirs/qwen.tiktoken").read_bytes() == (theirs / "qwen.tiktoken").read_bytes()
    assert not list(tmp_path.glob("*.tmp"))


def test_command_asks_nothing(converted, tmp_path):
    """In a process of its own, in which nothing else has made transformers know C3."""
    result = run_fresh(RUN_C3, "convert", converted, tmp_path / "theirs", "--to-authors")
    assert (result.returncode, result.stderr) == (0, "")
    assert [line.split(":")[0] for line in result.stdout.splitlines()] == [
        str(tmp_path / "theirs"),
        "The authors' code is not part of it",
    ]


def rewrite(folder, change):
    weights = tensors(folder)
    for file in folder.glob("model*.safetensors*"):
        file.unlink()
    change(weights)
    save_file(weights, folder / "model.safetensors")


def no_encoder(folder):
    shutil.rmtree(folder / "llm1")


def truncate(folder):
    file = sorted(folder.glob("model-*.safetensors"))[1]
    file.write_bytes(file.read_bytes()[:-100])


DAMAGES = {
    "no llm1": (no_encoder, "no llm1/config.json"),
    "no encoder weights": (
        lambda f: [each.unlink() for each in (f / "llm1").glob("model*")],
        "llm1 holds neither model.safetensors nor model.safetensors.index.json",
    ),
    "other N": (lambda f: edit_json(f / "config.json", latent_token_len=7), "latent_token_len 7, .* holds 6 queries"),
    "no N": (lambda f: edit_json(f / "config.json", latent_token_len=None), "must hold .* latent_token_len"),
    "other width": (
        lambda f: edit_json(f / "config.json", contexts_compression_llm_hidden_size=32),
        "contexts_compression_llm_hidden_size 32, but the encoder in llm1 is 24 wide",
    ),
    "other sizes": (
        lambda f: edit_json(f / "config.json", intermediate_size=64),
        r"mlp.* is \[.*\], but config.json asks for",
    ),
    "other encoder": (
        lambda f: edit_json(f / "llm1/config.json", model_type="qwen3"),
        "encoder in llm1 is a 'qwen3' model",
    ),
    "no Qwen2": (
        lambda f: edit_json(f / "config.json", vocab_size="many"),
        "config.json of the root folder is not that of a Qwen2: .*vocab_size",
    ),
    "no such activation": (
        lambda f: edit_json(f / "llm1/config.json", hidden_act="none"),
        "No model can be made of config.json: KeyError 'none'",
    ),
    "no safetensors": (
        lambda f: [each.rename(each.with_suffix(".bin")) for each in f.glob("model*")],
        "weights in pytorch_model.bin must be saved as safetensors first",
    ),
    "other model": (lambda f: edit_json(f / "config.json", model_type="qwen2"), "is a 'qwen2' model"),
    "placeholder beyond": (
        lambda f: edit_json(f / "config.json", im_patch_token=9999),
        "im_patch_token is 9999, outside the encoder's vocabulary",
    ),
    "unknown tensor": (
        lambda f: rewrite(f, lambda w: w.update(extra=torch.zeros(1))),
        "Unknown tensor 'extra' in the root",
    ),
    "unknown tensor of a layer": (
        lambda f: rewrite(f / "llm1", lambda w: w.update({"model.layers.9.x": torch.zeros(1)})),
        "unknown tensors, 1 in all, first 'model.layers.9.x'",
    ),
    "missing tensor": (
        lambda f: rewrite(f / "llm1", lambda w: w.pop("model.norm.weight")),
        "lacks tensors, 1 in all, first 'llm1/model.norm.weight'",
    ),
    "integers": (
        lambda f: rewrite(f, lambda w: w.update({"model.Q.weight": torch.zeros(6, 24, dtype=torch.int8)})),
        "'model.Q.weight' in .* is 'I8': only",
    ),
    "missing shard": (lambda f: sorted(f.glob("model-*"))[1].unlink(), "lacks 'model-00002-of-.*download it again"),
    "damaged shard": (truncate, "is damaged, or not a safetensors file"),
    "no tokens": (lambda f: (f / "qwen.tiktoken").write_bytes(b"IQ== 0\n"), "must hold <|im_end|> and the tokens"),
    "no ranks": (lambda f: (f / "qwen.tiktoken").write_bytes(b"not ranks\n"), "is not a tokenizer that can be read"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_sources(damage, run, theirs, copy_of, tmp_path):
    change, message = DAMAGES[damage]
    source = copy_of(theirs)
    change(source)
    code, out, err = run(source, tmp_path / "out")
    assert (code, out) == (2, "") and err.startswith("c3: error: ") and err.count("\n") == 1
    with pytest.raises(ValueError, match=message):
        convert_from_authors(source, tmp_path / "out")
    assert not (tmp_path / "out").exists() and not (tmp_path / "out.tmp").exists()


def test_outputs_that_cannot_be_made(theirs, tmp_path, monkeypatch):
    (tmp_path / "there").mkdir()
    (tmp_path / "there/file").touch()
    (tmp_path / "half.tmp").mkdir()
    for output, message in (
        ("there", "exists: name a new or an empty folder"),
        ("no/out", "There is no folder"),
        ("/proc/out", "Cannot write /proc/out: No such file or directory"),
        ("half", "half.tmp is left from a conversion that was cut off"),
    ):
        with pytest.raises(ValueError, match=message):
            convert_from_authors(theirs, tmp_path / output)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(checkpoint_folder.shutil, "disk_usage", lambda path: usage._replace(free=10**7))
    with pytest.raises(ValueError, match="Too little disk for .*0.07 GB are needed, 0.01 GB are free"):
        convert_from_authors(theirs, tmp_path / "out")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["half.tmp", "there"]


@pytest.mark.parametrize(
    ("writing", "number", "expected"),
    [("save_file", signal.SIGINT, 130), ("_write_settings", signal.SIGINT, 130), ("save_file", signal.SIGTERM, 143)],
)
def test_a_conversion_that_is_ended_leaves_nothing(writing, number, expected, run, theirs, tmp_path, monkeypatch):
    """By Ctrl-C or SIGTERM, once weights are on the disk, and while the last files are written."""
    # A shell starts what it runs in the background with the signal ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    module = tensor_files_c3 if writing == "save_file" else from_authors
    write = getattr(module, writing)

    def interrupted(*args, **kwargs):
        write(*args, **kwargs)
        signal.raise_signal(number)

    monkeypatch.setattr(module, writing, interrupted)
    try:
        code, out, err = run(theirs, tmp_path / "out")
    finally:
        signal.signal(signal.SIGINT, before)
    assert (code, out) == (expected, "") and "Traceback" not in err
    assert not list(tmp_path.iterdir())


def test_sources_that_are_not_there(tmp_path, monkeypatch):
    monkeypatch.setattr(
        checkpoint_folder,
        "snapshot_download",
        lambda *args, **kwargs: (_ for _ in ()).throw(OfflineModeIsEnabled("offline")),
    )
    (tmp_path / "file").touch()
    for source, message in (
        ("org/model", "no folder org/model, and it cannot be downloaded from the Hub: offline"),
        (tmp_path / "file", "is a file"),
        (tmp_path, "There is no .*config.json"),
    ):
        with pytest.raises(ValueError, match=message):
            convert_from_authors(source, tmp_path / "out")


def test_no_download_for_an_output_that_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint_folder, "snapshot_download", lambda *args, **kwargs: pytest.fail("downloaded"))
    (tmp_path / "file").touch()
    for convert in (convert_from_authors, convert_to_authors):
        with pytest.raises(ValueError, match="exists: name a new or an empty folder"):
            convert("org/model", tmp_path)


def test_hub_ids_are_downloaded(theirs, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(
        checkpoint_folder, "snapshot_download", lambda name, **kwargs: asked.append(name) or str(theirs)
    )
    (tmp_path / "out").mkdir()  # an empty folder will do
    convert_from_authors("org/model", tmp_path / "out")
    assert asked == ["org/model"] and "org/model" in (tmp_path / "out/README.md").read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"projector": "mlp"}, "needs projector 'linear'"),
        ({"use_mask_embedding": True}, "needs use_mask_embedding False"),
        ({"encoder": {"model_type": "qwen3"}}, "needs Qwen2 models; encoder_config is a 'qwen3'"),
        ({"decoder": {"vocab_size": 400}}, "beyond the 400 tokens of decoder_config"),
    ],
)
def test_models_that_the_authors_layout_cannot_hold(options, message, ranks, tmp_path):
    random_model(len(ranks), **options).save_pretrained(tmp_path / "ours")
    with pytest.raises(ValueError, match=message):
        convert_to_authors(tmp_path / "ours", tmp_path / "theirs")
    assert not (tmp_path / "theirs").exists()


def test_other_templates_and_the_wrong_direction(make_model, checkpoint, theirs, converted, tmp_path):
    with pytest.raises(ValueError, match="--to-authors converts the other way"):
        convert_from_authors(converted, tmp_path / "out")
    with pytest.raises(ValueError, match="leave out --to-authors"):
        convert_to_authors(theirs, tmp_path / "out")
    with pytest.raises(ValueError, match="needs latent_position_layout 'appended'"):
        convert_to_authors(checkpoint, tmp_path / "out")
    shutil.copytree(converted, tmp_path / "templates")
    edit_json(tmp_path / "templates/config.json", prompt_template="{latents}{prompt}")
    with pytest.raises(ValueError, match="needs their templates"):
        convert_to_authors(tmp_path / "templates", tmp_path / "out")
