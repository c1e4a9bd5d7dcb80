"""Integer networks from elsewhere, as plain arrays: DORY, PULP-NN, or your own.

A layer deployed with PULP-NN's 64-bit batch norm (`(k * phi + lambda) >> d`, then clip) or by DORY
runs here with the same codes. Where those kernels keep fewer bits they agree as long as nothing
overflows there: the 32-bit batch norm wraps k * phi + lambda, and `pulp_nn_quant_u8` (kappa = m,
lam = 0) narrows to int16 after the shift. Signed activations are outside this contract; give them
an offset (see `contract`).
"""

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np

from qlrjax.integer import contract
from qlrjax.integer.contract import ContractViolation
from qlrjax.integer.frozen import IntegerKind, IntegerLayer, Stage

WeightLayout = Literal["hwio", "ohwi", "oihw"]
Integers = np.ndarray | jax.Array | Sequence[Any] | int

_SIZE_LIMIT_BYTES = 2**28
_KINDS = get_args(IntegerKind)
_WITHOUT_WEIGHTS = ("pool", "add", "max_pool", "average_pool")
_FIELDS = ("weight", "kappa", "lam", "bias", "pad_value", "kappa_b", "window", "inputs")
_OPTIONS = ("kind", "shift", "bits", "stride", "padding", "layout")


def layer(arguments: Mapping[str, Any], name: str = "layer") -> IntegerLayer:
    """Builds one layer, or says what is wrong with it.

    Args:
        arguments: What describes it; kind, weight, kappa, lam and shift must be there.
            kind: What it computes, one of `IntegerKind`.
            weight: Integers in -128..127, laid out as `layout` says; ignored for a "pool", an "add"
                and the other poolings.
            kappa: Multiplier of every output channel, or one for all; int32 range. For "pool" its
                length is the number of channels.
            lam: Addend after the multiplication, likewise.
            shift: Right shift, 0 to 31.
            stride: Pixels, both directions; 1 if not said.
            padding: ((top, bottom), (left, right)) pixels; none if not said.
            pad_value: Code that padding adds, one or one per input channel, 0..255; 0 if not said.
            bits: Width of the output codes; 8 if not said.
            bias: Added to the accumulator before the multiplication, as PULP-NN's pBias; it becomes
                lam + kappa * bias.
            layout: "hwio", if not said, is ours (depthwise (kh, kw, C), linear (Cin, Cout)); "ohwi"
                is PULP-NN's (depthwise (C, kh, kw), linear (Cout, Cin)); "oihw" is PyTorch's and
                ONNX's.
            inputs: Places of the layers whose outputs it takes (-1 is the image); the layer before,
                if not said.
            kappa_b: Multiplier of an "add"'s second input.
            window: Height and width of a "max_pool" or "average_pool".
        name: How errors call the layer.

    Raises:
        ContractViolation: The sentence names the layer, what is wrong and what is allowed; also an
            unknown or missing argument.
    """
    for word, names in (
        ("has an unknown", set(arguments) - {*_FIELDS, *_OPTIONS}),
        ("lacks", {"kind", "weight", "kappa", "lam", "shift"} - set(arguments)),
    ):
        if names:
            raise ContractViolation(
                f"{name} {word} {sorted(names)[0]!r}; "
                f"a layer takes {', '.join((*_OPTIONS, *_FIELDS))}"
            )
    return _build(name, **arguments)


def stage(layers: Sequence[Mapping[str, Any]], in_shape: tuple[int, int, int]) -> Stage:
    """Builds a stage from the arguments of `layer`, one mapping a layer, and checks the graph.

    Args:
        layers: In order of execution.
        in_shape: Height, width and channels of the images.

    Raises:
        ContractViolation: See `layer`; also layers that do not fit together.
    """
    built = [layer(arguments, f"layer {index}") for index, arguments in enumerate(layers)]
    contract.check_stage(built, in_shape)
    return tuple(built)


