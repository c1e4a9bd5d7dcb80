"""A session's classes change: every array with a class axis gets longer, shorter or forgets."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array

from qlrjax.session import SessionState
from qlrjax.training.replay import ReplayMemory

# Of an array whose last axis is the classes, and the value of a class that was never seen.
_Change = Callable[[Array, Any], Array]


def add_class(state: SessionState) -> SessionState:
    """Appends one class that was never seen: zero weights, no images, no accuracy."""

    def longer(leaf: Array, unseen: Any) -> Array:
        widths = [(0, 0)] * (leaf.ndim - 1) + [(0, 1)]
        return jnp.pad(leaf, widths, constant_values=unseen)

    return _change(state, longer, state.learner.memory)


def forget_class(state: SessionState, index: int) -> SessionState:
    """A class as if it had never been seen: its replays and its column of the head are gone."""

    def emptied(leaf: Array, unseen: Any) -> Array:
        return leaf.at[..., index].set(jnp.asarray(unseen, leaf.dtype))

    return _change(state, emptied, _without(state.learner.memory, index, shift=0))


def remove_class(state: SessionState, index: int) -> SessionState:
    """Like `forget_class`, and later classes move up by one."""

    def shorter(leaf: Array, unseen: Any) -> Array:
        del unseen
        return jnp.delete(leaf, index, axis=-1)

    return _change(state, shorter, _without(state.learner.memory, index, shift=1))


def _change(state: SessionState, change: _Change, memory: ReplayMemory) -> SessionState:
    training = state.learner.training
    params = {**training.params, "head": change(training.params["head"], 0.0)}
    parts: Any = training.optimizer
    # Only the head and its momentum have (features, classes); both stand under "head".
    optimizer = tuple(
        part._replace(trace={**part.trace, "head": change(part.trace["head"], 0.0)})
        if hasattr(part, "trace")
        else part
        for part in parts
    )
    consolidated = state.learner.head
    return dataclasses.replace(
        state,
        learner=dataclasses.replace(
            state.learner,
            training=dataclasses.replace(training, params=params, optimizer=optimizer),
            head=dataclasses.replace(
                consolidated,
                weight=change(consolidated.weight, 0.0),
                past=change(consolidated.past, 0.0),
            ),
            memory=memory,
        ),
        accuracy=change(state.accuracy, jnp.nan),
        introduced=change(state.introduced, state.accuracy.shape[0]),
    )


def _without(memory: ReplayMemory, index: int, shift: int) -> ReplayMemory:
    """The memory without a class's latents, those that stay in their order in the first slots."""
    slots = jnp.arange(memory.slots)
    stays = (slots < memory.filled) & (memory.labels != index)
    order = jnp.argsort(jnp.where(stays, 0, 1), stable=True)
    filled = jnp.sum(stays.astype(jnp.int32))
    used = slots < filled
    labels = memory.labels[order]
    labels = jnp.where(labels > index, labels - shift, labels)
    return dataclasses.replace(
        memory,
        data=jnp.where(used[:, None], memory.data[order], jnp.zeros((), memory.data.dtype)),
        labels=jnp.where(used, labels, -1),
        filled=filled,
    )
