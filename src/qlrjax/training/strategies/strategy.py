"""What a strategy is: a small frozen value of pure functions over a pytree of its own.

The learner asks it at seven places and knows nothing else about it:

    start       what it keeps, before any event
    before      the parameters an event begins with
    penalty     what it adds to the loss of a mini-batch
    follow      what it keeps, after a step of SGD
    after       what it keeps and the parameters, after the event's last mini-batch
    admit       which of the event's latents are stored
    predict     the parameters to predict with

What it keeps is any pytree of arrays; it is part of the checkpoint. `past`, `change_classes`,
`change_slots` and `set_class` let classes join and leave later. The defaults here are those of one
head, trained throughout.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float32, Int32

from qlrjax.network import Cut
from qlrjax.training import adaptive
from qlrjax.training.adaptive import Params, Statistics
from qlrjax.training.replay import Latents, ReplayMemory
from qlrjax.training.strategies.admission import Admission, Offer, Quota

# Of an array whose last axis is the classes, and the value of a class that was never seen: the same
# array with a class more or fewer, or with one that is as if it had never been seen.
ClassChange = Callable[[Array, Any], Array]


@flax.struct.dataclass
class ClassCounts:
    """Latents of each class in an event and in the whole replay memory before it."""

    new: Int32[Array, " classes"]
    replayed: Int32[Array, " classes"]

    @property
    def both(self) -> Int32[Array, " classes"]:
        """cur_j of ar1-pytorch."""
        return self.new + self.replayed


@dataclasses.dataclass(frozen=True)
class Step:
    """One step of SGD: gradients of the loss, and the parameters on both sides of it."""

    gradients: Params
    before: Params
    after: Params


@dataclasses.dataclass(frozen=True)
class Learned:
    """An event after its last mini-batch.

    Attributes:
        cut: The network and where it is cut.
        statistics: Running statistics of batch renorm.
        memory: The replay memory before admission.
        latents: Of the event, as the frozen stage gives them.
        labels: int32[n].
        valid: Rows that are no padding.
        counts: Latents of each class.
        center: float32[C], which the head sees features less; None: as they are.
    """

    cut: Cut
    statistics: Statistics
    memory: ReplayMemory
    latents: Latents
    labels: Int32[Array, " n"]
    valid: Bool[Array, " n"]
    counts: ClassCounts
    center: Float32[Array, " c"] | None = None


@dataclasses.dataclass(frozen=True)
class Settled:
    """What an event came to.

    Attributes:
        kept: What the strategy keeps.
        params: See `adaptive`.
        losses: float32[steps] of what was fitted after the mini-batches, if anything was.
    """

    kept: Any
    params: Params
    losses: Array | None = None


@flax.struct.dataclass
class Kept:
    """What the built-in strategies keep; a strategy of your own may keep any pytree.

    Attributes:
        head: Of the classifier: consolidated weights, class means, or how often a class was seen.
        synapses: Of Synaptic Intelligence; None without it.
        admission: Of the rule that fills the replay memory; None where it needs nothing.
    """

    head: Any
    synapses: Any = None
    admission: Any = None


@flax.struct.dataclass
class Seen:
    """How many latents of a class were learned in all events so far, replays included."""

    past: Float32[Array, " classes"]


@dataclasses.dataclass(frozen=True)
class Strategy:
    """One head, trained throughout, without a penalty: plain fine-tuning, or experience replay.

    Attributes:
        admission: Which latents of an event are stored.
    """

    admission: Admission = Quota()  # noqa: RUF009  (frozen)

    @property
    def trains(self) -> bool:
        """Whether an event has mini-batches; False leaves all of it to `after`."""
        return True

    def start(self, params: Params, memory: ReplayMemory) -> Any:
        """What the strategy keeps before the first event."""
        seen = Seen(jnp.zeros((params["head"].shape[1],), jnp.float32))
        return Kept(seen, admission=self.admission.start(memory))

    def before(self, kept: Any, params: Params, counts: ClassCounts) -> Params:
        """The parameters that an event begins with."""
        del kept, counts
        return params

    def penalty(self, kept: Any, params: Params) -> Float32[Array, ""] | None:
        """What is added to the cross-entropy of a mini-batch; None for nothing."""
        del kept, params
        return None

    def follow(self, kept: Any, step: Step) -> Any:
        """What is kept after a step of SGD."""
        del step
        return kept

    def after(self, kept: Any, params: Params, event: Learned) -> Settled:
        """What is kept after an event, and the parameters it leaves."""
        seen = Seen(kept.head.past + event.counts.both.astype(jnp.float32))
        return Settled(dataclasses.replace(kept, head=seen), params)

    def admit(self, kept: Any, memory: ReplayMemory, offer: Offer) -> tuple[Any, ReplayMemory]:
        """Stores some of the event's latents."""
        state, memory = self.admission.admit(kept.admission, memory, offer)
        return dataclasses.replace(kept, admission=state), memory

    def predict(self, kept: Any, params: Params) -> Params:
        """The parameters to predict with, see `adaptive.score`."""
        del kept
        return params

    def past(self, kept: Any) -> Float32[Array, " classes"]:
        """How many latents of a class were learned in all events so far, replays included."""
        return kept.head.past

    def change_classes(self, kept: Any, change: ClassChange) -> Any:
        """What is kept, with other classes.

        Args:
            kept: See `start`.
            change: To apply to every array with a class axis.
        """
        return dataclasses.replace(kept, head=Seen(change(kept.head.past, 0.0)))

    def change_slots(
        self, kept: Any, order: Int32[Array, " slots"], used: Bool[Array, " slots"]
    ) -> Any:
        """What is kept, after slots of the memory moved: slot i holds what slot order[i] held.

        Args:
            kept: See `start`.
            order: A permutation.
            used: Slots that hold a latent afterwards.
        """
        state = self.admission.change_slots(kept.admission, order, used)
        return dataclasses.replace(kept, admission=state)

    def set_class(
        self, kept: Any, params: Params, label: int, column: Float32[Array, " c"], count: int
    ) -> tuple[Any, Params]:
        """A class's weights of the head, fitted apart from all others on `count` latents.

        Args:
            kept: See `start`.
            params: See `adaptive`.
            label: The class.
            column: Its weights.
            count: Latents it was fitted on.
        """
        seen = Seen(kept.head.past.at[label].add(float(count)))
        params = {**params, "head": params["head"].at[:, label].set(column)}
        return dataclasses.replace(kept, head=seen), params


@functools.partial(jax.jit, static_argnums=(0,))
def features(
    cut: Cut, params: Params, statistics: Statistics, latents: Float32[Array, "n h w c"]
) -> Float32[Array, "n f"]:
    """What the head sees of real-valued latents, under the running statistics."""
    return adaptive.features(cut, params, statistics, latents)[0]
