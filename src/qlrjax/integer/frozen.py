"""The frozen stage: integer-only inference below the latent layer. No float, anywhere.

For output channel c, with uint8 inputs x, int8 weights w and an exact int32 accumulator:

    acc = sum(w * x)
    y   = clip((kappa[c] * acc + lam[c]) >> shift, 0, 2**bits - 1)

kappa and lam absorb batch norm, the scales and the input's offset. Padding adds a given uint8 per
input channel. This is the contract of PULP-NN and DORY, so a network deployed by them can be loaded
and reproduced bit for bit. The other layers have an accumulator of their own under the same
contract: "pool" is the sum over the whole image and "average_pool" that over a window, with w = 1
(kappa = 1, lam = 0, shift = log2(n) is floor(sum / n)); "max_pool" is the largest code in a window.
"add" has two multipliers and no accumulator:

    y   = clip((kappa[c] * a + kappa_b[c] * b + lam[c]) >> shift, 0, 2**bits - 1)

See `contract` for codes of values that can be negative.
"""

import functools
from typing import Literal

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int8, Int32, UInt8

from qlrjax.integer import fixedpoint
from qlrjax.network import Padding

IntegerKind = Literal[
    "conv", "depthwise", "pointwise", "linear", "pool", "add", "max_pool", "average_pool"
]
IMAGE = -1  # among a layer's inputs: what the stage is given


@flax.struct.dataclass
class IntegerLayer:
    """One integer layer.

    Attributes:
        kind: What the layer computes.
        weight: int8; conv (kh, kw, Cin, Cout), depthwise (kh, kw, C), pointwise and linear
            (Cin, Cout), else (0,).
        kappa: int32[Cout].
        lam: int32[Cout].
        pad_value: uint8[Cin], the code that padding adds.
        kappa_b: int32[Cout], the multiplier of an add's second input; None elsewhere.
        stride: Step in both directions, pixels.
        padding: ((top, bottom), (left, right)) in pixels.
        shift: 0 to 31.
        bits: Width of the output codes, 1 to 8.
        window: (height, width) of "max_pool" and "average_pool", pixels.
        inputs: Places in the stage of the layers whose outputs it takes, `IMAGE` being what the
            stage is given; empty is the layer before.
    """

    weight: Int8[Array, "..."]
    kappa: Int32[Array, " cout"]
    lam: Int32[Array, " cout"]
    pad_value: UInt8[Array, " cin"]
    kind: IntegerKind = flax.struct.field(pytree_node=False)
    stride: int = flax.struct.field(pytree_node=False, default=1)
    padding: Padding = flax.struct.field(pytree_node=False, default=((0, 0), (0, 0)))
    shift: int = flax.struct.field(pytree_node=False, default=0)
    bits: int = flax.struct.field(pytree_node=False, default=8)
    window: tuple[int, int] = flax.struct.field(pytree_node=False, default=(1, 1))
    inputs: tuple[int, ...] = flax.struct.field(pytree_node=False, default=())
    kappa_b: Int32[Array, " cout"] | None = None


Stage = tuple[IntegerLayer, ...]


def apply(stage: Stage, images: UInt8[Array, "n h w c"]) -> UInt8[Array, "n h2 w2 c2"]:
    """Runs uint8 images (NHWC) through all layers; an empty stage returns the images."""
    return trace(stage, images)[-1] if stage else images


def trace(stage: Stage, images: UInt8[Array, "n h w c"]) -> list[UInt8[Array, "n _ _ _"]]:
    """Every layer's output, in order."""
    outputs: list[UInt8[Array, "n _ _ _"]] = []
    for index, layer in enumerate(stage):
        taken = [images if at == IMAGE else outputs[at] for at in sources(layer, index)]
        outputs.append(apply_layer(layer, *taken))
    return outputs


def sources(layer: IntegerLayer, index: int) -> tuple[int, ...]:
    """Places of the inputs of layer number `index` of a stage."""
    return layer.inputs or (index - 1,)


def is_chain(stage: Stage) -> bool:
    """Whether every layer takes the output of the one before and nothing else."""
    return all(sources(layer, index) == (index - 1,) for index, layer in enumerate(stage))


