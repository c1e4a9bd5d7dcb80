"""Batch renorm (Ioffe 2017) with its activation, and the gradient of both written out.

With m values a channel, sums over those that count, gain = gamma * r / std and g the gradient that
the activation lets through:

    y' = activation((y - mean) * gain + (gamma * d + beta))
    dL/dy = gain * (g - sum(g) / m - (y - mean) * sum(g * (y - mean)) / (m * std^2))

r and d are held constant, and only y, mean and std are kept for it. Left to itself, JAX keeps and
reads several maps more: a training step takes 1.3 to 1.4 times as much of the processor's time.
"""

import dataclasses
import functools

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float32

from qlrjax.network import Activation, floating
from qlrjax.training import kernels
from qlrjax.training import maps as kept
from qlrjax.training.protocol import Maps

Statistics = dict[str, dict[str, Array]]
Tree = dict[str, Array]
# RenormLimits' fields: while JAX takes arguments apart it fills classes with what is no array.
Pair = tuple[Array, Array]


@flax.struct.dataclass
class RenormLimits:
    """How far batch renorm may correct: r in [1/r_max, r_max], d in [-d_max, d_max]."""

    r_max: Float32[Array, ""]
    d_max: Float32[Array, ""]


@dataclasses.dataclass(frozen=True)
class Rule:
    """What a layer does to its raw output, besides what it learned.

    Attributes:
        activation: Of the layer.
        epsilon: Added to the batch's variance.
        maps: How maps are kept between the passes, see `maps`.
        native: The C kernels compute moments and gradient, see `kernels`.
    """

    activation: Activation
    epsilon: float
    maps: Maps = "float32"
    native: bool = False


@dataclasses.dataclass(frozen=True)
class Raw:
    """A layer's raw output, and what normalises it.

    Attributes:
        rule: See the class.
        y: Raw output.
        trained: "gamma" and "beta".
        running: "mean" and "std" of the past; no gradient goes there.
        limits: See the class.
        there: Samples that count in the moments; None: all.
    """

    rule: Rule
    y: Float32[Array, "n h w c"]
    trained: Tree
    running: Tree
    limits: RenormLimits
    there: Bool[Array, " n"] | None = None

    @property
    def parts(self) -> tuple[Array, Tree, Tree, Pair, Array | None]:
        """All but the rule, as JAX takes it apart."""
        limits = self.limits.r_max, self.limits.d_max
        return self.y, self.trained, self.running, limits, self.there


def normalised(raw: Raw) -> tuple[Float32[Array, "n h w c"], Tree]:
    """A layer's output after normalisation and activation, and the moments of its raw output.

    The moments are those that `moments` gives. They are for statistics: a gradient that comes back
    to them is lost.
    """
    return _normalised(raw.rule, *raw.parts)


def moments(
    rule: Rule, y: Float32[Array, "n h w c"], there: Bool[Array, " n"] | None = None
) -> Tree:
    """Mean and sqrt(biased variance + epsilon) per channel, of the samples that are there."""
    if rule.native:
        mean, variance = kernels.moments(y, _counted(y, there))
    elif there is None:
        mean = jnp.mean(y, axis=(0, 1, 2))
        variance = jnp.mean((y - _row(mean)) ** 2, axis=(0, 1, 2))
    else:
        share = there.astype(jnp.float32) / jnp.sum(there.astype(jnp.float32))
        share = share.reshape(-1, 1, 1, 1) / (y.shape[1] * y.shape[2])
        mean = jnp.sum(y * share, axis=(0, 1, 2))
        variance = jnp.sum((y - _row(mean)) ** 2 * share, axis=(0, 1, 2))
    return {"mean": mean, "std": jnp.sqrt(variance + rule.epsilon)}


def corrections(batch: Tree, running: Tree, limits: RenormLimits) -> tuple[Array, Array]:
    """The factor r and the shift d of every channel, within the limits."""
    r = jnp.clip(batch["std"] / running["std"], 1 / limits.r_max, limits.r_max)
    d = (batch["mean"] - running["mean"]) / running["std"]
    return r, jnp.clip(d, -limits.d_max, limits.d_max)


