"""One learning event as a pure function: state and new latents in, state and losses out.

The protocol is that of Pellegrini et al. (arXiv 1912.01100) as coded in vlomonaco/ar1-pytorch: CWR*
head, batch renorm, SGD with momentum and weight decay, mini-batches of new and replayed latents,
random admission of slots // (event + 1) new latents.
"""

import dataclasses
import functools
from typing import Literal

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float32, Int32, PRNGKeyArray

from qlrjax import adaptive, head, minibatch, replay, synaptic
from qlrjax.network import Network
from qlrjax.replay import Latents


@dataclasses.dataclass(frozen=True)
class Protocol:
    """How events are learned.

    The defaults suit short streams of few images; `presets` has ar1-pytorch's for NICv2-391, which
    differ in the learning rates (1e-3, then 5e-5) and in `drop_remainder`.

    Attributes:
        minibatch: Latents in a mini-batch.
        first_epochs: Passes over the first event.
        epochs: Passes over every later event.
        first_learning_rate: SGD step of the first event.
        learning_rate: SGD step of later events.
        momentum: Of SGD; cleared once, after the first event.
        weight_decay: On all trained parameters.
        first_renorm_momentum: Of the running statistics in the first event.
        renorm_momentum: Likewise in later events.
        r_max: Largest correction r of batch renorm.
        d_max: Largest correction d of batch renorm.
        renorm_step: In the first event, r_max and d_max grow by this a sample, from 1 and 0.
        normalization: "renorm" as above; "batch" is plain batch norm (r = 1, d = 0); "running"
            normalises by the running statistics and never changes them.
        classifier: "cwr*" consolidates the head; "plain" trains one head throughout; "auto" is
            "cwr*" with replays and "plain" without (plain fine-tuning).
        synaptic_strength: Weight of Synaptic Intelligence (AR1); 0 turns it off ("AR1*-free").
        train_layers: False trains the head only, above frozen layers (pure CWR*).
        drop_remainder: True drops an event's last latents as ar1-pytorch does, see `minibatch`.
        reshuffle: A new order of the new latents every epoch, instead of every event.
    """

    minibatch: int = 128
    first_epochs: int = 4
    epochs: int = 4
    first_learning_rate: float = 2e-3
    learning_rate: float = 2e-3
    momentum: float = 0.9
    weight_decay: float = 5e-4
    first_renorm_momentum: float = 0.01
    renorm_momentum: float = 5e-5
    r_max: float = 1.25
    d_max: float = 0.5
    renorm_step: float = 4.1e-5
    normalization: Literal["renorm", "batch", "running"] = "renorm"
    classifier: Literal["auto", "cwr*", "plain"] = "auto"
    synaptic_strength: float = 0.0
    train_layers: bool = True
    drop_remainder: bool = False
    reshuffle: bool = False

    def __post_init__(self) -> None:
        positive = ("minibatch", "first_epochs", "epochs", "first_learning_rate", "learning_rate")
        for name in positive:
            if not 0 < getattr(self, name) < float("inf"):
                raise ValueError(f"{name} is {getattr(self, name)}; it must be positive")
        for name in ("weight_decay", "synaptic_strength", "d_max", "renorm_step"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"{name} is {getattr(self, name)}; it must be 0 or more")
        for name in ("momentum", "first_renorm_momentum", "renorm_momentum"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be between 0 and 1")
        if not 1 <= self.r_max < float("inf"):
            raise ValueError(f"r_max is {self.r_max}; it must be at least 1")


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


@flax.struct.dataclass
class EventRates:
    """What differs between the first event and the others, so that one program serves both."""

    learning_rate: Float32[Array, ""]
    renorm_momentum: Float32[Array, ""]
    r_start: Float32[Array, ""]
    d_start: Float32[Array, ""]


def init(
    network: Network,
    latent_layer: int,
    protocol: Protocol,
    params: adaptive.Params,
    statistics: adaptive.Statistics,
    memory: replay.ReplayMemory,
) -> LearnerState:
    """A learner that has seen nothing."""
    synapses = synaptic.init(params["layers"]) if protocol.synaptic_strength else None
    return LearnerState(
        training=Training(params, statistics, optimizer(protocol).init(params), synapses),
        head=head.init(*params["head"].shape),
        memory=memory,
        event=jnp.zeros((), jnp.int32),
    )


def optimizer(protocol: Protocol) -> optax.GradientTransformation:
    """torch.optim.SGD: decay is added to the gradient, then momentum; the rate is applied later."""
    return optax.chain(
        optax.add_decayed_weights(protocol.weight_decay), optax.trace(protocol.momentum)
    )


def rates(protocol: Protocol, event: int) -> EventRates:
    """Rates and the start of the batch-renorm schedule for an event, counted from 0."""
    first = event == 0
    values = (
        protocol.first_learning_rate if first else protocol.learning_rate,
        protocol.first_renorm_momentum if first else protocol.renorm_momentum,
        1.0 if first else protocol.r_max,
        0.0 if first else protocol.d_max,
    )
    return EventRates(*(jnp.asarray(value, jnp.float32) for value in values))


def learn_event(
    network: Network,
    latent_layer: int,
    protocol: Protocol,
    state: LearnerState,
    latents: Latents,
    labels: np.ndarray,
    event: int,
    seed: int,
    pad_to: int | None = None,
) -> tuple[LearnerState, Float32[Array, " batches"]]:
    """Learns one event and admits some of its latents to the replay memory.

    Args:
        network: The table.
        latent_layer: The cut.
        protocol: How to learn.
        state: Donated: do not use it afterwards.
        latents: The event's latents, uint8 codes or float32, [n, h, w, c].
        labels: int32[n].
        event: Number of this event, from 0; equals state.event.
        seed: Of the session. All draws are a pure function of (seed, event, epoch).
        pad_to: Rows to pad the event to, so that events of different sizes share one program.

    Returns:
        The new state and the loss of every mini-batch.
    """
    new, memory = len(labels), state.memory
    rows = max(pad_to or new, new)
    key = jax.random.fold_in(jax.random.key(seed), event)
    plan_key, admit_key = jax.random.split(key)
    filled = int(memory.filled)
    composition = minibatch.compose(
        new, memory.slots if filled else 0, protocol.minibatch, protocol.drop_remainder
    )
    plan = minibatch.plan(
        plan_key, composition, new, rows, filled,
        protocol.first_epochs if event == 0 else protocol.epochs, protocol.reshuffle,
    )  # fmt: skip
    learned = np.zeros(rows, bool)
    learned[np.unique(plan[plan < rows])] = True
    count = replay.quota(memory.slots, event, int(learned.sum()))
    padding = ((0, rows - new),)
    return _learn(
        network, latent_layer, protocol, state,
        jnp.pad(latents, (*padding, (0, 0), (0, 0), (0, 0))) if rows > new else latents,
        jnp.asarray(np.pad(labels.astype(np.int32), padding)),
        jnp.asarray(np.arange(rows) < new), jnp.asarray(learned), jnp.asarray(plan),
        rates(protocol, event), jnp.asarray(count, jnp.int32), admit_key,
    )  # fmt: skip


@functools.partial(jax.jit, static_argnums=(0, 1, 2), donate_argnums=(3,))
def _learn(
    network: Network,
    latent_layer: int,
    protocol: Protocol,
    state: LearnerState,
    latents: Latents,
    labels: Int32[Array, " n"],
    valid: Bool[Array, " n"],
    learned: Bool[Array, " n"],
    plan: Int32[Array, "batches size"],
    event_rates: EventRates,
    count: Int32[Array, ""],
    key: PRNGKeyArray,
) -> tuple[LearnerState, Float32[Array, " batches"]]:
    counts = _class_counts(labels, valid, network.classes)
    counts = counts + replay.class_counts(state.memory, network.classes)
    step = functools.partial(
        _train_step, network, latent_layer, protocol, event_rates, state.memory, latents, labels
    )
    index = jnp.arange(plan.shape[0], dtype=jnp.int32)
    training, losses = jax.lax.scan(step, _start(protocol, state, counts > 0), (index, plan))
    if training.synapses is not None:
        settled = synaptic.consolidate(training.synapses, training.params["layers"])
        training = dataclasses.replace(training, synapses=settled)
    changed = LearnerState(
        training=training,
        head=head.consolidate(state.head, training.params["head"], counts),
        memory=replay.admit(state.memory, key, latents, labels, learned, count),
        event=state.event + 1,
    )
    return changed, losses


def _start(protocol: Protocol, state: LearnerState, present: Bool[Array, " classes"]) -> Training:
    """An event begins with the present classes' head, and the second one without momentum."""
    params = state.training.params
    if consolidates(protocol, state.memory):
        params = {**params, "head": head.load(state.head, present)}
    # ar1-pytorch makes a new optimizer after the first event and keeps it from then on.
    momentum = jax.tree.map(
        lambda m: jnp.where(state.event == 1, jnp.zeros_like(m), m), state.training.optimizer
    )
    return dataclasses.replace(state.training, params=params, optimizer=momentum)


def _train_step(
    network: Network,
    latent_layer: int,
    protocol: Protocol,
    event_rates: EventRates,
    memory: replay.ReplayMemory,
    latents: Latents,
    labels: Int32[Array, " n"],
    state: Training,
    step: tuple[Int32[Array, ""], Int32[Array, " size"]],
) -> tuple[Training, Float32[Array, ""]]:
    index, rows = step
    batch, batch_labels = gather(memory, latents, labels, rows)
    limits = renorm_limits(protocol, event_rates, index, rows.shape[0])

    def loss_of(params: adaptive.Params) -> tuple[Array, tuple[Array, adaptive.Statistics]]:
        logits, moments = adaptive.forward(
            network, latent_layer, params, state.statistics, batch, limits
        )
        task = adaptive.cross_entropy(logits, batch_labels, jnp.ones(rows.shape, bool))
        total = task
        if state.synapses is not None:
            held = synaptic.penalty(state.synapses, params["layers"])
            total = task + protocol.synaptic_strength * held
        return total, (task, moments)

    gradients, (loss, moments) = jax.grad(loss_of, has_aux=True)(state.params)
    updates, momentum = optimizer(protocol).update(gradients, state.optimizer, state.params)
    params = jax.tree.map(lambda p, u: p - event_rates.learning_rate * u, state.params, updates)
    if not protocol.train_layers:
        params = {**params, "layers": state.params["layers"]}
    statistics = state.statistics
    if moments and protocol.train_layers:
        statistics = adaptive.update_statistics(statistics, moments, event_rates.renorm_momentum)
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


def renorm_limits(
    protocol: Protocol, event_rates: EventRates, index: Int32[Array, ""], size: int
) -> adaptive.RenormLimits | None:
    """Limits of batch renorm at mini-batch `index` of an event; None uses running statistics."""
    if protocol.normalization == "running" or not protocol.train_layers:
        return None
    if protocol.normalization == "batch":
        return adaptive.RenormLimits(jnp.ones((), jnp.float32), jnp.zeros((), jnp.float32))
    grown = np.float32(protocol.renorm_step * size) * index.astype(jnp.float32)
    return adaptive.RenormLimits(
        jnp.minimum(event_rates.r_start + grown, protocol.r_max),
        jnp.minimum(event_rates.d_start + grown, protocol.d_max),
    )


def consolidates(protocol: Protocol, memory: replay.ReplayMemory) -> bool:
    """Whether the head is CWR*'s, see `Protocol.classifier`."""
    if protocol.classifier == "auto":
        return memory.slots > 0
    return protocol.classifier == "cwr*"


def inference_params(protocol: Protocol, state: LearnerState) -> adaptive.Params:
    """Parameters to predict with: the consolidated head under CWR*."""
    if consolidates(protocol, state.memory):
        return {**state.training.params, "head": state.head.weight}
    return state.training.params


def _class_counts(
    labels: Int32[Array, " n"], valid: Bool[Array, " n"], classes: int
) -> Int32[Array, " classes"]:
    hits = (labels[:, None] == jnp.arange(classes)[None, :]) & valid[:, None]
    return jnp.sum(hits.astype(jnp.int32), axis=0)
