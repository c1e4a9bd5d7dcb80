"""One learning event as a pure function: state and new latents in, state and losses out.

The protocol is that of Pellegrini et al. (arXiv 1912.01100) as coded in vlomonaco/ar1-pytorch:
batch renorm, SGD with momentum and weight decay, mini-batches of new and replayed latents. What
becomes of the head, of what mattered and of the memory is the strategy's, see `strategies`.
"""

import dataclasses
import functools
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.profiler import TraceAnnotation
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float32, Int32

from qlrjax import devices
from qlrjax.network import Cut
from qlrjax.training import adaptive, draws, minibatch, renorm, replay
from qlrjax.training import center as centers
from qlrjax.training.center import Center
from qlrjax.training.protocol import Protocol
from qlrjax.training.rates import EventRates, optimizer, rates_at, renorm_limits
from qlrjax.training.replay import Latents
from qlrjax.training.strategies import ClassCounts, Learned, Offer, Step, Strategy


@dataclasses.dataclass(frozen=True)
class Learner:
    """What learns, without anything that learning changes.

    Attributes:
        cut: The network and where it is cut.
        protocol: How mini-batches are made and learned.
        strategy: What is kept besides replays, and who answers.
        mesh: Devices that share the latents of a mini-batch, see `devices`; None: one learns all.
        native: Mini-batches are computed with the C kernels, see `kernels`.
    """

    cut: Cut
    protocol: Protocol
    strategy: Strategy
    mesh: Mesh | None = None
    native: bool = False


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
        kept: What the strategy keeps, a pytree of its own.
        center: Running mean of the features, see the module of that name.
    """

    params: adaptive.Params
    statistics: renorm.Statistics
    optimizer: optax.OptState
    kept: Any
    center: Center = None


@flax.struct.dataclass
class LearnerState:
    """All that the future depends on, besides the settings.

    Attributes:
        training: What mini-batches change.
        memory: Replay memory.
        event: Number of events learned.
    """

    training: Training
    memory: replay.ReplayMemory
    event: Int32[Array, ""]


def init(
    learner: Learner,
    params: adaptive.Params,
    statistics: renorm.Statistics,
    memory: replay.ReplayMemory,
) -> LearnerState:
    """A learner that has seen nothing."""
    momentum = optimizer(learner.protocol).init(params)
    kept = learner.strategy.start(params, memory)
    momentum_of_center = learner.protocol.center_momentum if learner.strategy.trains else 0.0
    center = centers.start(learner.cut.features, momentum_of_center)
    training = Training(params, statistics, momentum, kept, center)
    return LearnerState(training, memory, jnp.zeros((), jnp.int32))


def learn_event(
    learner: Learner, state: LearnerState, data: EventData
) -> tuple[LearnerState, Float32[Array, " batches"]]:
    """Learns one event and admits some of its latents to the replay memory.

    Args:
        learner: What learns.
        state: Consumed: do not use it afterwards.
        data: The event.

    Returns:
        The new state, and the loss of every mini-batch or step of what the strategy fits itself.
    """
    if learner.strategy.trains:
        with TraceAnnotation("plan"):
            event = _prepare(learner.protocol, state.memory, data)
        return _learn(learner, *devices.on_each(learner.mesh, (state, event)))
    event = _unplanned(learner.protocol, data)
    counts = _class_counts(learner.cut.classes, state.memory, event)
    return _finish(learner, state, event, counts)


def predicting(learner: Learner, state: LearnerState) -> adaptive.Params:
    """Parameters to predict with."""
    training = state.training
    return centers.under(learner.strategy.predict(training.kept, training.params), training.center)


@flax.struct.dataclass
class _Prepared:
    """An event as arrays, padded: its latents, the plan of its mini-batches, its rates and draws.

    Attributes:
        latents: As `EventData` has them, padded.
        labels: int32[n].
        valid: Rows that are no padding.
        learned: Rows that are in the plan; only these may be admitted.
        plan: See `minibatch`; no rows where the strategy trains nothing.
        rates: Of the event.
        number: Of the event.
        key: Of the admission.
    """

    latents: Latents
    labels: Int32[Array, " n"]
    valid: Bool[Array, " n"]
    learned: Bool[Array, " n"]
    plan: Int32[Array, "batches size"]
    rates: EventRates
    number: Int32[Array, ""]
    key: draws.Key


def _prepare(protocol: Protocol, memory: replay.ReplayMemory, data: EventData) -> _Prepared:
    event, filled = data.number, int(memory.filled)
    repeated = 0
    if protocol.pad_first and event == 0:
        repeated = min(-len(data.labels) % protocol.minibatch, len(data.labels))
    new = repeated + len(data.labels)
    rows = max(data.pad_to or new, new)
    plan_key, admit_key = draws.split(draws.start(protocol.draws, data.seed, event))
    composition = minibatch.compose(
        new, memory.slots if filled else 0, protocol.minibatch, protocol.drop_remainder
    )
    composition = dataclasses.replace(composition, rereads=not protocol.short_minibatches)
    epochs = protocol.first_epochs if event == 0 else protocol.epochs
    plan = minibatch.plan(plan_key, composition, new, rows, filled, epochs, protocol.reshuffle)
    learned = np.zeros(rows, bool)
    learned[np.unique(plan[(plan >= 0) & (plan < rows)])] = True
    return _Prepared(
        **_padded(data, repeated, rows),
        learned=jnp.asarray(learned),
        plan=jnp.asarray(plan),
        rates=rates_at(protocol, event),
        key=admit_key,
    )


def _unplanned(protocol: Protocol, data: EventData) -> _Prepared:
    rows = max(data.pad_to or 0, len(data.labels))
    key = draws.start(protocol.draws, data.seed, data.number)
    arrays = _padded(data, 0, rows)
    plan = jnp.zeros((0, 0), jnp.int32)
    return _Prepared(**arrays, learned=arrays["valid"], plan=plan, rates=EventRates.none(), key=key)


def _padded(data: EventData, repeated: int, rows: int) -> dict[str, Any]:
    """Arrays of `_Prepared`: the first `repeated` latents once more, all latents, then padding."""
    latents, labels = data.latents, data.labels.astype(np.int32)
    valid = np.arange(repeated + len(labels)) >= repeated
    if repeated:
        latents = jnp.concatenate([latents[:repeated], latents])
        labels = np.concatenate([labels[:repeated], labels])
    padding = ((0, rows - len(labels)),)
    if rows > len(labels):
        latents = jnp.pad(latents, (*padding, (0, 0), (0, 0), (0, 0)))
    return {
        "latents": latents,
        "labels": jnp.asarray(np.pad(labels, padding)),
        "valid": jnp.asarray(np.pad(valid, padding)),
        "number": jnp.asarray(data.number, jnp.int32),
    }


@functools.partial(jax.jit, static_argnums=(0,), donate_argnums=(1,))
def _learn(
    learner: Learner, state: LearnerState, event: _Prepared
) -> tuple[LearnerState, Float32[Array, " batches"]]:
    counts = _class_counts(learner.cut.classes, state.memory, event)
    step = functools.partial(_train_step, learner, state.memory, event)
    index = jnp.arange(event.plan.shape[0], dtype=jnp.int32)
    begun = _start(learner.strategy, state, counts)
    training, losses = jax.lax.scan(step, begun, (index, event.plan))
    changed, _ = _finish(learner, dataclasses.replace(state, training=training), event, counts)
    return devices.keep_on_each(learner.mesh, (changed, losses))


def _start(strategy: Strategy, state: LearnerState, counts: ClassCounts) -> Training:
    """An event begins with the strategy's parameters, and the second one without momentum."""
    with jax.named_scope("head"):
        params = strategy.before(state.training.kept, state.training.params, counts)
    # ar1-pytorch makes a new optimizer after the first event and keeps it from then on.
    momentum = jax.tree.map(
        lambda m: jnp.where(state.event == 1, jnp.zeros_like(m), m), state.training.optimizer
    )
    return dataclasses.replace(state.training, params=params, optimizer=momentum)


