"""CWR*: the classifier's consolidated weights, beside the ones being trained.

Before an event the weights of all classes in (event and replay memory) are loaded from the
consolidated ones and all others are zero; after it they are consolidated as a running average,
weighted by how often each class was seen. Lomonaco et al. (2020), as in ar1-pytorch.
"""

import flax.struct
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float32, Int32


@flax.struct.dataclass
class Head:
    """Consolidated weights.

    Attributes:
        weight: float32[C, classes], zero for classes never seen.
        past: float32[classes], latents of the class seen in all events so far, replays included.
    """

    weight: Float32[Array, "c classes"]
    past: Float32[Array, " classes"]


def init(features: int, classes: int) -> Head:
    """Nothing seen yet."""
    return Head(jnp.zeros((features, classes), jnp.float32), jnp.zeros((classes,), jnp.float32))


def load(head: Head, present: Bool[Array, " classes"]) -> Float32[Array, "c classes"]:
    """Weights to train from: the consolidated ones of present classes, zero elsewhere."""
    return jnp.where(present[None, :], head.weight, 0.0)


def consolidate(
    head: Head, trained: Float32[Array, "c classes"], counts: Int32[Array, " classes"]
) -> Head:
    """Averages the trained weights of present classes into the consolidated ones.

        w'_j = w_j - mean(w of all present classes)
        saved_j = (saved_j * p + w'_j) / (p + 1),  p = sqrt(past_j / cur_j)

    so a class seen for the first time (past 0) takes w' as it is. `counts` are cur, the latents of
    each class in the event and the whole replay memory.
    """
    current = counts.astype(jnp.float32)
    present = counts > 0
    total = jnp.sum(jnp.where(present[None, :], trained, 0.0))
    entries = jnp.maximum(jnp.sum(present.astype(jnp.float32)), 1.0) * trained.shape[0]
    centred = trained - total / entries
    p = jnp.sqrt(head.past / jnp.where(present, current, 1.0))[None, :]
    merged = (head.weight * p + centred) / (p + 1)
    return Head(jnp.where(present[None, :], merged, head.weight), head.past + current)
