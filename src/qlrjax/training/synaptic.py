"""Synaptic Intelligence, the regulariser of AR1*: parameters that mattered are held in place.

Zenke et al. (2017): along a parameter's path, w sums -gradient * step; at an event's end the
importance grows by w / (displacement^2 + xi), clipped as in AR1 (Maltoni & Lomonaco 2019), and
later events pay strength / 2 * importance * (parameter - reference)^2. The head is left to CWR*.

ar1-pytorch has the same form, xi and clip, but leaves out batch norm's parameters and clips a copy
of the sum; here gamma and beta are held too, and the sum itself is clipped after every event.
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


def penalty(synapses: Synapses, layers: Any) -> Float32[Array, ""]:
    """Half the sum of importance * displacement^2."""
    terms = jax.tree.map(
        lambda f, old, new: jnp.sum(f * (new - old) ** 2),
        synapses.importance,
        synapses.reference,
        layers,
    )
    return 0.5 * jnp.asarray(sum(jax.tree.leaves(terms), jnp.zeros((), jnp.float32)))


def follow(synapses: Synapses, gradients: Any, before: Any, after: Any) -> Synapses:
    """Adds one step to the path integral."""
    path = jax.tree.map(
        lambda w, g, old, new: w - g * (new - old), synapses.path, gradients, before, after
    )
    return dataclasses.replace(synapses, path=path)


def consolidate(synapses: Synapses, layers: Any) -> Synapses:
    """Turns the event's path into importance and starts a new one."""
    importance = jax.tree.map(
        lambda f, w, old, new: jnp.clip(f + w / ((new - old) ** 2 + _DAMPING), 0.0, _CLIP),
        synapses.importance,
        synapses.path,
        synapses.reference,
        layers,
    )
    return Synapses(importance, layers, jax.tree.map(jnp.zeros_like, layers))
