"""A session meets a class it was not made for: every array with a class axis gets longer."""

import dataclasses
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array

from qlrjax.session import SessionState


def add_class(state: SessionState) -> SessionState:
    """Appends one class that was never seen: zero weights, no images, no accuracy."""
    training = state.learner.training
    classes = training.params["head"].shape[1]

    def wider(leaf: Array) -> Array:
        # Only the head and its momentum have (features, classes); both stand under "head".
        return jnp.pad(leaf, ((0, 0), (0, 1)))

    params = {**training.params, "head": wider(training.params["head"])}
    parts: Any = training.optimizer
    optimizer = tuple(
        part._replace(trace={**part.trace, "head": wider(part.trace["head"])})
        if hasattr(part, "trace")
        else part
        for part in parts
    )
    events = state.accuracy.shape[0]
    assert state.introduced.shape == (classes,)
    return dataclasses.replace(
        state,
        learner=dataclasses.replace(
            state.learner,
            training=dataclasses.replace(training, params=params, optimizer=optimizer),
            head=dataclasses.replace(
                state.learner.head,
                weight=wider(state.learner.head.weight),
                past=jnp.pad(state.learner.head.past, (0, 1)),
            ),
        ),
        accuracy=jnp.pad(state.accuracy, ((0, 0), (0, 1)), constant_values=jnp.nan),
        introduced=jnp.pad(state.introduced, (0, 1), constant_values=events),
    )