def update_statistics(
    running: Statistics, batch: Statistics, momentum: Float32[Array, ""]
) -> Statistics:
    """Returns running + momentum * (batch - running), on mean and standard deviation."""
    return jax.tree.map(lambda old, new: old + momentum * (new - old), running, batch)


@flax.struct.dataclass
class Saved:
    """What the gradient of a raw output needs."""

    y: Float32[Array, "n h w c"]
    there: Bool[Array, " n"] | None
    batch: Tree  # its moments
    affine: kernels.Affine  # what is done to y
    slope: Float32[Array, " c"]  # r / std
    d: Float32[Array, " c"]

    @property
    def counted(self) -> Bool[Array, " n"]:
        """The samples that count in the moments."""
        return _counted(self.y, self.there)

    @property
    def steepness(self) -> Float32[Array, " c"]:
        """1 / std^2."""
        return 1.0 / self.batch["std"] ** 2

    def of_trained(self, sums: Array, products: Array) -> Tree:
        """The gradient of gamma and beta from sum(g) and sum(g * (y - mean))."""
        return {"gamma": products * self.slope + sums * self.d, "beta": sums}


def fitted(
    rule: Rule, y: Array, trained: Tree, running: Tree, limits: Pair, there: Array | None
) -> Saved:
    """What a mini-batch's moments make of the rule."""
    batch = moments(rule, y, there)
    r, d = corrections(batch, running, RenormLimits(*limits))
    slope = r / batch["std"]
    gain, offset = slope * trained["gamma"], d * trained["gamma"] + trained["beta"]
    affine = kernels.Affine(batch["mean"], gain, offset, rule.activation)
    return Saved(y, there, batch, affine, slope, d)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _normalised(
    rule: Rule, y: Array, trained: Tree, running: Tree, limits: Pair, there: Array | None
) -> tuple[Array, Tree]:
    return _forward(rule, y, trained, running, limits, there)[0]


def _forward(
    rule: Rule, y: Array, trained: Tree, running: Tree, limits: Pair, there: Array | None
) -> tuple[tuple[Array, Tree], Saved]:
    saved = fitted(rule, y, trained, running, limits, there)
    return (floating.activate(_before(saved), rule.activation), saved.batch), saved


def _before(saved: Saved) -> Float32[Array, "n h w c"]:
    affine = saved.affine
    return (saved.y - _row(affine.mean)) * _row(affine.gain) + _row(affine.offset)


def _backward(
    rule: Rule, saved: Saved, gradients: tuple[Array, Tree]
) -> tuple[Array, Tree, None, None, None]:
    if rule.native and rule.maps == "float32":
        of_y, sums, products = kernels.renorm_backward(
            saved.y, saved.counted, gradients[0], saved.affine, saved.steepness
        )
    else:
        of_y, sums, products = _plainly(rule, saved, gradients[0])
    return of_y, saved.of_trained(sums, products), None, None, None


def _plainly(rule: Rule, saved: Saved, gradient: Array) -> tuple[Array, Array, Array]:
    away = saved.y - _row(saved.affine.mean)
    let_through = floating.passes_gradient(_before(saved), rule.activation)
    g = gradient if let_through is None else jnp.where(let_through, gradient, 0.0)
    g = kept.rounded(g, rule.maps)
    sums, products = jnp.sum(g, axis=(0, 1, 2)), jnp.sum(g * away, axis=(0, 1, 2))
    counted = saved.counted.astype(jnp.float32)
    share = (counted / (jnp.sum(counted) * g.shape[1] * g.shape[2])).reshape(-1, 1, 1, 1)
    common = _row(sums) + away * _row(products * saved.steepness)
    return (g - common * share) * _row(saved.affine.gain), sums, products


_normalised.defvjp(_forward, _backward)


def _counted(y: Array, there: Array | None) -> Array:
    return jnp.ones(y.shape[0], bool) if there is None else there


def _row(values: Float32[Array, " c"]) -> Float32[Array, "1 1 1 c"]:
    return values.reshape(1, 1, 1, -1)
