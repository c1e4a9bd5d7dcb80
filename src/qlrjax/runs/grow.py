"""A session's classes change: every array with a class axis gets longer, shorter or forgets."""

import dataclasses
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool, Int32

from qlrjax.session import SessionState
from qlrjax.training.replay import ReplayMemory
from qlrjax.training.strategies import ClassChange, Strategy


def add_class(state: SessionState, strategy: Strategy) -> SessionState:
    """Appends one class that was never seen: zero weights, no images, no accuracy."""

    def longer(leaf: Array, unseen: Any) -> Array:
        widths = [(0, 0)] * (leaf.ndim - 1) + [(0, 1)]
        return jnp.pad(leaf, widths, constant_values=unseen)

    return _change(state, strategy, longer)


def forget_class(state: SessionState, strategy: Strategy, index: int) -> SessionState:
    """A class as if it had never been seen: its replays and its column of the head are gone."""

    def emptied(leaf: Array, unseen: Any) -> Array:
        return leaf.at[..., index].set(jnp.asarray(unseen, leaf.dtype))

    return _change(_without(state, strategy, index, shift=0), strategy, emptied)


def remove_class(state: SessionState, strategy: Strategy, index: int) -> SessionState:
    """Like `forget_class`, and later classes move up by one."""

    def shorter(leaf: Array, unseen: Any) -> Array:
        del unseen
        return jnp.delete(leaf, index, axis=-1)

    return _change(_without(state, strategy, index, shift=1), strategy, shorter)


def _change(state: SessionState, strategy: Strategy, change: ClassChange) -> SessionState:
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
    changed = dataclasses.replace(
        training,
        params=params,
        optimizer=optimizer,
        kept=strategy.change_classes(training.kept, change),
    )
    return dataclasses.replace(
        state,
        learner=dataclasses.replace(state.learner, training=changed),
        accuracy=change(state.accuracy, jnp.nan),
        introduced=change(state.introduced, state.accuracy.shape[0]),
    )


def _without(state: SessionState, strategy: Strategy, index: int, shift: int) -> SessionState:
    """The memory without a class's latents, those that stay in their order in the first slots."""
    learned, memory = state.learner, state.learner.memory
    slots = jnp.arange(memory.slots)
    stays = (slots < memory.filled) & (memory.labels != index)
    order = jnp.argsort(jnp.where(stays, 0, 1), stable=True)
    used = slots < jnp.sum(stays.astype(jnp.int32))
    training = dataclasses.replace(
        learned.training, kept=strategy.change_slots(learned.training.kept, order, used)
    )
    memory = _moved(memory, order, used)
    labels = jnp.where(memory.labels > index, memory.labels - shift, memory.labels)
    memory = dataclasses.replace(memory, labels=labels)
    return dataclasses.replace(
        state, learner=dataclasses.replace(learned, training=training, memory=memory)
    )


def _moved(
    memory: ReplayMemory, order: Int32[Array, " slots"], used: Bool[Array, " slots"]
) -> ReplayMemory:
    return dataclasses.replace(
        memory,
        data=jnp.where(used[:, None], memory.data[order], jnp.zeros((), memory.data.dtype)),
        labels=jnp.where(used, memory.labels[order], -1),
        filled=jnp.sum(used.astype(jnp.int32)),
    )
