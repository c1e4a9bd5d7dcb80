"""CWR*: the classifier's consolidated weights, beside the ones being trained.

Before an event the weights of all classes in (event and replay memory) are loaded from the
consolidated ones and all others are zero; after it they are consolidated as a running average,
weighted by how often each class was seen. Lomonaco et al. (2020), as in ar1-pytorch.
"""

import dataclasses
from typing import Any

import flax.struct
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float32, Int32

from qlrjax.training.adaptive import Params
from qlrjax.training.replay import ReplayMemory
from qlrjax.training.strategies.strategy import (
    ClassChange,
    ClassCounts,
    Kept,
    Learned,
    Settled,
    Strategy,
)


@flax.struct.dataclass
class Head:
    """Consolidated weights.

    Attributes:
        weight: float32[C, classes], zero for classes never seen.
        past: float32[classes], latents of the class seen in all events so far, replays included.
    """

    weight: Float32[Array, "c classes"]
    past: Float32[Array, " classes"]


@dataclasses.dataclass(frozen=True)
class CwrStar(Strategy):
    """A consolidated head over whatever is trained below it.

    Attributes:
        by_entries: Consolidate a class once for every entry it has in ar1-pytorch's list of current
            classes, see `consolidate_entries`; False: once an event, as CWR* is described.
        score_unseen: Classes never seen answer with the columns that the last event left them, as
            in ar1-pytorch; False: they score 0.
    """

    by_entries: bool = False
    score_unseen: bool = False

    def start(self, params: Params, memory: ReplayMemory) -> Kept:
        """Nothing consolidated."""
        return Kept(init(*params["head"].shape), admission=self.admission.start(memory))

    def before(self, kept: Any, params: Params, counts: ClassCounts) -> Params:
        """The consolidated head of the classes that are present."""
        return {**params, "head": load(kept.head, counts.both > 0)}

    def after(self, kept: Any, params: Params, event: Learned) -> Settled:
        """Consolidates the present classes' trained weights."""
        counts = event.counts
        if self.by_entries:
            # The first event's list is made of NumPy integers, which do merge.
            entries = (counts.new > 0).astype(jnp.int32) + counts.replayed
            head = consolidate_entries(kept.head, params["head"], counts.both, entries)
        else:
            head = consolidate(kept.head, params["head"], counts.both)
        return Settled(dataclasses.replace(kept, head=head), params)

    def predict(self, kept: Any, params: Params) -> Params:
        """The consolidated head."""
        head = kept.head.weight
        if self.score_unseen:
            head = jnp.where((self.past(kept) > 0)[None, :], head, params["head"])
        return {**params, "head": head}

    def change_classes(self, kept: Any, change: ClassChange) -> Any:
        """In the consolidated weights, too."""
        head = Head(change(kept.head.weight, 0.0), change(kept.head.past, 0.0))
        return dataclasses.replace(kept, head=head)

    def set_class(
        self, kept: Any, params: Params, label: int, column: Float32[Array, " c"], count: int
    ) -> tuple[Any, Params]:
        """In the consolidated head and in the trained one."""
        weight = kept.head.weight.at[:, label].set(column)
        head = Head(weight, kept.head.past.at[label].add(float(count)))
        params = {**params, "head": params["head"].at[:, label].set(column)}
        return dataclasses.replace(kept, head=head), params


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


def consolidate_entries(
    head: Head,
    trained: Float32[Array, "c classes"],
    counts: Int32[Array, " classes"],
    entries: Int32[Array, " classes"],
) -> Head:
    """As ar1-pytorch's `consolidate_weights` works out, which runs through a list of classes.

    From the second event on that list holds an entry for every stored latent, since it is made from
    a set of tensors, which Python does not merge, and one for every class of the event. A class
    with n entries is averaged n times, and weighs n times in the mean that is taken off:

        w'_j = w_j - sum_j(n_j * mean(w_j)) / sum_j(n_j)
        saved_j = saved_j * a + w'_j * (1 - a),  a = (p / (p + 1))^n_j,  p = sqrt(past_j / cur_j)

    Args:
        head: Before the event.
        trained: The event's weights.
        counts: cur, see `consolidate`.
        entries: n, how often each class is in the list; 0 where it is not present.
    """
    current, often = counts.astype(jnp.float32), entries.astype(jnp.float32)
    present = counts > 0
    mean = jnp.sum(trained * often[None, :]) / (jnp.maximum(jnp.sum(often), 1.0) * len(trained))
    p = jnp.sqrt(head.past / jnp.where(present, current, 1.0))
    kept = jnp.where(head.past > 0, (p / (p + 1)) ** often, 0.0)[None, :]
    merged = head.weight * kept + (trained - mean) * (1 - kept)
    return Head(jnp.where(present[None, :], merged, head.weight), head.past + current)
