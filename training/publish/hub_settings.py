"""Where a trained model is pushed to: the recipe's key `hub`."""

import re
from dataclasses import dataclass, field

from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from c3.support.without_secrets import hub_ids
from c3.training.checks import RecipeError

# What git allows in the name of a branch, less what only causes trouble.
BRANCH = re.compile(r"\w[\w.+-]*(/\w[\w.+-]*)*")
COMMIT = re.compile(r"[0-9a-f]{40}")
LICENSE = re.compile(r"[a-z0-9][a-z0-9.+-]*")
LANGUAGE = re.compile(r"[a-z]{2,3}(-\w+)*")


@dataclass(frozen=True)
class HubSettings:
    """
    Args:
        repo_id (`str`): `owner/name` of a model repository; it is created where there is none.
        private (`bool`, *optional*): visibility of a new repository; by default what the owner's account says.
        revision (`str`, *optional*): a branch, created where there is none; by default the main one.
        commit_message (`str`): title of the commit.
        merged (`bool`): of a run with `lora`, push base and adapter merged into a plain checkpoint; without it the
            adapter, whose base, or both models of whose pair, must be on the Hub.
        license (`str`, *optional*): for the card, the Hub's identifier of a licence, such as `apache-2.0`.
        languages (`list[str]`): for the card, codes of the languages of the texts, such as `[en, zh]`.

    Raises:
        ValueError: a value that is not allowed; the message names the key.
    """

    repo_id: str
    private: bool | None = None
    revision: str | None = None
    commit_message: str = "Upload the trained model"
    merged: bool = False
    license: str | None = None
    languages: list[str] = field(default_factory=list)

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
        if not isinstance(self.merged, bool):
            raise ValueError(f"hub.merged must be true or false, not {self.merged!r}.")
        if self.license is not None and not _matches(LICENSE, self.license):
            raise ValueError(f"hub.license must be an identifier such as apache-2.0, not {self.license!r}.")
        if not isinstance(self.languages, list) or not all(_matches(LANGUAGE, each) for each in self.languages):
            # YAML takes a bare `no`, Norwegian, for false.
            raise ValueError(f'hub.languages must be a list of codes such as [en, "no"], not {self.languages!r}.')

    def check_adapter(self, lora, bases):
        """
        Raises `RecipeError` if what a run pushes could be loaded by nobody else.

        Args:
            lora ([`LoraSettings`], *optional*): the recipe's `lora`.
            bases (`list[str]`): what the model starts from, the recipe's `init_from` or its pair.
        """
        if lora is None and self.merged:
            raise RecipeError("hub.merged is for runs with lora: leave it out.")
        here = [base for base in bases if not hub_ids([base])]
        if lora is not None and not self.merged and (here or not bases):
            raise RecipeError(
                f"hub: nobody else could load an adapter on {', '.join(here) or 'a new model'}, which is on this "
                "machine alone: set hub.merged: true, or init_from to a Hub id."
            )


def _matches(pattern, value):
    return isinstance(value, str) and pattern.fullmatch(value) is not None


def _is_branch(name):
    return (
        _matches(BRANCH, name) and ".." not in name and not name.endswith((".", ".lock")) and not COMMIT.fullmatch(name)
    )
