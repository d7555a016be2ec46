"""Pushing to a stand-in for the Hub and loading from there. Run: pytest tests/training/test_publish.py"""

import logging
import shutil

import huggingface_hub
import pytest
from huggingface_hub import constants

from c3 import C3Model, C3Processor
from c3.cli.main import main
from c3.training.checks import checked
from c3.training.data.tokenizer import train_tokenizer
from c3.training.publish.hub_settings import HubSettings
from c3.training.publish.model_card import TrainedModel, write_model_card
from c3.training.publish.push import PublishError, check_can_publish, publish
from hub_processes import expected, load_elsewhere, push_by_hand
from hub_stand_in import HubStandIn
from tiny_models import TEXTS


@pytest.fixture
def finished(make_model, tmp_path):
    """The folder of a finished model with its card and log, and what does not belong to it."""

    def make(model_id="org/name", seed=0, **options):
        folder = tmp_path / f"final {seed}"
        make_model(seed=seed).save_pretrained(folder)
        (tmp_path / "metrics.jsonl").write_text("{}\n")
        described = TrainedModel(
            model_id=model_id,
            recipe={},
            log_history=[{"step": 4, "eval_precision_4x": 0.5}],
            parameters={},
            step=4,
            train_data=[],
            hardware="none",
            **options,
        )
        write_model_card(folder, described, logs=[tmp_path / "metrics.jsonl"])
        for name in (".env", "checkpoint-2/model.safetensors", "__pycache__/modeling_c3.pyc"):
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text("not to be published")
        return folder

    return make


def test_pushed_folders_load_in_a_fresh_process(client, finished, tmp_path):
    """The main branch by hand from another process, a branch with other weights from this one."""
    first, second = finished(), finished(seed=1, revision="try/two")
    pushed = push_by_hand(client, tmp_path, first, "org/name", "--private")
    assert pushed.returncode == 0, pushed.stderr
    repository = client.repositories["org/name"]
    assert pushed.stdout == f"{client.endpoint}/org/name/commit/{repository.branches['main']}\n"
    assert repository.private and repository.titles == ["initial commit", "Upload the trained model"]

    settings = HubSettings("org/name", revision="try/two", commit_message="Second try")
    assert check_can_publish(settings) == f"{client.endpoint}/org/name"
    assert publish(second, settings).endswith(repository.branches["try/two"])
    for branch, folder in (("main", first), ("try/two", second)):
        files = repository.files(branch)
        assert {"README.md", "metrics.jsonl", "model.safetensors", "modeling_c3.py"} < set(files)
        assert not {".env", "checkpoint-2/model.safetensors", "__pycache__/modeling_c3.pyc"} & set(files)
        assert all(blob.content == (folder / name).read_bytes() for name, blob in files.items() if name[0] != ".")

    found = load_elsewhere(client, tmp_path / "elsewhere", "org/name", "org/name@try/two")
    assert found["examples"] == 1
    assert found["org/name"] == expected(C3Model.from_pretrained(first))
    assert found["org/name@try/two"] == expected(C3Model.from_pretrained(second))
    assert found["org/name"]["latents"] != found["org/name@try/two"]["latents"]


@pytest.fixture
def two_tokenizers(make_model, tokenizer):
    """A model whose encoder reads with a tokenizer of its own, which the processor keeps in a folder."""
    model = make_model()
    other = train_tokenizer(TEXTS * 4, vocab_size=280)
    model.processor = C3Processor.from_config(model.config, tokenizer, other)
    return model


def test_one_push_takes_the_processor_along(client, two_tokenizers, tmp_path):
    """`push_to_hub` of a model, and of one loaded from there by a process that did not touch its processor."""
    two_tokenizers.push_to_hub("org/direct")
    assert "context_tokenizer/tokenizer.json" in client.repositories["org/direct"].files()
    wanted = expected(two_tokenizers)
    assert wanted["context_ids"] not in (None, wanted["ids"])
    found = load_elsewhere(client, tmp_path / "elsewhere", "org/direct", "org/again", push_as="org/again")
    assert found["org/direct"] == found["org/again"] == wanted
    assert set(client.repositories["org/again"].files()) == set(client.repositories["org/direct"].files())