def floor_mean(channels: int, pixels: int, name: str = "pool") -> IntegerLayer:
    """Global average pooling as PULP-NN without requantization: floor(sum / pixels), exactly.

    The division is a multiplication by 2**31 / pixels, rounded up: exact for sums of codes while
    255 * pixels**2 < 2**31.

    Raises:
        ContractViolation: More than 2901 pixels.
    """
    if not 1 <= pixels <= 2901:
        raise ContractViolation(f"{name}: {pixels} pixels are too many to average exactly")
    kappa, shift = (2**31 // pixels + 1, 31) if pixels > 1 else (1, 0)
    pool = {"kind": "pool", "weight": [], "kappa": [kappa] * channels, "lam": 0, "shift": shift}
    return layer(pool, name)


def load(path: Path, in_shape: tuple[int, int, int]) -> Stage:
    """Reads a stage from an .npz of plain arrays named "layer00.weight", "layer00.kappa" and so on.

    The names after the dot are the arguments of `layer`; "kind" and "layout" are strings, "padding"
    is [[top, bottom], [left, right]]. `qlrjax export --format npz` writes such files, and so does
    `numpy.savez`. Names without the prefix "layer" are left alone.

    Raises:
        ContractViolation: The file cannot be read as such, or see `stage`.
    """
    try:
        # A stream of our own is closed even where NumPy fails halfway.
        with path.open("rb") as stream:
            _check_size(path, stream)
            archive = np.load(stream, allow_pickle=False)
            arrays = {name: archive[name] for name in archive.files if name.startswith("layer")}
    except (OSError, EOFError, zipfile.BadZipFile, AttributeError, TypeError) as error:
        raise ContractViolation(f"{path} is not an .npz of arrays ({error})") from error
    except ContractViolation:
        raise
    except (ValueError, MemoryError) as error:
        raise ContractViolation(f"{path} holds something else than arrays ({error})") from error
    return stage(_rows(path, arrays), in_shape)


def _build(
    name: str,
    kind: Any,
    weight: Any,
    kappa: Any,
    lam: Any,
    shift: Any,
    stride: Any = 1,
    padding: Any = ((0, 0), (0, 0)),
    pad_value: Any = 0,
    bits: Any = 8,
    bias: Any = None,
    layout: Any = "hwio",
    kappa_b: Any = None,
    window: Any = (1, 1),
    inputs: Any = (),
) -> IntegerLayer:
    """Takes anything, since files hold anything; see `layer`."""
    if kind not in _KINDS:
        raise ContractViolation(f"{name}: kind {kind!r} is unknown; use one of {', '.join(_KINDS)}")
    codes = _weight(kind, weight, layout, name)
    rows = _integers(kappa, f"{name}: kappa", -(2**31), 2**31 - 1)
    if rows.ndim == 0 and kind not in _WITHOUT_WEIGHTS:
        rows = np.full(codes.shape[-1], rows)
    addend = _per_channel(lam, len(np.atleast_1d(rows)), f"{name}: lam", -(2**31), 2**31 - 1)
    rows = np.atleast_1d(rows)
    if bias is not None:
        start = _per_channel(bias, len(rows), f"{name}: bias", -(2**31), 2**31 - 1)
        addend = _fold(codes, rows, addend, start, name)
    in_channels = codes.shape[-2] if kind in ("conv", "pointwise", "linear") else len(rows)
    pad = _per_channel(pad_value, in_channels, f"{name}: pad_value", 0, 255)
    arrays = {
        "weight": codes.astype(np.int8),
        "kappa": rows.astype(np.int32),
        "lam": addend.astype(np.int32),
        "pad_value": pad.astype(np.uint8),
    }
    if kappa_b is not None:
        second = _per_channel(kappa_b, len(rows), f"{name}: kappa_b", -(2**31), 2**31 - 1)
        arrays["kappa_b"] = second.astype(np.int32)
    static = {"kind": kind, "stride": stride, "padding": padding, "shift": shift, "bits": bits}
    static["window"] = _whole_numbers(window, f"{name}: window", 1)
    static["inputs"] = _whole_numbers(inputs, f"{name}: inputs", -1)
    if len(static["window"]) != 2:
        raise ContractViolation(f"{name}: window {window} must be height and width")
    contract.check_layer(SimpleNamespace(**{"kappa_b": None} | arrays, **static), name)
    return IntegerLayer(**{field: jnp.asarray(a) for field, a in arrays.items()}, **static)


def _whole_numbers(values: Any, what: str, low: int) -> tuple[int, ...]:
    if np.shape(values) == (0,):
        return ()
    array = _integers(values, what, low, 2**15)
    if array.ndim != 1:
        raise ContractViolation(f"{what} {values!r} must be a list of whole numbers")
    return tuple(array.tolist())


def _check_size(path: Path, stream: BinaryIO) -> None:
    """Compressed members could unfold to more than memory holds; zipfile reads no further."""
    with zipfile.ZipFile(stream) as members:
        size = sum(member.file_size for member in members.infolist())
    stream.seek(0)
    if size > _SIZE_LIMIT_BYTES:
        raise ContractViolation(
            f"{path} holds {size} bytes, and no network of this kind more than {_SIZE_LIMIT_BYTES}"
        )


def _rows(path: Path, arrays: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    layers: dict[int, dict[str, Any]] = {}
    for name, array in arrays.items():
        prefix, _, field = name.partition(".")
        number = prefix.removeprefix("layer")
        if not number.isdecimal() or len(number) > 4:
            raise ContractViolation(f"{path}: {name!r} is not of the form 'layer00.weight'")
        value: Any = array
        if field in _OPTIONS:
            value = array.tolist()
            if field == "padding" and isinstance(value, list):
                value = tuple(tuple(row) if isinstance(row, list) else row for row in value)
        layers.setdefault(int(number), {})[field] = value
    if sorted(layers) != list(range(len(layers))):
        raise ContractViolation(f"{path}: layers are {sorted(layers)}; number them from 0, no gap")
    return [layers[index] for index in range(len(layers))]


def _weight(kind: Any, weight: Any, layout: Any, name: str) -> np.ndarray:
    """Our layout, int64."""
    if kind in _WITHOUT_WEIGHTS:
        return np.zeros(0, np.int64)
    if layout not in ("hwio", "ohwi", "oihw"):
        raise ContractViolation(f"{name}: layout {layout!r} is unknown; use hwio, ohwi or oihw")
    codes = _integers(weight, f"{name}: weight", -128, 127)
    wanted = {"conv": 4, "depthwise": 3}.get(kind, 2)
    if kind == "depthwise" and codes.ndim == 4 and layout != "hwio":
        if codes.shape[3 if layout == "ohwi" else 1] != 1:
            raise ContractViolation(
                f"{name}: a depthwise weight has one filter a channel; this shape is {codes.shape}"
            )
        codes = codes.squeeze(3 if layout == "ohwi" else 1)
    if kind in ("pointwise", "linear") and codes.ndim == 4:
        ones = {"hwio": (0, 1), "ohwi": (1, 2), "oihw": (2, 3)}[layout]
        if any(codes.shape[axis] != 1 for axis in ones):
            raise ContractViolation(
                f"{name}: a {kind} kernel is 1 x 1; this shape is {codes.shape}"
            )
        codes = codes.squeeze(ones)
    if codes.ndim != wanted or codes.size == 0:
        raise ContractViolation(
            f"{name}: a {kind} weight has rank {wanted}; this shape is {codes.shape}"
        )
    if layout == "hwio":
        return codes
    if kind == "conv":
        return codes.transpose((1, 2, 3, 0) if layout == "ohwi" else (2, 3, 1, 0))
    return codes.transpose(1, 2, 0) if kind == "depthwise" else codes.T


def _integers(values: Any, what: str, low: int, high: int) -> np.ndarray:
    """int64 of integers within [low, high]; whole floats are taken, anything else is refused."""
    array = np.asarray(values)
    if array.dtype.kind == "f":
        if not np.isfinite(array).all():
            raise ContractViolation(f"{what} holds NaN or infinity")
        if (array != np.trunc(array)).any():
            raise ContractViolation(f"{what} holds fractions; give the integers that are deployed")
    elif array.dtype.kind not in "iu":
        raise ContractViolation(f"{what} has dtype {array.dtype}; give integers")
    if array.size and not (array.min() >= low and array.max() <= high):
        raise ContractViolation(
            f"{what} ranges from {array.min()} to {array.max()}; it must be within {low} to {high}"
        )
    return array.astype(np.int64)


def _per_channel(values: Any, channels: int, what: str, low: int, high: int) -> np.ndarray:
    array = _integers(values, what, low, high)
    if array.ndim == 0:
        return np.full(channels, array)
    if array.shape != (channels,):
        raise ContractViolation(f"{what} has shape {array.shape}; there are {channels} channels")
    return array


def _fold(
    codes: np.ndarray, kappa: np.ndarray, lam: np.ndarray, bias: np.ndarray, name: str
) -> np.ndarray:
    flat = np.abs(codes.reshape(-1, codes.shape[-1] if codes.ndim > 1 else 1)).sum(axis=0)
    if codes.ndim > 1 and (255 * flat + np.abs(bias) >= contract.ACCUMULATOR_LIMIT).any():
        raise ContractViolation(f"{name}: accumulator and bias together can leave int32")
    folded = lam + kappa * bias
    if (np.abs(folded) >= 2**31).any():
        channel = int(np.abs(folded).argmax())
        raise ContractViolation(
            f"{name}: lam + kappa * bias is {folded[channel]} in channel {channel}; it must fit "
            "int32"
        )
    return folded
