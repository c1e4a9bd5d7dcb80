"""One learning event as a pure function: state and new latents in, state and losses out.

The protocol is that of Pellegrini et al. (arXiv 1912.01100) as coded in vlomonaco/ar1-pytorch: CWR*
head, batch renorm, SGD with momentum and weight decay, mini-batches of new and replayed latents,
random admission of slots // (event + 1) new latents.
"""

import dataclasses
import functools

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float32, Int32

from qlrjax.network import Cut
from qlrjax.training import adaptive, draws, head, minibatch, replay, synaptic
from qlrjax.training.protocol import (
    EventRates,
    Protocol,
    consolidates,
    optimizer,
    rates_at,
    renorm_limits,
)
from qlrjax.training.replay import Latents


@dataclasses.dataclass(frozen=True)
class Learner:
    """What learns, without anything that learning changes.

    Attributes:
        cut: The network and where it is cut.
        protocol: How events are learned.
    """

    cut: Cut
    protocol: Protocol


@dataclasses.dataclass(frozen=True)
class EventData:
    """What one learning event brings.

    Attributes:
        latents: uint8 codes or float32, [n, h, w, c].
        labels: int32[n].
        number: Of the event, from 0; equals `LearnerState.event`.
        seed: Of the session. All draws are a pure function of (seed, event, epoch).
        pad_to: Rows to pad the event to, so that events of different sizes share one program.
    """

    latents: Latents
    labels: np.ndarray
    number: int
    seed: int
    pad_to: int | None = None


@flax.struct.dataclass
class Training:
    """What every mini-batch changes.

    Attributes:
        params: Adaptive parameters, see `adaptive`.
        statistics: Running statistics of batch renorm.
        optimizer: optax state, the momentum.
        synapses: Synaptic Intelligence, or None when it is off.
    """

    params: adaptive.Params
    statistics: adaptive.Statistics
    optimizer: optax.OptState
    synapses: synaptic.Synapses | None


@flax.struct.dataclass
class LearnerState:
    """All that the future depends on, besides the settings.

    Attributes:
        training: What mini-batches change.
        head: Consolidated head.
        memory: Replay memory.
        event: Number of events learned.
    """

    training: Training
    head: head.Head
    memory: replay.ReplayMemory
    event: Int32[Array, ""]


def init(
    learner: Learner,
    params: adaptive.Params,
    statistics: adaptive.Statistics,
    memory: replay.ReplayMemory,
) -> LearnerState:
    """A learner that has seen nothing."""
    protocol = learner.protocol
    synapses = synaptic.init(params["layers"]) if protocol.synaptic_strength else None
    return LearnerState(
        training=Training(params, statistics, optimizer(protocol).init(params), synapses),
        head=head.init(*params["head"].shape),
        memory=memory,
        event=jnp.zeros((), jnp.int32),
    )


def learn_event(
    learner: Learner, state: LearnerState, data: EventData
) -> tuple[LearnerState, Float32[Array, " batches"]]:
    """Learns one event and admits some of its latents to the replay memory.

    Args:
        learner: What learns.
        state: Donated: do not use it afterwards.
        data: The event.

    Returns:
        The new state and the loss of every mini-batch.
    """
    return _learn(learner, state, _prepare(learner.protocol, state.memory, data))


@flax.struct.dataclass
class _Prepared:
    """An event as arrays, padded: its latents, the plan of its mini-batches, its rates and draws.

    Attributes:
        latents: As `EventData` has them, padded.
        labels: int32[n].
        valid: Rows that are no padding.
        learned: Rows that are in the plan; only these may be admitted.
        plan: See `minibatch`.
        rates: Of the event.
        count: Latents to admit.
        key: Of the admission.
    """

    latents: Latents
    labels: Int32[Array, " n"]
    valid: Bool[Array, " n"]
    learned: Bool[Array, " n"]
    plan: Int32[Array, "batches size"]
    rates: EventRates
    count: Int32[Array, ""]
    key: draws.Key


def _prepare(protocol: Protocol, memory: replay.ReplayMemory, data: EventData) -> _Prepared:
    new, event = len(data.labels), data.number
    rows = max(data.pad_to or new, new)
    plan_key, admit_key = draws.split(draws.start(protocol.draws, data.seed, event))
    filled = int(memory.filled)
    composition = minibatch.compose(
        new, memory.slots if filled else 0, protocol.minibatch, protocol.drop_remainder
    )
    epochs = protocol.first_epochs if event == 0 else protocol.epochs
    plan = minibatch.plan(plan_key, composition, new, rows, filled, epochs, protocol.reshuffle)
    learned = np.zeros(rows, bool)
    learned[np.unique(plan[plan < rows])] = True
    count = replay.quota(memory.slots, event, int(learned.sum()))
    latents, padding = data.latents, ((0, rows - new),)
    if rows > new:
        latents = jnp.pad(latents, (*padding, (0, 0), (0, 0), (0, 0)))
    return _Prepared(
        latents=latents,
        labels=jnp.asarray(np.pad(data.labels.astype(np.int32), padding)),
        valid=jnp.asarray(np.arange(rows) < new),
        learned=jnp.asarray(learned),
        plan=jnp.asarray(plan),
        rates=rates_at(protocol, event),
        count=jnp.asarray(count, jnp.int32),
        key=admit_key,
    )


