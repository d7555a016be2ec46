"""
Sets of questions about texts by their names on the Hub: SQuAD, QuALITY, LongBench, LooGLE, BABILong.

To add one, say in `HUB_SETS` where it is and how a row becomes a question.
"""

import json
import string
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from c3.quoting_c3 import in_one_line
from c3.support.errors import pip_install
from c3.support.loading import find_source

from .asked import AskedQuestion


@dataclass(frozen=True)
class HubSet:
    """
    Args:
        hub_id (`str`): of the data set.
        config, split (`str`): as of `datasets.load_dataset`; no config where there is but one.
        read: `(row) -> (context, prompt, answers)`, of which answers one will do.
        archive (`str`, *optional*): a zip in the repository, for sets that were read by a script, which `datasets` does
            not run any more; `member` is the .jsonl file in it.
    """

    hub_id: str
    config: str | None
    split: str
    read: Callable
    archive: str | None = None
    member: str | None = None


def _squad(row):
    return row["context"], row["question"], row["answers"]["text"]


def _quality(row):
    letters = string.ascii_uppercase
    options = [f"{letter}. {option}" for letter, option in zip(letters, row["options"], strict=False)]
    prompt = "\n".join([row["question"], *options, "Which of these is right? Answer with its letter."])
    return row["article"], prompt, [letters[row["answer"]]]


def _longbench(row):
    return row["context"], row["input"], row["answers"]


def _loogle(row):
    return row["context"], row["question"], [row["answer"]]


def _babilong(row):
    return row["input"], row["question"], [row["target"]]


LONGBENCH = "narrativeqa", "qasper", "multifieldqa_en", "multifieldqa_zh", "hotpotqa", "2wikimqa", "musique"
BABILONG_LENGTHS = "0k", "1k", "2k", "4k", "8k", "16k"
HUB_SETS = {
    # Rajpurkar et al. 2016, arXiv 1606.05250.
    "squad": HubSet("rajpurkar/squad", None, "validation", _squad),
    # Pang et al. 2022, arXiv 2112.08608.
    "quality": HubSet("emozilla/quality", None, "validation", _quality),
    # Bai et al. 2023, arXiv 2308.14508.
    **{
        f"longbench-{name}": HubSet("THUDM/LongBench", None, "train", _longbench, "data.zip", f"data/{name}.jsonl")
        for name in LONGBENCH
    },
    # Li et al. 2023, arXiv 2311.04939.
    **{
        f"loogle-{name}": HubSet("bigai-nlco/LooGLE", f"{name}_qa", "test", _loogle) for name in ("shortdep", "longdep")
    },
    # Kuratov et al. 2024, arXiv 2406.10149: bAbI inside books; 0k is bAbI alone (Weston et al. 2015, arXiv 1502.05698).
    **{
        f"babilong-{length}-qa{number}": HubSet("RMT-team/babilong", length, f"qa{number}", _babilong)
        for length in BABILONG_LENGTHS
        for number in range(1, 6)
    },
}


def load_hub_set(name, limit=None):
    """
    The questions of a set.

        load_hub_set("squad", 100)
        load_hub_set("squad=/data/squad")  # a folder with the files that the Hub has

    Args:
        name (`str`): in `HUB_SETS`, with a folder behind an equals sign or from the Hub.
        limit (`int`, *optional*): the first so many.

    Returns: `list[AskedQuestion]`.

    Raises: `OSError`, `ValueError` saying in one line what is wrong.
    """
    name, _, folder = name.partition("=")
    if name not in HUB_SETS:
        raise ValueError(f"there is no set {name}: name one of {', '.join(HUB_SETS)}")
    found = HUB_SETS[name]
    if folder and not Path(folder).is_dir():
        raise FileNotFoundError(f"{name}: no such folder: {folder}")
    try:
        import datasets  # noqa: F401
    except ImportError:
        raise ValueError(f"the set {name} needs datasets: {pip_install('eval')}") from None
    # A set that is in the cache is found without the Hub.
    source = {} if folder else find_source(found.hub_id, f"the set {name}", files=["README.md"], repo_type="dataset")
    questions = []
    try:
        for row in islice(_rows(found, folder, source), limit):
            context, prompt, answers = found.read(row)
            if context and answers:
                questions.append(AskedQuestion(context, prompt, tuple(map(str, answers)), name, any_of=True))
    except Exception as error:
        # Whatever fails, from a missing file to a missing column, is a matter of that set.
        where = folder or found.hub_id
        raise ValueError(f"cannot read the set {name} from {where}: {in_one_line(error)}") from error
    if not questions:
        rows = "" if limit is None else f" in its first {limit} rows"
        raise ValueError(f"the set {name} holds no question with a text and an answer{rows}")
    return questions


def _rows(found, folder, source):
    import datasets
    from huggingface_hub import hf_hub_download

    if found.archive is None:
        return datasets.load_dataset(folder or found.hub_id, found.config, split=found.split)
    path = Path(folder) / found.archive if folder else None
    path = path or hf_hub_download(found.hub_id, found.archive, repo_type="dataset", **source)
    return _members_rows(path, found.member)


def _members_rows(path, member):
    """Rows of a .jsonl file in a zip."""
    with zipfile.ZipFile(path) as archive, archive.open(member) as lines:
        yield from map(json.loads, lines)
