"""Where latents come from, and whether a model is the one that made them."""

from dataclasses import asdict, dataclass, fields

from .quoting_c3 import quoted

FINGERPRINT_FIELDS = ("config_fingerprint", "weights_fingerprint", "tokenizer_fingerprint")
MAX_PROVENANCE = 4096  # characters of a field
SINGLE_KEY = "single"


class LatentMismatchError(ValueError):
    """Latents of one model met another model, or latents of another model: `model.expand(latents, allow_mismatch=True)`
    reads them all the same."""


@dataclass(frozen=True)
class LatentProvenance:
    """Where latents come from. Every field is a string; an empty one means unknown and is never compared.

    The fingerprints are short hexadecimal digests (`fingerprints_c3.py`); `dtype` is the precision the model ran in.
    """

    model_name: str = ""
    config_fingerprint: str = ""
    weights_fingerprint: str = ""
    dtype: str = ""
    latent_position_layout: str = ""
    tokenizer_fingerprint: str = ""
    library_version: str = ""

    def __post_init__(self):
        for name, value in vars(self).items():
            if not isinstance(value, str):
                raise TypeError(f"provenance.{name} must be a str, got {type(value).__name__}: {quoted(value)}")
            if len(value) > MAX_PROVENANCE:
                raise ValueError(f"provenance.{name} has {len(value)} characters, more than {MAX_PROVENANCE}")

    def check_same_model(self, model: "LatentProvenance") -> None:
        """Raises `LatentMismatchError` unless latents of this provenance are those of a model with the other one.

        Only fingerprints are compared, and only where both sides know theirs: a name may be a path.
        """
        pairs = {name: {getattr(self, name), getattr(model, name)} for name in FINGERPRINT_FIELDS}
        differing = [name for name, values in pairs.items() if len(values) == 2 and "" not in values]
        if differing:
            raise LatentMismatchError(
                f"these latents were made by {describe(self)}, but the model is {describe(model)}: "
                f"{', '.join(differing)} differ(s). Latents are only readable by the model that made them: load that "
                "model or compress the texts again. allow_mismatch=True overrides this check"
            )


def common_provenance(provenances) -> LatentProvenance:
    """What all of several have in common; a field is left empty where they differ.

    Raises `LatentMismatchError` when known fingerprints differ.
    """
    for name in FINGERPRINT_FIELDS:
        makers = {getattr(each, name): each for each in provenances}
        makers.pop("", None)
        if len(makers) > 1:
            raise LatentMismatchError(
                f"cannot concatenate latents of different models: {name} differs between "
                f"{' and '.join(describe(maker) for maker in list(makers.values())[:2])}"
            )
    values = {f.name: {getattr(each, f.name) for each in provenances} for f in fields(LatentProvenance)}
    return LatentProvenance(**{name: seen.pop() if len(seen) == 1 else "" for name, seen in values.items()})


def to_metadata(provenance: LatentProvenance, single: bool) -> dict[str, str]:
    """What a file says of latents beside their numbers, see [`C3Latents`]."""
    return asdict(provenance) | {SINGLE_KEY: str(single).lower()}


def from_metadata(metadata: dict[str, str], num_texts: int) -> tuple[LatentProvenance, bool]:
    """What `to_metadata` was given. Raises `TypeError`, `ValueError` for what is no provenance."""
    known = {f.name: metadata[f.name] for f in fields(LatentProvenance) if f.name in metadata}
    # Older files do not say; of one text `expand` gave one string then.
    single = metadata.get(SINGLE_KEY, str(num_texts == 1).lower()) == "true"
    return LatentProvenance(**known), single


def describe(provenance: LatentProvenance) -> str:
    """A provenance in an error message."""
    known = [f"{name} {quoted(getattr(provenance, name))}" for name in FINGERPRINT_FIELDS if getattr(provenance, name)]
    name = quoted(provenance.model_name) if provenance.model_name else "an unnamed model"
    return f"{name} ({', '.join(known)})"


__all__ = ["LatentMismatchError", "LatentProvenance", "common_provenance", "describe", "from_metadata", "to_metadata"]