@functools.partial(jax.jit, static_argnums=(0,), donate_argnums=(1,))
def _learn(
    learner: Learner, state: LearnerState, event: _Prepared
) -> tuple[LearnerState, Float32[Array, " batches"]]:
    counts = _class_counts(event.labels, event.valid, learner.cut.classes)
    counts = counts + replay.class_counts(state.memory, learner.cut.classes)
    step = functools.partial(_train_step, learner, state.memory, event)
    index = jnp.arange(event.plan.shape[0], dtype=jnp.int32)
    begun = _start(learner.protocol, state, counts > 0)
    training, losses = jax.lax.scan(step, begun, (index, event.plan))
    if training.synapses is not None:
        settled = synaptic.consolidate(training.synapses, training.params["layers"])
        training = dataclasses.replace(training, synapses=settled)
    memory = replay.admit(
        state.memory, event.key, event.latents, event.labels, event.learned, event.count
    )
    changed = LearnerState(
        training=training,
        head=head.consolidate(state.head, training.params["head"], counts),
        memory=memory,
        event=state.event + 1,
    )
    return changed, losses


def _start(protocol: Protocol, state: LearnerState, present: Bool[Array, " classes"]) -> Training:
    """An event begins with the present classes' head, and the second one without momentum."""
    params = state.training.params
    if consolidates(protocol, state.memory.slots):
        params = {**params, "head": head.load(state.head, present)}
    # ar1-pytorch makes a new optimizer after the first event and keeps it from then on.
    momentum = jax.tree.map(
        lambda m: jnp.where(state.event == 1, jnp.zeros_like(m), m), state.training.optimizer
    )
    return dataclasses.replace(state.training, params=params, optimizer=momentum)


def _train_step(
    learner: Learner,
    memory: replay.ReplayMemory,
    event: _Prepared,
    state: Training,
    step: tuple[Int32[Array, ""], Int32[Array, " size"]],
) -> tuple[Training, Float32[Array, ""]]:
    protocol, (index, rows) = learner.protocol, step
    batch, batch_labels = gather(memory, event.latents, event.labels, rows)
    limits = renorm_limits(protocol, event.rates, index, rows.shape[0])

    def loss_of(params: adaptive.Params) -> tuple[Array, tuple[Array, adaptive.Statistics]]:
        logits, moments = adaptive.forward(learner.cut, params, state.statistics, batch, limits)
        task = adaptive.cross_entropy(logits, batch_labels, jnp.ones(rows.shape, bool))
        total = task
        if state.synapses is not None:
            held = synaptic.penalty(state.synapses, params["layers"])
            total = task + protocol.synaptic_strength * held
        return total, (task, moments)

    gradients, (loss, moments) = jax.grad(loss_of, has_aux=True)(state.params)
    updates, momentum = optimizer(protocol).update(gradients, state.optimizer, state.params)
    params = jax.tree.map(lambda p, u: p - event.rates.learning_rate * u, state.params, updates)
    if not protocol.train_layers:
        params = {**params, "layers": state.params["layers"]}
    statistics = state.statistics
    if moments and protocol.train_layers:
        statistics = adaptive.update_statistics(statistics, moments, event.rates.renorm_momentum)
    synapses = state.synapses
    if synapses is not None:
        synapses = synaptic.follow(
            synapses, gradients["layers"], state.params["layers"], params["layers"]
        )
    return Training(params, statistics, momentum, synapses), loss


def gather(
    memory: replay.ReplayMemory,
    latents: Latents,
    labels: Int32[Array, " n"],
    rows: Int32[Array, " size"],
) -> tuple[Float32[Array, "size h w c"], Int32[Array, " size"]]:
    """Real-valued latents and labels of one mini-batch's rows, see `minibatch`."""
    new = latents.shape[0]
    own = jnp.minimum(rows, new - 1)
    batch = replay.decode_codes(latents[own], memory.latent_max)
    if memory.slots == 0:
        return batch, labels[own]
    slots = jnp.maximum(rows - new, 0)
    is_new = rows < new
    batch = jnp.where(is_new[:, None, None, None], batch, replay.read(memory, slots))
    return batch, jnp.where(is_new, labels[own], memory.labels[slots])


def inference_params(learner: Learner, state: LearnerState) -> adaptive.Params:
    """Parameters to predict with: the consolidated head under CWR*."""
    if consolidates(learner.protocol, state.memory.slots):
        return {**state.training.params, "head": state.head.weight}
    return state.training.params


def _class_counts(
    labels: Int32[Array, " n"], valid: Bool[Array, " n"], classes: int
) -> Int32[Array, " classes"]:
    hits = (labels[:, None] == jnp.arange(classes)[None, :]) & valid[:, None]
    return jnp.sum(hits.astype(jnp.int32), axis=0)
