"""A class that comes late: its own column of the head is fitted, and nothing else moves.

CWR* takes the weights of a class seen for the first time as they are, but averages what the old
classes learned beside it into a long past, so one small event lets the newcomer win too often. Here
the old columns, the layers and their statistics stay, and the new column w minimises the
cross-entropy of the photos and all replays, which is convex in w:

    gradient = F^T (p_new - is_new) / n + decay * w,   p_new the softmax of the new class

F being the features of n latents.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float32

from qlrjax.network import Cut
from qlrjax.training import adaptive, draws, replay
from qlrjax.training.learner import Learner, LearnerState, Training
from qlrjax.training.protocol import consolidates

_STEPS, _RATE, _MOMENTUM = 300, 5e-3, 0.9


def learn(
    learner: Learner,
    state: LearnerState,
    latents: np.ndarray,
    label: int,
    seed: int,
) -> tuple[LearnerState, Float32[Array, " steps"]]:
    """One event with latents of one class that was never seen.

    Args:
        learner: Its network's last class is the new one; the protocol's weight decay is used.
        state: Consumed.
        latents: uint8 codes or float32, [n, h, w, c].
        label: The new class.
        seed: Of the session; draws are a function of (seed, event).

    Returns:
        The state, its memory with min(slots // (event + 1), n) of the latents, and the loss after
        every step.
    """
    memory, event = state.memory, int(state.event)
    own = jnp.asarray(latents)
    filled = jnp.arange(int(memory.filled), dtype=jnp.int32)
    batches = [replay.decode_codes(own, memory.latent_max)]
    batches += [replay.read(memory, filled[i : i + 128]) for i in range(0, len(filled), 128)]
    seen = [_features(learner.cut, state.training, batch) for batch in batches]
    is_new = np.arange(sum(len(part) for part in seen)) < len(latents)
    cwr = consolidates(learner.protocol, memory.slots)
    head = state.head.weight if cwr else state.training.params["head"]
    old = jnp.concatenate(seen) @ head
    old = jnp.where((state.head.past > 0)[None, :], old, -jnp.inf)
    decay = jnp.asarray(learner.protocol.weight_decay, jnp.float32)
    column, losses = _fit(jnp.concatenate(seen), old, jnp.asarray(is_new), decay)
    key = draws.start(learner.protocol.draws, seed, event)
    count = replay.quota(memory.slots, event, len(latents))
    labels = jnp.full((len(latents),), label, jnp.int32)
    memory = replay.admit(
        memory, key, own, labels, jnp.ones((len(latents),), bool), jnp.asarray(count, jnp.int32)
    )
    consolidated = dataclasses.replace(
        state.head,
        weight=state.head.weight.at[:, label].set(column),
        past=state.head.past.at[label].add(float(len(latents))),
    )
    params = dict(state.training.params)
    params["head"] = params["head"].at[:, label].set(column)
    changed = LearnerState(
        training=dataclasses.replace(state.training, params=params),
        head=consolidated,
        memory=memory,
        event=state.event + 1,
    )
    return changed, losses


@functools.partial(jax.jit, static_argnums=(0,))
def _features(
    cut: Cut, training: Training, latents: Float32[Array, "n h w c"]
) -> Float32[Array, "n f"]:
    return adaptive.features(cut, training.params, training.statistics, latents)[0]


@jax.jit
def _fit(
    inputs: Float32[Array, "n f"],
    old: Float32[Array, "n classes"],
    is_new: Bool[Array, " n"],
    decay: Float32[Array, ""],
) -> tuple[Float32[Array, " f"], Float32[Array, " steps"]]:
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
