"""All settings of a session in one frozen tree, read from and written to TOML."""

import dataclasses
import json
import tomllib
import types
import typing
from collections.abc import Collection
from pathlib import Path
from typing import Any, Literal

import tomli_w

from qlrjax import files
from qlrjax.streams.settings import StreamSettings
from qlrjax.training.protocol import Protocol, check_bits

_FILE_BYTES_AT_MOST = 2**20


@dataclasses.dataclass(frozen=True)
class Settings:
    """One continual-learning session.

    Attributes:
        latent_layer: First trained layer, 0 to 27 for MobileNet-V1, see qlrjax network for others;
            below it the network is frozen.
        replays: Latents the replay memory holds; 0 is plain fine-tuning.
        bits: Width of a stored latent's codes, 1 to 8, or 32 for float32.
        frozen: "int8" runs the frozen stage in integers, "float32" in floats (the baseline).
        weights: "builtin" (ImageNet MobileNet-V1 1.0), "efficientnet_lite0", "resnet8", "ds_cnn",
            "[NETWORK:]random:SEED[:WIDTH]", or a .h5, .npz or .onnx, see `weights.load`.
        resolution: Side of the images, pixels.
        seed: Of every random draw.
        calibration_images: How many images of the first event set the integer ranges.
        evaluate_every: Test after every so many events; the last event is always tested.
        devices: How many of JAX's devices share the images and the mini-batches; sums are split
            among them, so that results agree within rounding.
        checkpoint_every: Save after every so many events; the last one is always saved.
        stream: Images and events.
        protocol: How an event is learned.
    """

    latent_layer: int = 27
    replays: int = 500
    bits: int = 8
    frozen: Literal["int8", "float32"] = "int8"
    weights: str = "builtin"
    resolution: int = 128
    seed: int = 0
    calibration_images: int = 256
    evaluate_every: int = 1
    checkpoint_every: int = 1
    devices: int = 1
    stream: StreamSettings = dataclasses.field(default_factory=StreamSettings)
    protocol: Protocol = dataclasses.field(default_factory=Protocol)

    def __post_init__(self) -> None:
        check_bits(self.bits)
        if self.replays < 0:
            raise ValueError(f"replays is {self.replays}; it must be 0 or more")
        at_least_1 = ("resolution", "calibration_images", "evaluate_every", "checkpoint_every")
        for name in (*at_least_1, "devices"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")
        mobilenet = self.weights == "builtin" or Path(self.weights).suffix in (".h5", ".npz")
        if self.latent_layer < 0 or (mobilenet and self.latent_layer > 27):
            raise ValueError(
                f"latent layer {self.latent_layer} is out of range: MobileNet-V1 has layers 0 to "
                "27; choose one of them"
            )
        if not 0 <= self.seed < 2**31:
            raise ValueError(f"seed is {self.seed}; it must be between 0 and 2**31 - 1")


def to_dict(settings: Any) -> dict[str, Any]:
    """Settings as plain nested dictionaries of TOML's and JSON's types."""
    return json.loads(json.dumps(dataclasses.asdict(settings)))


def from_dict(values: dict[str, Any], cls: Any = Settings, where: str = "") -> Any:
    """Inverse of `to_dict`; what is missing takes its default.

    Raises:
        ValueError: A key is unknown or a value has the wrong type; both are named.
    """
    fields = {field.name: field for field in dataclasses.fields(cls)}
    types = typing.get_type_hints(cls)
    known: dict[str, Any] = {}
    for key, value in values.items():
        if key not in fields:
            raise ValueError(
                f"unknown setting {where + key!r}; known here: {', '.join(sorted(fields))}"
            )
        known[key] = _convert(types[key], value, where + key)
    return cls(**known)


def differences(before: Settings, now: Settings, free: Collection[str] = ()) -> list[str]:
    """One phrase for every setting that differs, nested ones by their dotted names."""
    then, current = _flat(to_dict(before)), _flat(to_dict(now))
    return [
        f"{name} was {then[name]!r}, is {value!r}"
        for name, value in current.items()
        if name not in free and then[name] != value
    ]


def load(path: Path) -> Settings:
    """Reads a TOML file.

    Raises:
        ValueError: The file is missing, is not TOML, or holds an impossible setting.
    """
    return _of(path, _read(path))


def says(path: Path, settings: Settings) -> bool:
    """Whether a TOML file holds every setting and no other; one that was cut off lacks some.

    Raises:
        ValueError: See `load`.
    """
    values = _read(path)
    _of(path, values)  # what is wrong with it is said by name
    return values == tomllib.loads(dump(settings))


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(files.read(path, _FILE_BYTES_AT_MOST).decode())
    except OSError as error:
        raise ValueError(f"settings file {path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"settings file {path} is not TOML: {error}") from error
    except ValueError as error:
        raise ValueError(f"settings file {path}: {error}") from error


def _of(path: Path, values: dict[str, Any]) -> Settings:
    try:
        return from_dict(values)
    except ValueError as error:
        raise ValueError(f"settings file {path}: {error}") from error


def dump(settings: Settings) -> str:
    """The settings as TOML text."""
    return tomli_w.dumps(to_dict(settings))


def _convert(kind: Any, value: Any, name: str) -> Any:
    if dataclasses.is_dataclass(kind):
        if not isinstance(value, dict):
            raise ValueError(f"setting {name!r} is a table of settings, not {value!r}")
        return from_dict(value, kind, f"{name}.")
    if typing.get_origin(kind) is Literal:
        choices = typing.get_args(kind)
        if value not in choices:
            raise ValueError(f"setting {name!r} is {value!r}; choose one of {list(choices)}")
        return value
    if typing.get_origin(kind) is tuple:
        if not isinstance(value, list) or not all(type(entry) is int for entry in value):
            raise ValueError(f"setting {name!r} is {value!r}; it takes a list of whole numbers")
        return tuple(value)
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise ValueError(f"setting {name!r} is {value!r}; it takes a value of type {_name(kind)}")
    return value


def _name(kind: Any) -> str:
    return kind.__name__ if not isinstance(kind, types.GenericAlias) else str(kind)


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            found |= _flat(value, f"{prefix}{key}.")
        else:
            found[prefix + key] = value
    return found
