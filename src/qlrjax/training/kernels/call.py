"""Calls of the C kernels, in shapes and types that they take."""

import functools
import math
from collections.abc import Callable
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float32, Int32

from qlrjax.native import Library, Unavailable, description, load
from qlrjax.network import Activation, Cut, Layer

_FORWARD, _OF_INPUT, _OF_ROWS, _CHAIN, _MOMENTS, _RENORM = (
    "qlrjax_depthwise_forward",
    "qlrjax_depthwise_of_input",
    "qlrjax_depthwise_of_rows",
    "qlrjax_chain_backward",
    "qlrjax_moments",
    "qlrjax_renorm_backward",
)
LIBRARY = Library(
    package="qlrjax.training.kernels",
    main="training.c",
    targets=(_FORWARD, _OF_INPUT, _OF_ROWS, _CHAIN, _MOMENTS, _RENORM),
    instructions=("plain C", "AVX2", "AVX-512"),
    variable="QLRJAX_TRAINING",
)
_MOST_TAPS = 49  # as in depthwise.h
_TOPS: dict[Activation, int] = {"none": -1, "relu": 0, "relu6": 6}


@flax.struct.dataclass
class Affine:
    """What is done to a raw output y: (y - mean) * gain + offset by channel, then activation."""

    mean: Float32[Array, " c"]
    gain: Float32[Array, " c"]
    offset: Float32[Array, " c"]
    activation: Activation = flax.struct.field(pytree_node=False)


def serve(cut: Cut) -> bool:
    """Whether there are kernels here for what is trained above a cut; they are built if need be.

    Raises:
        Unavailable, ValueError: See `qlrjax.native.load`.
    """
    wanted = any(layer.batch_norm or fits(layer) for layer in cut.weighted)
    return wanted and load(LIBRARY) is not None


def fits(layer: Layer) -> bool:
    """Whether `depthwise` can compute a layer."""
    return layer.kind == "depthwise" and math.prod(layer.kernel_hw) <= _MOST_TAPS


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def depthwise(
    layer: Layer, rows: Float32[Array, "taps c"], x: Float32[Array, "n h w c"]
) -> Float32[Array, "n h2 w2 c"]:
    """A depthwise layer before its normalisation; weights are rows of taps."""
    shape = (x.shape[0], *layer.out_hw, x.shape[3])
    return _call(_FORWARD, _floats(*shape))(x, rows, _window(layer))


def _forward(layer: Layer, rows: Array, x: Array) -> tuple[Array, tuple[Array, Array]]:
    return depthwise(layer, rows, x), (rows, x)


def _backward(layer: Layer, saved: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    # Two calls: below the first trained layer nobody asks for the gradient of x.
    rows, x = saved
    of_x = _call(_OF_INPUT, _floats(*x.shape))(rows, gradient, _window(layer))
    of_rows = _call(_OF_ROWS, _floats(*rows.shape))(x, gradient, _window(layer))
    return of_rows, of_x


depthwise.defvjp(_forward, _backward)


def chain_forward(
    layer: Layer, rows: Float32[Array, "taps c"], y: Float32[Array, "n h w c"], below: Affine
) -> Float32[Array, "n h2 w2 c"]:
    """`depthwise` of a raw output y, which is normalised and activated on the way."""
    shape = (y.shape[0], *layer.out_hw, y.shape[3])
    return _call(_FORWARD, _floats(*shape))(y, rows, _window(layer), *_operands(below))


def chain_backward(
    layer: Layer,
    rows: Float32[Array, "taps c"],
    raw: tuple[Float32[Array, "n h w c"], Bool[Array, " n"]],
    gradient: Float32[Array, "n h2 w2 c"],
    below: tuple[Affine, Float32[Array, " c"]],
) -> tuple[Array, Array, Array, Array]:
    """The gradient of the raw output y that `chain_forward` reads.

    Args:
        layer: The depthwise layer.
        rows: Its weights.
        raw: y, and the samples that count in its moments.
        gradient: Of what `chain_forward` returns.
        below: What is done to y, and 1 / std^2.

    Returns:
        The gradient of y, the two sums of `renorm_backward`, and the gradient of the rows.
    """
    (y, there), (affine, steepness) = raw, below
    taps, channels = rows.shape
    call = _call(_CHAIN, (_floats(*y.shape), _floats(taps + 2, channels)))
    operands = (_window(layer), *_operands(affine), there.astype(jnp.uint8), gradient, steepness)
    of_y, sums = call(y, rows, *operands)
    return of_y, sums[taps], sums[taps + 1], sums[:taps]


def moments(
    y: Float32[Array, "n h w c"], there: Bool[Array, " n"]
) -> tuple[Float32[Array, " c"], Float32[Array, " c"]]:
    """Mean and biased variance per channel, of the samples that are there."""
    both = _call(_MOMENTS, _floats(2, y.shape[3]))(y, there.astype(jnp.uint8))
    return both[0], both[1]


def renorm_backward(
    y: Float32[Array, "n h w c"],
    there: Bool[Array, " n"],
    gradient: Float32[Array, "n h w c"],
    after: Affine,
    steepness: Float32[Array, " c"],
) -> tuple[Float32[Array, "n h w c"], Float32[Array, " c"], Float32[Array, " c"]]:
    """The gradient of a raw output y, see `renorm`.

    Args:
        y: Raw output.
        there: Samples that count in the moments.
        gradient: Of what came out of the activation.
        after: What is done to y.
        steepness: 1 / std^2.

    Returns:
        The gradient, and per channel the sums of what the activation lets through of `gradient`,
        alone and times y - mean.
    """
    call = _call(_RENORM, (_floats(*y.shape), _floats(2, y.shape[3])))
    of_y, sums = call(y, there.astype(jnp.uint8), gradient, *_operands(after), steepness)
    return of_y, sums[0], sums[1]


def _operands(affine: Affine) -> tuple[Array, ...]:
    top = jnp.asarray([_TOPS[affine.activation]], jnp.int32)
    return affine.mean, affine.gain, affine.offset, top


def _call(target: str, results: Any) -> Callable[..., Any]:
    if load(LIBRARY) is None:  # who asks for the kernels by name has not asked `serve`
        raise Unavailable(description(LIBRARY))
    return jax.ffi.ffi_call(target, results)


def _floats(*shape: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def _window(layer: Layer) -> Int32[Array, " 5"]:
    (top, _), (left, _) = layer.padding
    return jnp.asarray([*layer.kernel_hw, layer.stride, top, left], jnp.int32)
