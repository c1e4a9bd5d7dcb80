"""Synaptic Intelligence, the regulariser of AR1*: parameters that mattered are held in place.

Zenke et al. (2017): along a parameter's path, w sums -gradient * step; at an event's end the
importance grows by w / (displacement^2 + xi), clipped as in AR1 (Maltoni & Lomonaco 2019), and
later events pay strength / 2 * importance * (parameter - reference)^2. The head is left to CWR*.
"""

import dataclasses
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float32

# ar1-pytorch's eps and clip_to.
_DAMPING = 1e-7
_CLIP = 1e-3


@dataclasses.dataclass(frozen=True)
class Rule:
    """Where Zenke et al. and ar1-pytorch differ.

    Attributes:
        keep_sum: False clips the sum itself to 0 ... 1e-3 after every event. True leaves the sum as
            it is and clips a copy of it from above only, so that importance can be negative.
        normalisation: Hold gamma and beta of batch renorm too, and not the weights only.
    """

    keep_sum: bool = False
    normalisation: bool = True


PUBLISHED = Rule(keep_sum=True, normalisation=False)


@flax.struct.dataclass
class Synapses:
    """State of the regulariser; every tree has the shape of the trained layers."""

    importance: Any
    reference: Any
    path: Any


def init(layers: Any) -> Synapses:
    """No importance yet."""
    zeros = jax.tree.map(jnp.zeros_like, layers)
    return Synapses(zeros, jax.tree.map(jnp.copy, layers), jax.tree.map(jnp.copy, zeros))


def penalty(synapses: Synapses, layers: Any, rule: Rule) -> Float32[Array, ""]:
    """Half the sum of importance * displacement^2."""
    trees = [_held(tree, rule) for tree in (synapses.importance, synapses.reference, layers)]
    terms = jax.tree.map(lambda f, old, new: jnp.sum(_clipped(f, rule) * (new - old) ** 2), *trees)
    return 0.5 * jnp.asarray(sum(jax.tree.leaves(terms), jnp.zeros((), jnp.float32)))


def follow(synapses: Synapses, gradients: Any, before: Any, after: Any) -> Synapses:
    """Adds one step to the path integral."""
    path = jax.tree.map(
        lambda w, g, old, new: w - g * (new - old), synapses.path, gradients, before, after
    )
    return dataclasses.replace(synapses, path=path)


def consolidate(synapses: Synapses, layers: Any, rule: Rule) -> Synapses:
    """Turns the event's path into importance and starts a new one."""

    def grown(f: Array, w: Array, old: Array, new: Array) -> Array:
        total = f + w / ((new - old) ** 2 + _DAMPING)
        return total if rule.keep_sum else jnp.clip(total, 0.0, _CLIP)

    trees = (synapses.importance, synapses.path, synapses.reference, layers)
    importance = jax.tree.map(grown, *trees)
    return Synapses(importance, layers, jax.tree.map(jnp.zeros_like, layers))


def _clipped(importance: Array, rule: Rule) -> Array:
    return jnp.minimum(importance, _CLIP) if rule.keep_sum else importance


def _held(layers: Any, rule: Rule) -> Any:
    if rule.normalisation:
        return layers
    return {name: {"weight": own["weight"]} for name, own in layers.items()}
