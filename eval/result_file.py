"""The JSON file of a measurement that can be interrupted: what is finished is kept, and never mixed with others."""

import json

from c3.whole_files_c3 import write_whole


def read_matching(path, header, fields):
    """
    What a run with the same header has already measured: the content of its result file, `dict`; None if there is none.

    Args:
        path (`Path`, *optional*): the result file, which need not exist.
        header (`dict`): everything that the numbers depend on: model, data, options, versions.
        fields: names of the objects and lists that must be there.

    Raises: `ValueError` for a file of something else, or of a run with another header.
    """
    if path is None or not path.exists():
        return None
    try:
        found = json.loads(path.read_bytes())
        differing = [name for name in header if found.get(name) != header[name]]
        if not all(isinstance(found[name], dict | list) for name in fields):
            raise ValueError
    except (AttributeError, KeyError, TypeError, ValueError):
        raise ValueError(f"{path} is not a result file: choose another --output") from None
    if differing:
        raise ValueError(
            f"{path} holds results of another run ({', '.join(differing)} differ): delete it or choose another --output"
        )
    return found


def write_json(path, content):
    """Writes a JSON file, complete or not at all."""
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
    # A lone surrogate, in an id, becomes its JSON escape.
    write_whole(path, text.encode("utf-8", "backslashreplace") + b"\n")


class Results:
    """
    The result files of a folder, read when they are asked for; all of one checkpoint.

    Raises: `OSError`, `ValueError` saying in one line what is wrong with the folder or the file.
    """

    def __init__(self, folder):
        self.folder, self._held, self._weights = folder, {}, None
        if not any(folder.glob("*.json")):
            raise FileNotFoundError(f"{folder} holds no result files (*.json)")

    def __contains__(self, name):
        return (self.folder / f"{name}.json").is_file()

    def __getitem__(self, name):
        """The content of NAME.json, `dict`."""
        if name not in self._held:
            path = self.folder / f"{name}.json"
            if name not in self:
                raise FileNotFoundError(f"{self.folder} holds no {name}.json")
            try:
                found = json.loads(path.read_bytes())
                # A comparison of trainings has models of its own.
                weights = found["model"]["weights_fingerprint"] if "model" in found else self._weights
                missing = found.get("n_examples", 0) - len(found.get("examples", ()))
            except (KeyError, TypeError, ValueError):
                raise ValueError(f"{path} is not a result file") from None
            if missing:
                raise ValueError(f"{path} lacks {missing} examples: the run was interrupted, start it again")
            if weights != (self._weights or weights):
                raise ValueError(f"{path} holds results of other weights than {', '.join(self._held)}")
            self._weights = weights
            self._held[name] = found
        return self._held[name]
