"""Nearest class mean: no gradients at all, the honest floor for everything that trains.

Means (and for the Mahalanobis distance the shared covariance within classes) are sums over the
latents' features, one latent at a time, so that an event costs its forward pass and little else,
order does not matter and nothing is forgotten; replays are not used. Mensink et al. (2013); with a
shrunken covariance it is the streaming linear discriminant of Hayes and Kanan (2020). Features
after a ReLU are skewed, which a power below 1 mends (Tukey's ladder, as in Yang et al., ICLR 2021).
"""

import dataclasses
import functools
from typing import Any, Literal

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float32

from qlrjax.training import replay
from qlrjax.training.adaptive import Params, raised
from qlrjax.training.replay import ReplayMemory
from qlrjax.training.strategies.strategy import (
    ClassChange,
    Kept,
    Learned,
    Settled,
    Strategy,
    features,
)

Metric = Literal["cosine", "mahalanobis"]
_BATCH = 128


@flax.struct.dataclass
class Sums:
    """Everything that class means and a shared covariance need.

    Attributes:
        total: float32[C, classes], the sum of every class's features.
        past: float32[classes], how many there were.
        product: float32[C, C], the sum of x x^T; None for the cosine.
    """

    total: Float32[Array, "c classes"]
    past: Float32[Array, " classes"]
    product: Float32[Array, "c c"] | None


@dataclasses.dataclass(frozen=True)
class NearestMean(Strategy):
    """The class whose mean is nearest to a latent's features.

    Attributes:
        metric: "cosine" is the angle to the mean. "mahalanobis" measures by the covariance within
            classes, shrunken towards a sphere of the same size.
        shrinkage: Share of the sphere, above 0 and at most 1.
        power: Features count by their magnitude to this power, above 0; 1 leaves them alone.
    """

    metric: Metric = "cosine"
    shrinkage: float = 0.1
    power: float = 1.0

    @property
    def trains(self) -> bool:
        """There are no mini-batches."""
        return False

    def start(self, params: Params, memory: ReplayMemory) -> Kept:
        """No sums."""
        c, classes = params["head"].shape
        product = None if self.metric == "cosine" else jnp.zeros((c, c), jnp.float32)
        sums = Sums(jnp.zeros((c, classes), jnp.float32), jnp.zeros((classes,)), product)
        return Kept(sums, admission=self.admission.start(memory))

    def after(self, kept: Any, params: Params, event: Learned) -> Settled:
        """Adds the event's features to the sums."""
        sums, classes = kept.head, kept.head.past.shape[0]
        member = (event.labels[:, None] == jnp.arange(classes)[None, :]) & event.valid[:, None]
        for start in range(0, len(event.labels), _BATCH):
            part = slice(start, start + _BATCH)
            latents = replay.decode_codes(
                event.latents[part], event.memory.latent_max, event.memory.latent_min
            )
            x = features(event.cut, params, event.statistics, latents)
            if self.power != 1:
                x = raised(x, jnp.asarray(self.power, jnp.float32))
            sums = _added(sums, x, member[part])
        return Settled(dataclasses.replace(kept, head=sums), params)

    def predict(self, kept: Any, params: Params) -> Params:
        """A linear head whose largest score is the nearest mean's; classes never seen have none."""
        if self.metric == "cosine":
            head, bias = _cosine(kept.head), jnp.zeros_like(kept.head.past)
        else:
            head, bias = _mahalanobis(kept.head, self.shrinkage)
        bias = jnp.where(self.past(kept) > 0, bias, -jnp.inf)
        power = {} if self.power == 1 else {"power": jnp.asarray(self.power, jnp.float32)}
        return {**params, "head": head, "bias": bias, **power}

    def change_classes(self, kept: Any, change: ClassChange) -> Any:
        """In the means; the covariance within classes stays what it is."""
        sums = kept.head
        total, past = change(sums.total, 0.0), change(sums.past, 0.0)
        changed = Sums(total, past, None)
        if sums.product is not None:
            product = _within(sums) * _freedom(past) + total @ _means(changed).T
            changed = dataclasses.replace(changed, product=product)
        return dataclasses.replace(kept, head=changed)


@jax.jit
def _added(sums: Sums, x: Float32[Array, "n c"], member: Bool[Array, "n classes"]) -> Sums:
    belongs = member.astype(jnp.float32)
    own = x * jnp.sum(belongs, axis=1, keepdims=True)  # padding is nobody's
    return Sums(
        total=sums.total + own.T @ belongs,
        past=sums.past + jnp.sum(belongs, axis=0),
        product=None if sums.product is None else sums.product + own.T @ own,
    )


@jax.jit
def _cosine(sums: Sums) -> Float32[Array, "c classes"]:
    """The direction of every mean; a latent's own length changes no order."""
    length = jnp.linalg.norm(sums.total, axis=0, keepdims=True)
    return sums.total / jnp.maximum(length, 1e-30)


@functools.partial(jax.jit, static_argnums=(1,))
def _mahalanobis(
    sums: Sums, shrinkage: float
) -> tuple[Float32[Array, "c classes"], Float32[Array, " classes"]]:
    """S^-1 m and -m^T S^-1 m / 2: the part of -(x - m)^T S^-1 (x - m) / 2 that depends on m."""
    c, means, within = len(sums.total), _means(sums), _within(sums)
    sphere = jnp.maximum(jnp.trace(within) / c, 1e-12) * jnp.eye(c, dtype=jnp.float32)
    shrunken = (1 - shrinkage) * within + shrinkage * sphere
    head = jax.scipy.linalg.cho_solve(jax.scipy.linalg.cho_factor(shrunken), means)
    return head, -0.5 * jnp.sum(means * head, axis=0)


def _means(sums: Sums) -> Float32[Array, "c classes"]:
    return sums.total / jnp.maximum(sums.past, 1.0)[None, :]


def _within(sums: Sums) -> Float32[Array, "c c"]:
    """The covariance within classes, shared by all."""
    assert sums.product is not None
    return (sums.product - sums.total @ _means(sums).T) / _freedom(sums.past)


def _freedom(past: Float32[Array, " classes"]) -> Float32[Array, ""]:
    """Latents less one for every mean."""
    return jnp.maximum(jnp.sum(past) - jnp.sum((past > 0).astype(jnp.float32)), 1.0)
