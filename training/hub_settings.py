"""Where a trained model is pushed to: the recipe's key `hub`."""

import re
from dataclasses import dataclass

from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

# What git allows in the name of a branch, less what only causes trouble.
BRANCH = re.compile(r"\w[\w.+-]*(/\w[\w.+-]*)*")
COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class HubSettings:
    """
    Args:
        repo_id (`str`): `owner/name` of a model repository; it is created where there is none.
        private (`bool`, *optional*): visibility of a new repository; by default what the owner's account says.
        revision (`str`, *optional*): a branch, created where there is none; by default the main one.
        commit_message (`str`): title of the commit.

    Raises:
        ValueError: a value that is not allowed; the message names the key.
    """

    repo_id: str
    private: bool | None = None
    revision: str | None = None
    commit_message: str = "Upload the trained model"

    def __post_init__(self):
        if not isinstance(self.repo_id, str) or self.repo_id.count("/") != 1:
            raise ValueError(f"hub.repo_id must be owner/name, not {self.repo_id!r}.")
        try:
            validate_repo_id(self.repo_id)
        except HFValidationError as error:
            raise ValueError(f"hub.repo_id: {error}") from None
        if self.private is not None and not isinstance(self.private, bool):
            raise ValueError(f"hub.private must be true or false, not {self.private!r}.")
        if self.revision is not None and not _is_branch(self.revision):
            raise ValueError(f"hub.revision must be the name of a branch, not {self.revision!r}.")
        if not isinstance(self.commit_message, str) or not self.commit_message.strip():
            raise ValueError(f"hub.commit_message must be a line of text, not {self.commit_message!r}.")


def _is_branch(name):
    return (
        isinstance(name, str)
        and BRANCH.fullmatch(name) is not None
        and ".." not in name
        and not name.endswith((".", ".lock"))
        and not COMMIT.fullmatch(name)
    )