def _finish(
    learner: Learner, state: LearnerState, event: _Prepared, counts: ClassCounts
) -> tuple[LearnerState, Float32[Array, " steps"]]:
    """Consolidation and admission."""
    strategy, training = learner.strategy, state.training
    learned = Learned(
        cut=learner.cut,
        statistics=training.statistics,
        memory=state.memory,
        latents=event.latents,
        labels=event.labels,
        valid=event.valid,
        counts=counts,
        center=training.center,
    )
    with jax.named_scope("head"):
        done = strategy.after(training.kept, training.params, learned)
    offer = Offer(event.latents, event.labels, event.learned, event.number, event.key)
    with jax.named_scope("admission"):
        kept, memory = strategy.admit(done.kept, state.memory, offer)
    training = dataclasses.replace(training, params=done.params, kept=kept)
    losses = jnp.zeros((0,), jnp.float32) if done.losses is None else done.losses
    return LearnerState(training, memory, state.event + 1), losses


@jax.named_scope("training")
def _train_step(
    learner: Learner,
    memory: replay.ReplayMemory,
    event: _Prepared,
    state: Training,
    step: tuple[Int32[Array, ""], Int32[Array, " size"]],
) -> tuple[Training, Float32[Array, ""]]:
    protocol, strategy, (index, rows) = learner.protocol, learner.strategy, step
    size = rows.shape[0]
    empty = devices.missing(learner.mesh, size)
    if empty:  # so that all share evenly: empty places, as short mini-batches have them
        rows = jnp.pad(rows, (0, empty), constant_values=-1)
    gathered = gather(memory, event.latents, event.labels, rows)
    batch, batch_labels = devices.keep_shared(learner.mesh, gathered)
    limits = renorm_limits(protocol, event.rates, index, size)
    there = rows >= 0 if empty or protocol.short_minibatches else None
    passes = adaptive.Passes(protocol.maps, learner.native)

    def loss_of(params: adaptive.Params) -> tuple[Array, tuple[Array, Array, renorm.Statistics]]:
        seen, moments = adaptive.features(
            learner.cut, params, state.statistics, batch, limits, there, passes
        )
        logits = adaptive.score(centers.under(params, state.center), seen)
        counted = jnp.ones(rows.shape, bool) if there is None else there
        task = adaptive.cross_entropy(logits, batch_labels, counted)
        held = strategy.penalty(state.kept, params)
        return task if held is None else task + held, (task, seen, moments)

    gradients, (loss, seen, moments) = jax.grad(loss_of, has_aux=True)(state.params)
    gradients = devices.keep_on_each(learner.mesh, gradients)
    updates: Any
    updates, momentum = optimizer(protocol).update(gradients, state.optimizer, state.params)
    rate = event.rates.learning_rate
    params = jax.tree.map(lambda p, u: p - rate * u, state.params, updates)
    if protocol.head_rate != 1.0:
        params["head"] = state.params["head"] - protocol.head_rate * rate * updates["head"]
    if not protocol.train_layers:
        params = {**params, "layers": state.params["layers"]}
    statistics = state.statistics
    if moments and protocol.train_layers:
        statistics = renorm.update_statistics(statistics, moments, event.rates.renorm_momentum)
    first = (event.number == 0) & (index == 0)
    share = jnp.where(first, 1.0, jnp.float32(protocol.center_momentum))
    center = centers.follow(state.center, seen, there, share)
    kept = strategy.follow(state.kept, Step(gradients, state.params, params))
    return Training(params, statistics, momentum, kept, center), loss


@jax.named_scope("replay read")
def gather(
    memory: replay.ReplayMemory,
    latents: Latents,
    labels: Int32[Array, " n"],
    rows: Int32[Array, " size"],
) -> tuple[Float32[Array, "size h w c"], Int32[Array, " size"]]:
    """Real-valued latents and labels of one mini-batch's rows, see `minibatch`."""
    new = latents.shape[0]
    own = jnp.clip(rows, 0, new - 1)
    batch = replay.decode_codes(latents[own], memory.latent_max, memory.latent_min)
    if memory.slots == 0:
        return batch, labels[own]
    slots = jnp.maximum(rows - new, 0)
    is_new = rows < new
    batch = jnp.where(is_new[:, None, None, None], batch, replay.read(memory, slots))
    return batch, jnp.where(is_new, labels[own], memory.labels[slots])


def _class_counts(classes: int, memory: replay.ReplayMemory, event: _Prepared) -> ClassCounts:
    hits = (event.labels[:, None] == jnp.arange(classes)[None, :]) & event.valid[:, None]
    new = jnp.sum(hits.astype(jnp.int32), axis=0)
    return ClassCounts(new, replay.class_counts(memory, classes))
