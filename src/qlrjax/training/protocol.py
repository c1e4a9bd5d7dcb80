"""How events are learned: the settings, and what they come to at a given event and mini-batch.

The protocol is that of Pellegrini et al. (arXiv 1912.01100) as coded in vlomonaco/ar1-pytorch.
"""

import dataclasses
import math
from typing import Literal

import flax.struct
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float32, Int32

from qlrjax.network import Cut
from qlrjax.training import adaptive
from qlrjax.training.draws import Generator
from qlrjax.training.maps import Maps

Classifier = Literal["auto", "cwr*", "plain", "ncm-cosine", "ncm-mahalanobis"]


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
            normalises by the running statistics and never changes them; "none" is for networks
            whose batch norm is folded into their weights, and for those only.
        classifier: "cwr*" consolidates the head; "plain" trains one head throughout; "auto" is
            "cwr*" with replays and "plain" without (plain fine-tuning). "ncm-cosine" and
            "ncm-mahalanobis" train nothing and answer with the nearest class mean, see
            `strategies.distance`.
        head_rate: The head learns this many times as fast as the layers.
        shrinkage: Of "ncm-mahalanobis": the share of a sphere in the covariance.
        feature_power: Of both: features count by their magnitude to this power.
        consolidation: Of CWR*: "class" averages every class once an event; "entries" as often as
            ar1-pytorch's list of current classes holds it, see `strategies.cwr`.
        score_unseen: Of CWR*: classes never seen answer with what their columns were trained to,
            as in ar1-pytorch, and not with 0.
        synaptic_strength: Weight of Synaptic Intelligence (AR1); 0 turns it off ("AR1*-free").
        synaptic_rule: "clipped" holds importance within 0 and 1e-3, of all trained layers;
            "published" is ar1-pytorch's, see `strategies.synaptic`.
        admission: "quota" stores slots // (event + 1) latents of an event (ar1-pytorch),
            "reservoir" every latent of the stream with the same chance, "balanced" as many of
            every class.
        memory_grows: Of "quota": free slots are filled; False leaves the memory at the size that
            the first event gave it (ar1-pytorch).
        train_layers: False trains the head only, above frozen layers (pure CWR*).
        drop_remainder: True drops an event's last latents as ar1-pytorch does, see `minibatch`.
        pad_first: The first event is padded to whole mini-batches with its own first latents,
            before they are shuffled, and these may be stored twice (ar1-pytorch); False reads the
            first of the shuffled ones again.
        short_minibatches: Where the stored latents run out, mini-batches stay short (ar1-pytorch);
            False reads the first slots again.
        renorm_overshoot: r_max and d_max stop growing once they are at their ends or beyond
            (ar1-pytorch), and not exactly there.
        epsilon_in_std: The running deviation starts as sqrt(variance + epsilon); False leaves
            epsilon out, as ar1-pytorch does.
        reshuffle: A new order of the new latents every epoch, instead of every event.
        draws: "jax" draws order and admission by JAX's generator, "portable" by integers that
            the exported firmware computes too, see `draws`.
        maps: "float16" rounds what training keeps between forward and backward, see `maps`.
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
    normalization: Literal["renorm", "batch", "running", "none"] = "renorm"
    classifier: Classifier = "auto"
    head_rate: float = 1.0
    shrinkage: float = 0.1
    feature_power: float = 1.0
    consolidation: Literal["class", "entries"] = "class"
    score_unseen: bool = False
    synaptic_strength: float = 0.0
    synaptic_rule: Literal["clipped", "published"] = "clipped"
    admission: Literal["quota", "reservoir", "balanced"] = "quota"
    memory_grows: bool = True
    train_layers: bool = True
    drop_remainder: bool = False
    pad_first: bool = False
    short_minibatches: bool = False
    renorm_overshoot: bool = False
    epsilon_in_std: bool = True
    reshuffle: bool = False
    draws: Generator = "jax"
    maps: Maps = "float32"

    def __post_init__(self) -> None:
        positive = ("minibatch", "first_epochs", "epochs", "first_learning_rate", "learning_rate")
        positive += ("head_rate", "feature_power")
        for name in positive:
            if not 0 < getattr(self, name) < float("inf"):
                raise ValueError(f"{name} is {getattr(self, name)}; it must be positive")
        for name in ("weight_decay", "synaptic_strength", "d_max", "renorm_step"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"{name} is {getattr(self, name)}; it must be 0 or more")
        for name in ("momentum", "first_renorm_momentum", "renorm_momentum"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be between 0 and 1")
        if not 0 < self.shrinkage <= 1:
            raise ValueError(f"shrinkage is {self.shrinkage}; it must be above 0 and at most 1")
        if not 1 <= self.r_max < float("inf"):
            raise ValueError(f"r_max is {self.r_max}; it must be at least 1")


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
) -> adaptive.RenormLimits | None:
    """Limits of batch renorm at mini-batch `index` of an event; None uses running statistics."""
    if protocol.normalization in ("running", "none") or not protocol.train_layers:
        return None
    if protocol.normalization == "batch":
        return adaptive.RenormLimits(jnp.ones((), jnp.float32), jnp.zeros((), jnp.float32))
    each = protocol.renorm_step * size
    grown = np.float32(each) * index.astype(jnp.float32)

    def limit(start: Float32[Array, ""], low: float, full: float) -> Float32[Array, ""]:
        if not (protocol.renorm_overshoot and each):
            return jnp.minimum(start + grown, full)
        end = low + math.ceil((full - low) / each) * each
        return jnp.where(start < full, jnp.minimum(start + grown, end), start)

    return adaptive.RenormLimits(
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