def apply_layer(
    layer: IntegerLayer, x: UInt8[Array, "n h w c"], b: UInt8[Array, "n h w c"] | None = None
) -> UInt8[Array, "n h2 w2 c2"]:
    """One layer: accumulate, then requantize; `b` is an add's second input."""
    if layer.kind == "add":
        assert b is not None
        assert layer.kappa_b is not None
        kappas = (layer.kappa, layer.kappa_b)
        return fixedpoint.requantize_sum(x, b, kappas, layer.lam, layer.shift, layer.bits)
    return fixedpoint.requantize(
        accumulate(layer, x), layer.kappa, layer.lam, layer.shift, layer.bits
    )


def accumulate(layer: IntegerLayer, x: UInt8[Array, "n h w c"]) -> Int32[Array, "n h2 w2 c2"]:
    """The exact int32 accumulator before requantization; an add has none."""
    match layer.kind:
        case "conv":
            return _convolve(layer, x)
        case "depthwise":
            return _depthwise(layer, x)
        case "pool":
            return jnp.sum(x.astype(jnp.int32), axis=(1, 2), keepdims=True)
        case "max_pool":
            return functools.reduce(jnp.maximum, _taps(layer, x)).astype(jnp.int32)
        case "average_pool":
            return functools.reduce(jnp.add, (tap.astype(jnp.int32) for tap in _taps(layer, x)))
        case "add":
            raise ValueError("an add has no accumulator")
        case _:
            return _dot(x, layer.weight)


def _dot(x: UInt8[Array, "n h w c"], weight: Int8[Array, "c d"]) -> Int32[Array, "n h w d"]:
    # int8 x int8 has a fast CPU kernel and mixed signs do not, so x is shifted by -128 and
    # 128 * sum(w) is added back: exact.
    signed = jax.lax.bitcast_convert_type(x ^ np.uint8(128), jnp.int8)
    acc = jax.lax.dot_general(
        signed, weight, (((3,), (0,)), ((), ())), preferred_element_type=jnp.int32
    )
    return acc + jnp.broadcast_to(128 * jnp.sum(weight.astype(jnp.int32), axis=0), acc.shape)


def _pad(layer: IntegerLayer, x: UInt8[Array, "n h w c"]) -> UInt8[Array, "n h3 w3 c"]:
    if layer.padding == ((0, 0), (0, 0)):
        return x
    (top, bottom), (left, right) = layer.padding
    batch, height, width, channels = x.shape
    shape = (batch, top + height + bottom, left + width + right, channels)
    canvas = jnp.broadcast_to(layer.pad_value, shape)
    return jax.lax.dynamic_update_slice(canvas, x, (0, top, left, 0))


def _taps(layer: IntegerLayer, x: UInt8[Array, "n h w c"]) -> list[UInt8[Array, "n h2 w2 c"]]:
    """The strided view of the padded input under every kernel position, row by row."""
    padded = _pad(layer, x)
    rows, columns = layer.window if layer.weight.ndim == 1 else layer.weight.shape[:2]
    out_h = (padded.shape[1] - rows) // layer.stride + 1
    out_w = (padded.shape[2] - columns) // layer.stride + 1
    reach_h, reach_w = (out_h - 1) * layer.stride + 1, (out_w - 1) * layer.stride + 1
    return [
        padded[:, i : i + reach_h : layer.stride, j : j + reach_w : layer.stride]
        for i in range(rows)
        for j in range(columns)
    ]


def _convolve(layer: IntegerLayer, x: UInt8[Array, "n h w c"]) -> Int32[Array, "n h2 w2 d"]:
    patches = jnp.concatenate(_taps(layer, x), axis=-1)
    return _dot(patches, layer.weight.reshape(patches.shape[-1], -1))


def _depthwise(layer: IntegerLayer, x: UInt8[Array, "n h w c"]) -> Int32[Array, "n h2 w2 c"]:
    weight = layer.weight.reshape(-1, layer.weight.shape[-1]).astype(jnp.int32)
    acc = None
    for tap, w in zip(_taps(layer, x), weight, strict=True):
        term = tap.astype(jnp.int32) * jnp.broadcast_to(w, tap.shape)
        acc = term if acc is None else acc + term
    assert acc is not None
    return acc