@pytest.mark.parametrize("part", ["model", "processor"])
def test_saving_with_push_to_hub_takes_the_processor_along(part, client, two_tokenizers, tmp_path):
    saved = two_tokenizers if part == "model" else two_tokenizers.processor
    folder, name = tmp_path / "saved", f"org/saved-{part}"
    saved.save_pretrained(str(folder), push_to_hub=True, repo_id=name)
    repository = client.repositories[name]
    names = {"processor_config.json", "processing_c3.py", "tokenizer.json", "context_tokenizer/tokenizer.json"}
    assert names < set(repository.files())
    assert len(repository.titles) == 2
    # Into the same folder again, with another context tokenizer.
    two_tokenizers._processor._context_tokenizer = train_tokenizer(TEXTS * 4, vocab_size=290)
    before = repository.files()["context_tokenizer/tokenizer.json"].content
    saved.save_pretrained(str(folder), push_to_hub=True, repo_id=name)
    pushed = repository.files()["context_tokenizer/tokenizer.json"].content
    assert pushed == (folder / "context_tokenizer" / "tokenizer.json").read_bytes() != before
    assert len(repository.titles) == 3


def test_a_model_without_a_processor_is_saved_alone(make_model, tmp_path, caplog, monkeypatch):
    make_model().save_pretrained(tmp_path / "whole")
    (tmp_path / "weights").mkdir()
    for name in ("config.json", "model.safetensors", "generation_config.json"):
        shutil.copy(tmp_path / "whole" / name, tmp_path / "weights")
    # transformers' logger keeps its messages to itself.
    monkeypatch.setattr(logging.getLogger("c3.checkpoint_c3"), "propagate", True)
    C3Model.from_pretrained(tmp_path / "weights").save_pretrained(tmp_path / "again")
    assert "Saving the model without a processor. No processor could be loaded from" in caplog.text
    assert (tmp_path / "again" / "model.safetensors").is_file()
    assert not (tmp_path / "again" / "processor_config.json").exists()


def test_an_interrupted_push_keeps_the_model_and_can_be_repeated(client, finished, capsys):
    folder, settings = finished(), HubSettings("org/interrupted", private=True, commit_message="Again")
    check_can_publish(settings)
    before = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    client.failures["commit"] = [500]
    with pytest.raises(PublishError) as stop:
        publish(folder, settings)
    message = str(stop.value)
    command = f"c3 publish '{folder}' org/interrupted --private --message Again"
    assert message == (
        f"hub: the push to org/interrupted failed: {client.endpoint} answered 500 (commit was made to fail): "
        f"try again later. The finished model is whole in {folder}; push it with: {command}"
    )
    assert {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()} == before
    assert set(client.repositories["org/interrupted"].files()) == {".gitattributes"}

    assert main(["publish", str(folder), "org/interrupted", "--private", "--message", "Again"]) == 0
    repository = client.repositories["org/interrupted"]
    assert capsys.readouterr().out.endswith(f"{repository.branches['main']}\n")
    assert repository.files()["model.safetensors"].content == (folder / "model.safetensors").read_bytes()


def test_weights_of_an_earlier_push_do_not_stay_behind(client, make_model, tmp_path):
    model, settings = make_model(), HubSettings("org/smaller")
    check_can_publish(settings)
    for name, size in (("one", "1GB"), ("many", "40KB"), ("one", "1GB")):
        model.save_pretrained(tmp_path / name, max_shard_size=size)
        publish(tmp_path / name, settings)
        pushed = {each for each in client.repositories["org/smaller"].files() if "safetensors" in each}
        assert pushed == {file.name for file in (tmp_path / name).glob("*safetensors*")}
    assert len(list((tmp_path / "many").glob("*.safetensors"))) > 1


@pytest.mark.parametrize(
    ("token", "repo_id", "message"),
    [
        ("", "org/x", "there is no token: run `hf auth login`, or set HF_TOKEN, with a token that may write"),
        ("wrong", "org/x", "answered 401, the token is not valid: run `hf auth login`, or set HF_TOKEN, with a token"),
        ("reader", "org/x", "answered 403 (You don't have the rights to create a model under the namespace org), the"),
        ("reader", "org/seen", "answered 403 (You don't have the rights to write there), the token may not write"),
        ("good", "other/x", "answered 403 (You don't have the rights to create a model under the namespace other)"),
    ],
)
def test_a_push_that_would_fail_is_found_before_training(token, repo_id, message, client, monkeypatch):
    huggingface_hub.HfApi().create_repo("org/seen", exist_ok=True)
    monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(PublishError) as stop:
        check_can_publish(HubSettings(repo_id))
    assert str(stop.value).startswith(f"hub: cannot push to {repo_id}: ") and message in str(stop.value)
    assert "\n" not in str(stop.value)
    assert "org/x" not in client.repositories


def test_looking_creates_nothing(client, monkeypatch):
    """As a dry run does."""
    assert check_can_publish(HubSettings("org/looked", revision="new"), create=False) is None
    assert "org/looked" not in client.repositories
    huggingface_hub.HfApi().create_repo("org/seen", exist_ok=True)
    assert check_can_publish(HubSettings("org/seen", revision="new"), create=False) == f"{client.endpoint}/org/seen"
    assert "new" not in client.repositories["org/seen"].branches
    for token, message in (("", "there is no token"), ("reader", "answered 403")):
        monkeypatch.setenv("HF_TOKEN", token)
        with pytest.raises(PublishError, match=message):
            check_can_publish(HubSettings("org/seen"), create=False)


