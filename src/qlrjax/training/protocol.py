"""How events are learned, as settings; `rates` has what they come to at an event and mini-batch.

The protocol is that of Pellegrini et al. (arXiv 1912.01100) as coded in vlomonaco/ar1-pytorch.
Nothing here needs JAX, so that a command can explain itself before JAX is loaded.
"""

import dataclasses
from typing import Literal

Classifier = Literal["auto", "cwr*", "plain", "ncm-cosine", "ncm-mahalanobis"]
Generator = Literal["jax", "portable"]
Maps = Literal["float32", "float16"]

FLOAT_BITS = 32


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
            "cwr*" with replays where features stay as they are, and else "plain", which beats it
            where they are centered. "ncm-cosine" and "ncm-mahalanobis" train nothing and answer
            with the nearest class mean, see `strategies.distance`.
        center_momentum: The head sees features less their running mean, which moves by this share
            of the way to every mini-batch's mean, and all the way to the first one's; 0 leaves
            features as they are (ar1-pytorch). Means and distances of "ncm-..." need none.
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
    center_momentum: float = 0.02
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
        shares = ("momentum", "first_renorm_momentum", "renorm_momentum", "center_momentum")
        for name in shares:
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be between 0 and 1")
        if not 0 < self.shrinkage <= 1:
            raise ValueError(f"shrinkage is {self.shrinkage}; it must be above 0 and at most 1")
        if not 1 <= self.r_max < float("inf"):
            raise ValueError(f"r_max is {self.r_max}; it must be at least 1")


def check_bits(bits: int) -> None:
    """Raises ValueError unless bits is 1 to 8, or 32."""
    if bits != FLOAT_BITS and not 1 <= bits <= 8:
        raise ValueError(f"{bits} bits a replay are not possible; choose 1 to 8, or 32 for float32")


def latent_bytes(elements: int, bits: int) -> int:
    """Bytes of one stored latent: ceil(elements * bits / 8)."""
    check_bits(bits)
    return -(-elements * bits // 8)
