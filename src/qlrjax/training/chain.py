"""A normalised layer and the depthwise layer that reads it, as one step of the C kernels.

What lies between the two is written nowhere: it is made of the raw output where it is read, forward
and backward. The result has the bits of the two steps where XLA rounds as the kernel does, and
differs by an ulp where it does not.
"""

import functools
from typing import Any

import jax
from jaxtyping import Array, Float32

from qlrjax.network import Cut, Layer
from qlrjax.training import kernels, renorm
from qlrjax.training.renorm import Raw, Rule, Saved, Tree


def fits(cut: Cut, layer: Layer, raw: Raw) -> bool:
    """Whether `depthwise` can compute a layer on a raw output that no other layer reads."""
    rule = raw.rule
    readers = sum(layer.inputs[0] in other.inputs for other in cut.above)
    return rule.native and rule.maps == "float32" and kernels.fits(layer) and readers == 1


def depthwise(
    layer: Layer, rows: Float32[Array, "taps c"], raw: Raw
) -> tuple[Float32[Array, "n h2 w2 c"], Tree]:
    """The raw output of a depthwise layer, and the moments of what it reads.

    Args:
        layer: The depthwise layer.
        rows: Its weights.
        raw: The raw output of the layer below.
    """
    return _depthwise((layer, raw.rule), rows, *raw.parts)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _depthwise(pair: tuple[Layer, Rule], rows: Array, *parts: Any) -> tuple[Array, Tree]:
    return _forward(pair, rows, *parts)[0]


def _forward(
    pair: tuple[Layer, Rule], rows: Array, *parts: Any
) -> tuple[tuple[Array, Tree], tuple[Array, Saved]]:
    layer, rule = pair
    saved = renorm.fitted(rule, *parts)
    out = kernels.chain_forward(layer, rows, saved.y, saved.affine)
    return (out, saved.batch), (rows, saved)


def _backward(
    pair: tuple[Layer, Rule], kept: tuple[Array, Saved], gradients: tuple[Array, Tree]
) -> tuple[Array, Array, Tree, None, None, None]:
    rows, saved = kept
    raw, below = (saved.y, saved.counted), (saved.affine, saved.steepness)
    of_y, sums, products, of_rows = kernels.chain_backward(pair[0], rows, raw, gradients[0], below)
    return of_rows, of_y, saved.of_trained(sums, products), None, None, None


_depthwise.defvjp(_forward, _backward)
