"""The manifest of a checkpoint: everything about it but its arrays, as JSON that is not trusted.

`decode` takes bytes from anywhere and either gives a `Manifest` whose every part has the right type
and a sane size, or raises. Nothing in it is ever executed, imported or used as a path outside the
checkpoint.
"""

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any, NoReturn

import numpy as np

from qlrjax.runs.leaves import Leaf

# Format 1, of earlier versions, keeps every leaf for itself, see `snapshot`.
SCHEMA, READ = 2, (1, 2)
SIZE_LIMIT_BYTES = 16 * 2**20
_ENTRY_LIMIT = 100_000
_DEPTH_LIMIT = 16
_PATH_PARTS_LIMIT = 8
_DIGEST = re.compile(r"[0-9a-f]{64}")
_PATH_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")


class InvalidManifest(ValueError):
    """The bytes are not a manifest."""


class UnknownSchema(ValueError):
    """The manifest is of another version of qlrjax."""


@dataclasses.dataclass(frozen=True)
class File:
    """Size and SHA-256 of a file of the checkpoint."""

    bytes: int
    sha256: str


@dataclasses.dataclass(frozen=True)
class Manifest:
    """Everything about a checkpoint but its arrays.

    Attributes:
        step: Of the run; later checkpoints have larger ones.
        settings: Settings of the run in full.
        statics: Static fields of the state, see `leaves.static_fields`.
        leaves: Shape, dtype and digest by path.
        files: Size and digest by path inside the checkpoint, with forward slashes.
        fingerprint: See `fingerprint`.
        extra: What the caller wants kept; plain JSON.
        schema: Version of this format.
    """

    step: int
    settings: dict[str, Any]
    statics: dict[str, Any]
    leaves: dict[str, Leaf]
    files: dict[str, File]
    fingerprint: dict[str, str]
    extra: dict[str, Any]
    schema: int = SCHEMA


def encode(manifest: Manifest) -> bytes:
    """JSON with sorted keys: the same bytes for the same manifest.

    Raises:
        ValueError: It holds values that JSON lacks, or is larger than `decode` accepts.
    """
    values = dataclasses.asdict(manifest)
    values["settings_sha256"] = settings_digest(manifest.settings)
    data = json.dumps(values, sort_keys=True, indent=1, allow_nan=False).encode()
    decode(data)
    return data


def settings_digest(settings: Mapping[str, Any]) -> str:
    """SHA-256 of settings as JSON with sorted keys and no spaces."""
    text = json.dumps(settings, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def decode(data: bytes) -> Manifest:
    """Inverse of `encode`, for bytes that nobody vouches for.

    Raises:
        InvalidManifest: The bytes are not a manifest; the sentence says what is wrong.
        UnknownSchema: They are one of another schema.
    """
    if len(data) > SIZE_LIMIT_BYTES:
        raise InvalidManifest(f"the manifest has {len(data)} bytes, more than any real one")
    try:
        values = json.loads(data, object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise InvalidManifest(f"the manifest is not JSON: {error}") from error
    values = _object(values, "the manifest")
    schema = values.get("schema")
    if schema not in READ or type(schema) is not int:
        raise UnknownSchema(
            f"the checkpoint has format {str(schema)[:20]}, this qlrjax reads format {SCHEMA} "
            f"and older ones; "
            "use the version of qlrjax that wrote it"
        )
    fields = {field.name for field in dataclasses.fields(Manifest)} | {"settings_sha256"}
    if set(values) != fields:
        raise InvalidManifest(f"its entries differ at {sorted(set(values) ^ fields)[:3]}")
    settings = _json(values["settings"], "settings")
    if values["settings_sha256"] != settings_digest(settings):
        raise InvalidManifest("the settings do not have the digest that stands beside them")
    return Manifest(
        step=_count(values["step"], "step"),
        settings=settings,
        statics=_json(values["statics"], "statics"),
        leaves=_leaves(_object(values["leaves"], "leaves")),
        files=_files(_object(values["files"], "files")),
        fingerprint=_fingerprint(_object(values["fingerprint"], "fingerprint")),
        extra=_json(values["extra"], "extra"),
        schema=schema,
    )


def _leaves(values: dict[str, Any]) -> dict[str, Leaf]:
    leaves = {}
    for name, value in values.items():
        entry = _object(value, f"leaf {name[:80]}")
        if set(entry) != {"shape", "dtype", "sha256"} or not isinstance(entry["shape"], list):
            raise InvalidManifest(f"leaf {name[:80]} is not a shape, a dtype and a digest")
        if len(entry["shape"]) > 32:
            raise InvalidManifest(f"leaf {name[:80]} has more than 32 axes")
        shape = tuple(_count(side, f"a side of leaf {name[:80]}") for side in entry["shape"])
        leaves[name] = Leaf(shape, _dtype(entry["dtype"]), _sha256(entry["sha256"]))
    return leaves


def _files(values: dict[str, Any]) -> dict[str, File]:
    files = {}
    for path, value in values.items():
        parts = path.split("/")
        if len(parts) > _PATH_PARTS_LIMIT or not all(map(_PATH_PART.fullmatch, parts)):
            raise InvalidManifest(f"{path[:80]!r} is not a path inside a checkpoint")
        entry = _object(value, f"file {path[:80]}")
        if set(entry) != {"bytes", "sha256"}:
            raise InvalidManifest(f"file {path[:80]} is not a size and a digest")
        files[path] = File(_count(entry["bytes"], "a file's size"), _sha256(entry["sha256"]))
    return files


def _fingerprint(values: dict[str, Any]) -> dict[str, str]:
    if not all(isinstance(value, str) for value in values.values()):
        raise InvalidManifest("the fingerprint is not text")
    return values


def _object(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict) or len(value) > _ENTRY_LIMIT:
        raise InvalidManifest(f"{what} is not an object of at most {_ENTRY_LIMIT} entries")
    return value


def _json(value: Any, what: str) -> dict[str, Any]:
    level: list[Any] = [_object(value, what)]
    for _ in range(_DEPTH_LIMIT):
        inner = [list(v.values()) if isinstance(v, dict) else v for v in level]
        level = [entry for v in inner if isinstance(v, list) for entry in v]
        if not level:
            return value
    raise InvalidManifest(f"{what} is nested more than {_DEPTH_LIMIT} deep")


def _count(value: Any, what: str) -> int:
    if type(value) is not int or not 0 <= value < 2**62:
        raise InvalidManifest(f"{what} is not a whole number from 0 on")
    return value


def _dtype(value: Any) -> str:
    # Looked up among names of number types; never parsed as one of NumPy's type expressions.
    if isinstance(value, str) and re.fullmatch(r"(bool|b?float|u?int)[0-9a-z_]{0,12}", value):
        try:
            return np.dtype(value).name
        except TypeError:
            pass
    raise InvalidManifest(f"{str(value)[:40]!r} is not a type of numbers")


def _sha256(value: Any) -> str:
    if not isinstance(value, str) or not _DIGEST.fullmatch(value):
        raise InvalidManifest("a digest is not 64 hexadecimal digits")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ValueError("a key stands there twice")
    return values


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
