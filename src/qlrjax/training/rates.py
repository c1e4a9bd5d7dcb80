"""What a protocol comes to at a given event and mini-batch: rates, limits, the optimizer."""

import dataclasses
import math

import flax.struct
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float32, Int32

from qlrjax.network import Cut
from qlrjax.training import renorm
from qlrjax.training.protocol import Protocol


@flax.struct.dataclass
class EventRates:
    """What differs between the first event and the others, so that one program serves both."""

    learning_rate: Float32[Array, ""]
    renorm_momentum: Float32[Array, ""]
    r_start: Float32[Array, ""]
    d_start: Float32[Array, ""]

    @classmethod
    def none(cls) -> "EventRates":
        """Of an event without mini-batches."""
        return cls(*(jnp.zeros((), jnp.float32) for _ in dataclasses.fields(cls)))


def optimizer(protocol: Protocol) -> optax.GradientTransformation:
    """torch.optim.SGD: decay is added to the gradient, then momentum; the rate is applied later."""
    return optax.chain(
        optax.add_decayed_weights(protocol.weight_decay), optax.trace(protocol.momentum)
    )


def rates_at(protocol: Protocol, event: int) -> EventRates:
    """Rates and the start of the batch-renorm schedule for an event, counted from 0."""
    first = event == 0
    values = (
        protocol.first_learning_rate if first else protocol.learning_rate,
        protocol.first_renorm_momentum if first else protocol.renorm_momentum,
        1.0 if first else protocol.r_max,
        0.0 if first else protocol.d_max,
    )
    return EventRates(*(jnp.asarray(value, jnp.float32) for value in values))


def renorm_limits(
    protocol: Protocol, event_rates: EventRates, index: Int32[Array, ""], size: int
) -> renorm.RenormLimits | None:
    """Limits of batch renorm at mini-batch `index` of an event; None uses running statistics."""
    if protocol.normalization in ("running", "none") or not protocol.train_layers:
        return None
    if protocol.normalization == "batch":
        return renorm.RenormLimits(jnp.ones((), jnp.float32), jnp.zeros((), jnp.float32))
    each = protocol.renorm_step * size
    grown = np.float32(each) * index.astype(jnp.float32)

    def limit(start: Float32[Array, ""], low: float, full: float) -> Float32[Array, ""]:
        if not (protocol.renorm_overshoot and each):
            return jnp.minimum(start + grown, full)
        end = low + math.ceil((full - low) / each) * each
        return jnp.where(start < full, jnp.minimum(start + grown, end), start)

    return renorm.RenormLimits(
        limit(event_rates.r_start, 1.0, protocol.r_max),
        limit(event_rates.d_start, 0.0, protocol.d_max),
    )


def check_normalization(protocol: Protocol, cut: Cut) -> None:
    """Refuses a normalisation that the trained layers do not have, and "none" where they have one.

    Raises:
        ValueError: In one sentence, with what to choose.
    """
    if not cut.weighted:
        return
    if not cut.normalised and protocol.normalization != "none":
        raise ValueError(
            f"the trained layers of {cut.network.name} have no batch norm (it is folded into their "
            "weights), so they are trained without: choose protocol.normalization none"
        )
    if cut.normalised and protocol.normalization == "none":
        raise ValueError(
            f"the trained layers of {cut.network.name} have batch norm: choose "
            "protocol.normalization renorm, batch or running"
        )