def test_a_private_model_is_not_pushed_to_a_public_repository(client):
    check_can_publish(HubSettings("org/public"))
    with pytest.raises(PublishError, match="org/public is to be private, but exists and is public: make it private"):
        check_can_publish(HubSettings("org/public", private=True))


def test_other_failures_end_in_one_line(client, finished, monkeypatch):
    """No repository, no network, offline mode, a file that is refused, and what nobody foresaw."""
    folder = finished()

    def reason():
        with pytest.raises(PublishError) as stop:
            publish(folder, HubSettings("org/other"))
        assert "\n" not in str(stop.value) and f"The finished model is whole in {folder}; push it with" in str(
            stop.value
        )
        return str(stop.value)

    assert "answered 404 (Repository not found): there is no such repository or branch any more." in reason()
    check_can_publish(HubSettings("org/other"))
    client.large_files.clear()
    client.failures["lfs_upload"] = [403]
    assert "Error while uploading 'model.safetensors' to the Hub." in (said := reason()) and "answered 403" in said
    client.failures["commit"] = [413]
    assert "answered 413 (commit was made to fail). The finished" in reason()
    with monkeypatch.context() as patch:
        patch.setattr(huggingface_hub.HfApi, "upload_folder", lambda *_, **__: (folder / "missing").read_bytes())
        assert "FileNotFoundError: " in reason()
    with monkeypatch.context() as patch:
        patch.setattr(constants, "HF_HUB_OFFLINE", True)
        assert "HF_HUB_OFFLINE is set: unset it." in reason()
    with HubStandIn(tokens={}) as closed:
        pass
    monkeypatch.setattr(constants, "ENDPOINT", closed.endpoint)
    with pytest.raises(PublishError, match=f"{closed.endpoint} cannot be reached .*: check the network"):
        check_can_publish(HubSettings("org/other"))


def test_pushing_by_hand_what_is_no_model(client, tmp_path, capsys):
    for arguments, code, message in (
        ((tmp_path, "org/nothing"), 1, f"{tmp_path} is not the folder of a finished model: it has no config.json"),
        ((tmp_path, "nothing"), 2, "hub.repo_id must be owner/name, not 'nothing'."),
    ):
        assert main(["publish", *map(str, arguments)]) == code
        assert capsys.readouterr().err.startswith(f"c3: error: {message}")
    assert "org/nothing" not in client.repositories


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ("org/name", "hub: expected keys and values"),
        ({}, "hub: the key repo_id is missing"),
        ({"repo_id": "org/name", "privat": True}, "hub: unknown key privat; did you mean private?"),
        ({"repo_id": "org/name", "branch": "x"}, "hub: unknown key branch; known are repo_id, private, revision"),
        ({"repo_id": "name"}, "hub.repo_id must be owner/name, not 'name'"),
        ({"repo_id": None}, "hub.repo_id must be owner/name, not None"),
        ({"repo_id": "org/my name"}, "hub.repo_id: Repo id must use alphanumeric"),
        ({"repo_id": "org/name", "private": 1}, "hub.private must be true or false, not 1"),
        ({"repo_id": "org/name", "revision": "a branch"}, "hub.revision must be the name of a branch"),
        ({"repo_id": "org/name", "revision": "0" * 40}, "hub.revision must be the name of a branch"),
        (
            {"repo_id": "org/name", "license": "Apache 2"},
            "hub.license must be an identifier such as apache-2.0, not 'Apa",
        ),
        ({"repo_id": "org/name", "languages": "en"}, "hub.languages must be a list of codes"),
        (
            {"repo_id": "org/name", "languages": [False]},
            'hub.languages must be a list of codes such as [en, "no"], not [Fa',
        ),
        ({"repo_id": "org/name", "merged": "yes"}, "hub.merged must be true or false, not 'yes'"),
        ({"repo_id": "org/name", "commit_message": ""}, "hub.commit_message must be a line of text"),
    ],
)
def test_bad_settings_name_the_key(values, message):
    with pytest.raises(ValueError) as stop:
        checked(HubSettings, "hub", values)
    assert str(stop.value).startswith(message)


def test_settings_of_a_recipe():
    values = {"repo_id": "org/name", "private": False, "revision": "v1.0/rc-2"}
    assert checked(HubSettings, "hub", values) == HubSettings(
        "org/name", False, "v1.0/rc-2", "Upload the trained model"
    )
