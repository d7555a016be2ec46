"""The safetensors files of a model folder, read and written tensor by tensor: no more than one shard is in memory."""

import json
from dataclasses import dataclass
from math import prod
from pathlib import Path

import torch
from huggingface_hub import split_state_dict_into_shards_factory
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from c3.quoting_c3 import printable, quoted
from c3.whole_files_c3 import whole_file

SINGLE_FILE, INDEX_FILE = "model.safetensors", "model.safetensors.index.json"
MAX_SHARD_BYTES = 1 << 30
DTYPES = {"F64": torch.float64, "F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}


@dataclass(frozen=True)
class StoredTensor:
    """A tensor in a file: its name there, shape and dtype. `read` loads it."""

    path: Path
    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def nbytes(self):
        """Its size in bytes."""
        return prod(self.shape) * self.dtype.itemsize

    def read(self):
        """The `torch.Tensor`, bit for bit."""
        with safe_open(self.path, framework="pt") as file:
            return file.get_tensor(self.name)


def list_tensors(folder):
    """
    The tensors of a folder with one safetensors file, or with several and their index.

    Returns: `dict[str, StoredTensor]`.

    Raises:
        ValueError: no such files, one is missing or damaged, a tensor in two of them, or numbers that are not floats.
    """
    folder = Path(folder)
    tensors = {}
    for path in _files(folder):
        try:
            with safe_open(path, framework="pt") as file:
                for name in file.keys():  # noqa: SIM118  not a dict
                    part = file.get_slice(name)
                    shape, kind = tuple(part.get_shape()), part.get_dtype()
                    if kind not in DTYPES:
                        raise ValueError(
                            f"{quoted(name)} in {path} is {quoted(kind)}: only {', '.join(DTYPES)} can be converted."
                        )
                    if name in tensors:
                        raise ValueError(f"{quoted(name)} is in {tensors[name].path.name} and again in {path}.")
                    tensors[name] = StoredTensor(path, name, shape, DTYPES[kind])
        except SafetensorError as error:
            raise ValueError(f"{path} is damaged, or not a safetensors file: {printable(error)}") from error
    return tensors


def write_tensors(folder, tensors, max_shard_bytes=MAX_SHARD_BYTES, progress=None):
    """
    Copies tensors into safetensors files of a folder, with an index where there is more than one.

    Args:
        folder (`str` or `PathLike`): an existing folder.
        tensors (`dict[str, StoredTensor]`): by their new names.
        max_shard_bytes (`int`): of one file, and so of the memory that is needed; a larger tensor gets its own.
        progress (`Callable[[int], None]`, *optional*): is told how many bytes were written.
    """
    folder = Path(folder)
    split = split_state_dict_into_shards_factory(
        tensors,
        get_storage_size=lambda tensor: tensor.nbytes,
        filename_pattern="model{suffix}.safetensors",
        max_shard_size=max_shard_bytes,
    )
    for file, names in split.filename_to_tensors.items():
        with whole_file(folder / file) as temporary:
            save_file({name: tensors[name].read() for name in names}, temporary, metadata={"format": "pt"})
        if progress is not None:
            progress(sum(tensors[name].nbytes for name in names))
    if split.is_sharded:
        index = {"metadata": split.metadata, "weight_map": split.tensor_to_filename}
        (folder / INDEX_FILE).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def _files(folder):
    if (folder / SINGLE_FILE).is_file():
        return [folder / SINGLE_FILE]
    if not (folder / INDEX_FILE).is_file():
        # Said wherever it may be: of a Hub id no other weights were downloaded.
        raise ValueError(
            f"{folder} holds neither {SINGLE_FILE} nor {INDEX_FILE}; weights in pytorch_model.bin must be saved as "
            "safetensors first."
        )
    try:
        names = sorted(set(json.loads((folder / INDEX_FILE).read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, AttributeError) as error:
        raise ValueError(f"{folder / INDEX_FILE} is not an index of safetensors files: {printable(error)}") from error
    for name in names:
        if Path(name).name != name:
            raise ValueError(f"{folder / INDEX_FILE} names a file outside its folder: {quoted(name)}")
        if not (folder / name).is_file():
            raise ValueError(f"{folder} lacks {quoted(name)}, which its index names: download it again.")
    return [folder / name for name in names]


__all__ = ["StoredTensor", "list_tensors", "write_tensors"]
