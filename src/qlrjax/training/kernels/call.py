"""Calls of the C kernels, in shapes and types that they take."""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float32, Int32

from qlrjax.native import Library, Unavailable, description, load
from qlrjax.network import Activation, Cut, Layer

_FORWARD, _OF_INPUT, _OF_ROWS, _MOMENTS, _RENORM = (
    "qlrjax_depthwise_forward",
    "qlrjax_depthwise_of_input",
    "qlrjax_depthwise_of_rows",
    "qlrjax_moments",
    "qlrjax_renorm_backward",
)
LIBRARY = Library(
    package="qlrjax.training.kernels",
    main="training.c",
    targets=(_FORWARD, _OF_INPUT, _OF_ROWS, _MOMENTS, _RENORM),
    instructions=("plain C", "AVX2", "AVX-512"),
    variable="QLRJAX_TRAINING",
)
_MOST_TAPS = 49  # as in depthwise.h
_TOPS: dict[Activation, int] = {"none": -1, "relu": 0, "relu6": 6}


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


def moments(
    y: Float32[Array, "n h w c"], there: Bool[Array, " n"]
) -> tuple[Float32[Array, " c"], Float32[Array, " c"]]:
    """Mean and biased variance per channel, of the samples that are there."""
    channel = _floats(y.shape[3])
    mean, variance = _call(_MOMENTS, (channel, channel))(y, there.astype(jnp.uint8))
    return mean, variance


def renorm_backward(
    y: Float32[Array, "n h w c"],
    there: Bool[Array, " n"],
    gradient: Float32[Array, "n h w c"],
    by_channel: tuple[Array, Array, Array, Array],
    activation: Activation,
) -> tuple[Float32[Array, "n h w c"], Float32[Array, " c"], Float32[Array, " c"]]:
    """The gradient of a raw output y, see `renorm`.

    Args:
        y: Raw output.
        there: Samples that count in the moments.
        gradient: Of what came out of the activation.
        by_channel: Mean, gain, offset and 1 / std^2.
        activation: What follows; it sees (y - mean) * gain + offset.

    Returns:
        The gradient, and per channel the sums of what the activation lets through of `gradient`,
        alone and times y - mean.
    """
    channel = _floats(y.shape[3])
    top = jnp.asarray([_TOPS[activation]], jnp.int32)
    call = _call(_RENORM, (_floats(*y.shape), channel, channel))
    of_y, sums, products = call(y, there.astype(jnp.uint8), gradient, *by_channel, top)
    return of_y, sums, products


def _call(target: str, results: Any) -> Callable[..., Any]:
    if load(LIBRARY) is None:  # who asks for the kernels by name has not asked `serve`
        raise Unavailable(description(LIBRARY))
    return jax.ffi.ffi_call(target, results)


def _floats(*shape: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def _window(layer: Layer) -> Int32[Array, " 5"]:
    (top, _), (left, _) = layer.padding
    return jnp.asarray([*layer.kernel_hw, layer.stride, top, left], jnp.int32)
