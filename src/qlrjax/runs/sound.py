"""Whether a learner's state could be one: looked at before it is saved, gone on with, or asked."""

import jax
import jax.numpy as jnp
import numpy as np

from qlrjax.session import SessionState


class NotSound(FloatingPointError):
    """A state holds what no learner can."""


def check(state: SessionState, what: str) -> None:
    """Refuses a state that would poison whatever is learned or predicted with it.

    Args:
        state: All of the learner is looked at; the accuracy matrix has NaN where nothing was
            tested.
        what: For the sentence, such as "the checkpoint 3 in RUN".

    Raises:
        NotSound: A value is NaN, infinite or out of its range; it is named.
    """
    for path, leaf in jax.tree_util.tree_leaves_with_path(state.learner):
        if jnp.issubdtype(leaf.dtype, jnp.floating) and not bool(jnp.isfinite(leaf).all()):
            name = jax.tree_util.keystr(path, simple=True, separator="/")
            raise NotSound(f"{what} is not finite ({name} holds NaN or infinity)")
    wrong = _out_of_range(state)
    if wrong:
        raise NotSound(f"{what} is no learner's ({wrong})")


def _out_of_range(state: SessionState) -> str:
    """What is out of its range; empty if all is as it can be."""
    memory, (events, classes) = state.learner.memory, state.accuracy.shape
    filled, labels = int(memory.filled), np.asarray(memory.labels)
    position, learned = int(state.position), int(state.learner.event)
    introduced, accuracy = np.asarray(state.introduced), np.asarray(state.accuracy)
    if not 0 <= position <= events:
        return f"it stands at event {position} of {events}"
    if learned < position:
        return f"it has learned {learned} events, and stands at event {position}"
    if not 0 <= filled <= memory.slots:
        return f"{filled} of {memory.slots} replays are filled"
    if filled and not (labels[:filled].min() >= 0 and labels[:filled].max() < classes):
        return f"a replay is of none of the {classes} classes"
    if introduced.size and not (introduced.min() >= 0 and introduced.max() <= events):
        return f"a class came with none of the {events} events"
    if not (np.isnan(accuracy) | ((accuracy >= 0) & (accuracy <= 1))).all():
        return "an accuracy is no share of 1"
    return ""
