"""What an integer layer must satisfy before it may run; everything else is refused by name.

Codes are uint8 throughout. Values that can be negative, such as those of linear bottlenecks and of
adds without activation, have codes with an offset, not signed ones: code q stands for S * (q - z),
z being the code of zero. Everything that takes uint8 codes so takes them, too (packing, the replay
memory, exports), and the arithmetic does not change: the offset is part of the next layer's lam
(-kappa * z * sum of weights), its padding adds z (`pad_value`), and an add takes both offsets into
its lam. Maxima of codes are codes of maxima; a maximum is padded with code 0, which no code is
below.

`frozen.apply` never checks numbers while it runs, so a stage is checked once, when it is built by
`quantize`, imported by `deployed` or loaded from a file. Bounds are exact: int64 on the host.
"""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import get_args

import numpy as np

from qlrjax.integer.fixedpoint import SHIFT_MAX
from qlrjax.integer.frozen import IMAGE, IntegerKind, IntegerLayer, sources

INPUT_MAX = 255
ACCUMULATOR_LIMIT = 2**31

_WEIGHT_RANK = {"conv": 4, "depthwise": 3, "pointwise": 2, "linear": 2}
_KEEPS_CHANNELS = ("depthwise", "pool", "add", "max_pool", "average_pool")
_HAS_WINDOW = ("conv", "depthwise", "max_pool", "average_pool")


class ContractViolation(ValueError):
    """An integer layer or stage that the arithmetic contract does not cover."""


# A layer, or its fields before they are one: what comes from a file is checked first.
Fields = IntegerLayer | SimpleNamespace


def accumulator_bound(layer: Fields, window: int = 1) -> np.ndarray:
    """Worst |acc| of every output channel over all uint8 inputs, exactly.

    Args:
        layer: An integer layer with concrete arrays.
        window: Pixels that a "pool" layer sums; other kinds ignore it.

    Returns:
        int64[Cout]: max(255 * sum of positive weights, 255 * sum of |negative weights|); 0 for an
        add, which has no accumulator.
    """
    pixels = {"pool": window, "max_pool": 1, "add": 0}.get(layer.kind)
    if layer.kind == "average_pool":
        pixels = layer.window[0] * layer.window[1]
    if pixels is not None:
        return np.full(np.shape(layer.kappa), INPUT_MAX * pixels, np.int64)
    weight = np.asarray(layer.weight).astype(np.int64)
    weight = weight.reshape(-1, weight.shape[-1])
    positive = np.maximum(weight, 0).sum(axis=0)
    negative = np.maximum(-weight, 0).sum(axis=0)
    return INPUT_MAX * np.maximum(positive, negative)


def check_layer(layer: Fields, name: str = "layer", window: int = 1) -> None:
    """Checks one layer on its own.

    Args:
        layer: The layer, or a namespace with its fields; arrays are concrete.
        name: How to call it in the error.
        window: Pixels that a "pool" layer sums.

    Raises:
        ContractViolation: Unknown kind, wrong dtype or shape, a shift, width, stride or padding out
            of range, or an accumulator that can leave int32. The sentence says which and where.
    """
    if layer.kind not in get_args(IntegerKind):
        raise ContractViolation(
            f"{name}: kind {layer.kind!r} is unknown; use one of {', '.join(get_args(IntegerKind))}"
        )
    _check_geometry(layer, name)
    _check_arrays(layer, name)
    bound = accumulator_bound(layer, window)
    if bound.size and bound.max() >= ACCUMULATOR_LIMIT:
        channel = int(bound.argmax())
        raise ContractViolation(
            f"{name}: the accumulator of output channel {channel} can reach {bound[channel]}, but "
            f"int32 ends at {ACCUMULATOR_LIMIT - 1}; split the layer or use smaller weights"
        )


def check_stage(
    stage: Sequence[IntegerLayer], in_shape: tuple[int, int, int]
) -> list[tuple[int, int, int]]:
    """Checks every layer, and that each takes what the layers before give.

    Args:
        stage: Layers in order; may be empty.
        in_shape: Height, width and channels of the images.

    Returns:
        Height, width and channels of every layer's output.

    Raises:
        ContractViolation: See `check_layer`; also when channels or sizes do not fit together.
    """
    shapes: list[tuple[int, int, int]] = []
    for index, layer in enumerate(stage):
        name = f"layer {index} ({layer.kind})"
        taken = sources(layer, index)
        wanted = 2 if layer.kind == "add" else 1
        if len(taken) != wanted or not all(IMAGE <= at < index for at in taken):
            raise ContractViolation(
                f"{name}: takes the outputs of layers {list(taken)}; it needs {wanted} of those "
                "before it"
            )
        inputs = [in_shape if at == IMAGE else shapes[at] for at in taken]
        if inputs[0] != inputs[-1]:
            raise ContractViolation(f"{name}: adds outputs of shapes {inputs[0]} and {inputs[1]}")
        check_layer(layer, name, window=inputs[0][0] * inputs[0][1])
        shapes.append(_next_shape(layer, inputs[0], name))
    return shapes


def output_shape(layer: IntegerLayer, in_shape: tuple[int, int, int]) -> tuple[int, int, int]:
    """Height, width and channels of what the layer gives for an input of `in_shape`.

    Raises:
        ContractViolation: The input has other channels than the layer, or is smaller than its
            kernel.
    """
    return _next_shape(layer, in_shape, f"layer ({layer.kind})")


