"""Pushes a finished model folder to the Hub, as one commit."""

import contextlib
import json
import shlex
from pathlib import Path

from huggingface_hub import HfApi

# HTTPError is that of the HTTP library that huggingface_hub uses, which depends on its version.
from huggingface_hub.errors import HfHubHTTPError, HTTPError, LocalTokenNotFoundError, OfflineModeIsEnabled

from c3.quoting_c3 import printable
from c3.support.without_secrets import hub_ids
from c3.training.checks import RunError
from c3.whole_files_c3 import write_whole

from .hub_settings import HubSettings

CONFIGS = ("config.json", "adapter_config.json")
# What may lie in a model's folder and is no part of it.
IGNORED = [".*", "*/.*", "*.tmp", "__pycache__/*", "*/__pycache__/*", "checkpoint-*/*"]
# Those of an earlier push must go: loading could prefer them to the new ones, if these are cut into other files.
WEIGHTS = ["model.safetensors", "model-*-of-*.safetensors", "model.safetensors.index.json"]


class PublishError(RunError):
    """A model that cannot be pushed; the message is one line that says why and what to do."""


def check_can_publish(settings, create=True, repo_type="model"):
    """
    Makes sure, before training, that the finished model can be pushed: the token is valid and may write, the repository
    is there (it is created) with the visibility that is asked for, and so is the branch.

    Args:
        settings (`HubSettings`): where to.
        create (`bool`): False to look only.
        repo_type (`str`): "model" or "dataset".

    Returns: `str`, the repository's address; None where there is none.

    Raises:
        PublishError: the push would fail.
    """
    api = HfApi()
    with explained(f"hub: cannot push to {settings.repo_id}", api.endpoint):
        # Before the repository, because the Hub also answers 401 for one that does not exist.
        api.whoami()
        if create:
            url = api.create_repo(settings.repo_id, repo_type=repo_type, private=settings.private, exist_ok=True)
        elif api.repo_exists(settings.repo_id, repo_type=repo_type):
            url = api.endpoint + "/" + settings.repo_id
        else:
            return None
        # With exist_ok, one that can only be read passes so far.
        api.auth_check(settings.repo_id, repo_type=repo_type, write=True)
        if settings.private and not api.repo_info(settings.repo_id, repo_type=repo_type).private:
            raise PublishError(
                f"hub: {settings.repo_id} is to be private, but exists and is public: make it private in its settings "
                "on the Hub, or choose another repo_id."
            )
        if create and settings.revision is not None:
            api.create_branch(settings.repo_id, branch=settings.revision, repo_type=repo_type, exist_ok=True)
    return str(url)


def publish(folder, settings):
    """
    Pushes all files of a folder in one commit; weights of an earlier push that are not among them are deleted.

    Args:
        folder (`str` or `PathLike`): what `save_pretrained` wrote, with the model card and the log beside it.
        settings (`HubSettings`): where to; the repository and the branch are there, see `check_can_publish`.

    Returns: `str`, the commit's address.

    Raises:
        PublishError: no finished model, or the push failed; the folder is left as it is.
    """
    folder = Path(folder)
    check_folder(folder)
    _name_itself(folder, settings.repo_id)
    has_weights = any(any(folder.glob(pattern)) for pattern in WEIGHTS)
    api = HfApi()
    again = f"The finished model is whole in {folder}; push it with: {command_line(folder, settings)}"
    with explained(f"hub: the push to {settings.repo_id} failed", api.endpoint, again):
        commit = api.upload_folder(
            repo_id=settings.repo_id,
            folder_path=folder,
            revision=settings.revision,
            commit_message=settings.commit_message,
            # A copy, because upload_folder adds to it.
            ignore_patterns=list(IGNORED),
            delete_patterns=WEIGHTS if has_weights else None,
        )
    return commit.commit_url


def command_line(folder, settings):
    """The shell command that pushes a folder by hand, `str`."""
    words = ["c3", "publish", str(folder), settings.repo_id]
    words += ["--private"] if settings.private else []
    words += ["--revision", settings.revision] if settings.revision is not None else []
    words += ["--message", settings.commit_message] if settings.commit_message != HubSettings.commit_message else []
    return shlex.join(words)


def check_folder(folder):
    """Raises `PublishError` for a folder (`Path`) of no finished model, or of one that nobody else could load."""
    if not any((folder / name).is_file() for name in CONFIGS):
        raise PublishError(f"{folder} is not the folder of a finished model: it has no {' or '.join(CONFIGS)}.")
    for base in _bases(folder):
        if not hub_ids([base]):
            merge = shlex.join(["c3", "merge-lora", str(folder), f"{folder}-merged"])
            raise PublishError(
                f"{folder} is an adapter on {printable(base)}, which is not on the Hub, so that nobody else could load "
                f"it: merge it ({merge}) and push that."
            )


def _bases(folder):
    """What the weights in a folder go on, `list`: of an adapter its base, or those that its own config names."""
    if (folder / CONFIGS[0]).is_file():
        return list((_read_json(folder / CONFIGS[0]).get("base_models") or {}).values())
    return [_read_json(folder / CONFIGS[1]).get("base_model_name_or_path")]


def _name_itself(folder, repo_id):
    """
    The config of an adapter beside it, which names the weights that it goes on, is what it is loaded by; from the Hub
    transformers takes that of the base that the adapter names.
    """
    if (folder / CONFIGS[1]).is_file() and (folder / CONFIGS[0]).is_file():
        named = _read_json(folder / CONFIGS[1]) | {"base_model_name_or_path": repo_id}
        write_whole(folder / CONFIGS[1], json.dumps(named, indent=2))


def _read_json(path):
    return json.loads(path.read_text(encoding="utf-8"))


@contextlib.contextmanager
def explained(what, endpoint, advice=None):
    """Turns whatever goes wrong inside into a `PublishError` of one line."""
    try:
        yield
    except PublishError:
        raise
    # Whatever it is: hours of training must not end in a traceback that hides where the model is.
    except Exception as error:
        message = " ".join(filter(None, [f"{what}: {_reason(error, endpoint)}", advice]))
        raise PublishError(" ".join(message.split())) from error


def _reason(error, endpoint):
    """Why a call of the Hub failed and what to do about it, `str`."""
    login = f"run `hf auth login`, or set HF_TOKEN, with a token that may write ({endpoint}/settings/tokens)."
    if isinstance(error, LocalTokenNotFoundError):
        return f"there is no token: {login}"
    if isinstance(error, OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set: unset it."
    if isinstance(error, HfHubHTTPError):
        status, said = error.response.status_code, (error.server_message or "").partition("\n")[0].rstrip(".")
        answer = f"{endpoint} answered {status}" + (f" ({said})" if said else "")
        if status == 401:
            return f"{answer}, the token is not valid: {login}"
        if status == 403:
            return f"{answer}, the token may not write there: {login}"
        if status == 404:
            return f"{answer}: there is no such repository or branch any more."
        if status == 429 or status >= 500:
            return f"{answer}: try again later."
        return f"{answer}."
    if isinstance(error, HTTPError):
        return f"{endpoint} cannot be reached ({error or type(error).__name__}): check the network."
    if isinstance(error, RuntimeError) and error.__cause__ is not None:
        # As huggingface_hub wraps what goes wrong with one file.
        return f"{error} {_reason(error.__cause__, endpoint)}"
    return f"{type(error).__name__}: {error}."
