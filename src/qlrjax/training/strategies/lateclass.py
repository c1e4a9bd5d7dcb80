"""A class that comes late: its own column of the head is fitted, and nothing else moves.

CWR* takes the weights of a class seen for the first time as they are, but averages what the old
classes learned beside it into a long past, so one small event lets the newcomer win too often. Here
the old columns, the layers and their statistics stay, and the new column w minimises the
cross-entropy of the photos and all replays, which is convex in w:

    gradient = F^T (p_new - is_new) / n + decay * w,   p_new the softmax of the new class

F being the features of n latents.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float32

from qlrjax.training import adaptive, replay
from qlrjax.training.adaptive import Params
from qlrjax.training.replay import ReplayMemory
from qlrjax.training.strategies.admission import Offer
from qlrjax.training.strategies.strategy import Learned, Settled, Strategy, features

_STEPS, _RATE, _MOMENTUM = 300, 5e-3, 0.9


@dataclasses.dataclass(frozen=True)
class LateClass(Strategy):
    """One event with latents of one class that was never seen.

    Attributes:
        run: The strategy of the run that the class joins; it keeps what it kept.
        weight_decay: On the new column.
    """

    run: Strategy = dataclasses.field(kw_only=True)
    weight_decay: float = dataclasses.field(kw_only=True)

    @property
    def trains(self) -> bool:
        """The column is fitted on all latents at once."""
        return False

    def after(self, kept: Any, params: Params, event: Learned) -> Settled:
        """Fits the column of the event's class."""
        label, count = int(event.labels[0]), len(event.labels)
        memory, cut = event.memory, event.cut
        filled = jnp.arange(int(memory.filled), dtype=jnp.int32)
        batches = [replay.decode_codes(event.latents, memory.latent_max, memory.latent_min)]
        batches += [replay.read(memory, filled[i : i + 128]) for i in range(0, len(filled), 128)]
        seen = jnp.concatenate([features(cut, params, event.statistics, one) for one in batches])
        if event.center is not None:
            seen = seen - event.center[None, :]
        is_new = np.arange(len(seen)) < count
        old = adaptive.score(self.run.predict(kept, params), seen)
        old = jnp.where((self.run.past(kept) > 0)[None, :], old, -jnp.inf)
        decay = jnp.asarray(self.weight_decay, jnp.float32)
        column, losses = fit(seen, old, jnp.asarray(is_new), decay)
        return Settled(*self.run.set_class(kept, params, label, column, count), losses)

    def admit(self, kept: Any, memory: ReplayMemory, offer: Offer) -> tuple[Any, ReplayMemory]:
        """By the run's rule."""
        return self.run.admit(kept, memory, offer)


@jax.jit
def fit(
    inputs: Float32[Array, "n f"],
    old: Float32[Array, "n classes"],
    is_new: Bool[Array, " n"],
    decay: Float32[Array, ""],
) -> tuple[Float32[Array, " f"], Float32[Array, " steps"]]:
    """The new column and the loss after every step, see the module.

    Args:
        inputs: Features.
        old: Logits of the other classes; -inf for classes never seen.
        is_new: Which latents are of the new class.
        decay: Weight decay of the column.
    """
    wanted = is_new.astype(jnp.float32)
    rest = jax.nn.logsumexp(old, axis=1)

    def step(carry: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], Array]:
        column, momentum = carry
        logit = inputs @ column
        log_p = logit - jnp.logaddexp(logit, rest)
        gradient = inputs.T @ (jnp.exp(log_p) - wanted) / len(wanted) + decay * column
        momentum = _MOMENTUM * momentum + gradient
        log_rest = rest - jnp.logaddexp(logit, rest)
        loss = -jnp.mean(jnp.where(is_new, log_p, log_rest))
        return (column - _RATE * momentum, momentum), loss

    start = jnp.zeros((inputs.shape[1],), jnp.float32)
    (column, _), losses = jax.lax.scan(step, (start, start), None, length=_STEPS)
    return column, losses