def _next_shape(
    layer: IntegerLayer, in_shape: tuple[int, int, int], name: str
) -> tuple[int, int, int]:
    height, width, channels = in_shape
    if layer.pad_value.shape[0] != channels:
        raise ContractViolation(
            f"{name}: takes {layer.pad_value.shape[0]} channels, but its input has {channels}"
        )
    out_channels = layer.kappa.shape[0]
    match layer.kind:
        case "pool":
            return (1, 1, out_channels)
        case "conv" | "depthwise" | "max_pool" | "average_pool":
            rows, columns = layer.window if layer.weight.ndim == 1 else layer.weight.shape[:2]
            (top, bottom), (left, right) = layer.padding
            spare_h, spare_w = height + top + bottom - rows, width + left + right - columns
            if min(spare_h, spare_w) < 0:
                raise ContractViolation(
                    f"{name}: an input of {height} x {width} pixels, padded by {layer.padding}, is "
                    f"smaller than the {rows} x {columns} window"
                )
            return (spare_h // layer.stride + 1, spare_w // layer.stride + 1, out_channels)
        case _:
            return (height, width, out_channels)


def _is_count(value: object, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _check_geometry(layer: Fields, name: str) -> None:
    if not _is_count(layer.shift, 0, SHIFT_MAX):
        raise ContractViolation(
            f"{name}: shift {layer.shift!r} is out of range; it must be an int from 0 to "
            f"{SHIFT_MAX}"
        )
    if not _is_count(layer.bits, 1, 8):
        raise ContractViolation(
            f"{name}: {layer.bits!r} output bits are out of range; use an int from 1 to 8"
        )
    if not _is_count(layer.stride, 1, 2**15):
        raise ContractViolation(f"{name}: stride {layer.stride!r} must be a positive int")
    try:
        sides = [side for pair in layer.padding for side in pair]
        paired = len(layer.padding) == 2 and all(len(pair) == 2 for pair in layer.padding)
    except TypeError:
        sides, paired = [], False
    if not paired or not all(_is_count(side, 0, 2**15) for side in sides):
        raise ContractViolation(
            f"{name}: padding {layer.padding!r} must be ((top, bottom), (left, right)) in pixels, "
            "none negative"
        )
    if layer.kind not in _HAS_WINDOW and (layer.stride != 1 or any(sides)):
        raise ContractViolation(
            f"{name}: a {layer.kind} layer has neither stride nor padding; this one has stride "
            f"{layer.stride} and padding {layer.padding}"
        )
    if not all(_is_count(side, 1, 2**15) for side in layer.window):
        raise ContractViolation(f"{name}: window {layer.window!r} must be positive ints")


def _check_arrays(layer: Fields, name: str) -> None:
    fields = (("weight", np.int8), ("kappa", np.int32), ("lam", np.int32), ("pad_value", np.uint8))
    for field, dtype in fields:
        array = getattr(layer, field)
        if not hasattr(array, "dtype") or array.dtype != dtype:
            found = getattr(array, "dtype", type(array).__name__)
            raise ContractViolation(f"{name}: {field} must be {np.dtype(dtype)}, not {found}")
        rank = _WEIGHT_RANK.get(layer.kind, 1) if field == "weight" else 1
        if array.ndim != rank:
            raise ContractViolation(
                f"{name}: {field} of shape {tuple(array.shape)} has rank {array.ndim}; a "
                f"{layer.kind} layer needs rank {rank}"
            )
    out_channels, in_channels = layer.kappa.shape[0], layer.pad_value.shape[0]
    expected = {
        "conv": (*layer.weight.shape[:2], in_channels, out_channels),
        "depthwise": (*layer.weight.shape[:2], out_channels),
        "pointwise": (in_channels, out_channels),
        "linear": (in_channels, out_channels),
    }.get(layer.kind, (0,))
    if layer.weight.shape != expected:
        raise ContractViolation(
            f"{name}: weight has shape {tuple(layer.weight.shape)}; kappa and pad_value ask for "
            f"{tuple(expected)}"
        )
    if layer.lam.shape != layer.kappa.shape:
        raise ContractViolation(
            f"{name}: lam has shape {tuple(layer.lam.shape)} and kappa {tuple(layer.kappa.shape)}; "
            "both are per output channel"
        )
    _check_second(layer, name)
    if layer.kind in _KEEPS_CHANNELS and in_channels != out_channels:
        raise ContractViolation(
            f"{name}: a {layer.kind} layer keeps its channels, but pad_value has {in_channels} and "
            f"kappa {out_channels}"
        )
    needs_weights = layer.kind in _WEIGHT_RANK
    if min(out_channels, in_channels) == 0 or (needs_weights and layer.weight.size == 0):
        raise ContractViolation(f"{name}: has no channels or no weights")
    if layer.kind == "max_pool" and np.any(layer.pad_value):
        raise ContractViolation(f"{name}: pads with codes above 0, which a maximum could return")


def _check_second(layer: Fields, name: str) -> None:
    """An add's second multiplier, which no other layer has."""
    second = layer.kappa_b
    if (second is None) != (layer.kind != "add"):
        raise ContractViolation(f"{name}: kappa_b is there for adds and for nothing else")
    if second is None:
        return
    if getattr(second, "dtype", None) != np.int32 or second.shape != layer.kappa.shape:
        raise ContractViolation(
            f"{name}: kappa_b must be int32 of shape {tuple(layer.kappa.shape)} as kappa is"
        )
