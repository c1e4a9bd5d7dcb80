"""What is learned: the sizes of a learning event on the device, and its mini-batches."""

import dataclasses
import typing
from typing import Literal

from qlrjax.network import Network

Statistics = Literal["minibatch", "running"]
Schedule = Literal["blocked", "layer-by-sample"]
Maps = Literal["float32", "float16"]


FLOAT_BITS = 32
_WORDS: dict[str, tuple[str, ...]] = {
    "statistics": typing.get_args(Statistics),
    "schedule": typing.get_args(Schedule),
    "maps": typing.get_args(Maps),
}


@dataclasses.dataclass(frozen=True)
class EventSetting:
    """One learning event.

    Attributes:
        network: The table of layers.
        latent_layer: First trained layer.
        replays: Slots of the replay memory.
        bits: Width of a stored code, 1 to 8, or 32 for latents stored in FP32.
        images: New images of the event.
        epochs: Passes over them.
        minibatch: Latents in a mini-batch, new and replayed.
        drop_remainder: New latents that do not fill a mini-batch are not learned (ar1-pytorch).
        statistics: What normalises while training. "minibatch": batch renormalisation over the
            whole mini-batch, layer by layer, so that activations of all its samples are kept.
            "running": stored statistics; samples pass one by one and gradients accumulate.
        samples_per_pass: With running statistics, samples that pass a layer together.
        images_per_pass: Images that pass a frozen layer together.
        schedule: "blocked" is two levels of blocks over whole mini-batches (see `blocked`);
            "layer-by-sample" is the older one, whose tensors stay where they fit or go off chip.
        train_layers: False learns the linear layer only, above layers that run in FP32 with stored
            statistics (CWR*).
        maps: How maps are stored off chip between the passes of the blocked schedule.
        event_index: Number of the event; replays // (index + 1) new latents are admitted.
    """

    network: Network
    latent_layer: int
    replays: int = 1500
    bits: int = 8
    images: int = 300
    epochs: int = 4
    minibatch: int = 128
    drop_remainder: bool = True
    statistics: Statistics = "minibatch"
    samples_per_pass: int = 1
    images_per_pass: int = 1
    event_index: int = 1
    schedule: Schedule = "blocked"
    maps: Maps = "float32"
    train_layers: bool = True

    def __post_init__(self) -> None:
        self.network.check_latent_layer(self.latent_layer)
        check_network(self.network)
        if not 1 <= self.bits <= 8 and self.bits != FLOAT_BITS:
            raise ValueError(f"{self.bits} bits are not a width of codes; choose 1 to 8, or 32")
        least = {
            "images": 1,
            "epochs": 1,
            "minibatch": 1,
            "replays": 0,
            "event_index": 0,
            "samples_per_pass": 1,
            "images_per_pass": 1,
        }
        for name, low in least.items():
            if getattr(self, name) < low:
                raise ValueError(f"{name} = {getattr(self, name)} is too small; use at least {low}")
        for name, allowed in _WORDS.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} {getattr(self, name)!r} is not {' or '.join(allowed)}")
        if self.schedule != "blocked":
            new = {
                f"graphs such as {self.network.name}": not _is_plain(self.network),
                "float16 maps": self.maps == "float16",
                "32-bit latents": self.bits == FLOAT_BITS,
                "a head alone above FP32 layers": not self.train_layers,
            }
            for what, asked in new.items():
                if asked:
                    raise ValueError(f"layer-by-sample has no {what}; choose the blocked schedule")
        if not self.train_layers and self.statistics == "minibatch":
            raise ValueError("layers that are not trained normalise by stored statistics; say so")

    @property
    def new_per_minibatch(self) -> int:
        """New latents in a mini-batch: 21 of 128 for 300 new and 1500 replayed."""
        if self.replays == 0:
            return self.samples_per_minibatch
        parts = max((self.images + self.replays) // self.minibatch, 1)
        return min(max(self.images // parts, 1), self.minibatch)

    @property
    def samples_per_minibatch(self) -> int:
        """Latents in a mini-batch."""
        return min(self.minibatch, self.images) if self.replays == 0 else self.minibatch

    @property
    def iterations(self) -> int:
        """Mini-batches of all epochs."""
        share = self.new_per_minibatch
        whole = self.drop_remainder and self.replays > 0
        each = self.images // share if whole else -(-self.images // share)
        return max(each, 1) * self.epochs

    @property
    def samples(self) -> int:
        """Latents that are learned in all, over all epochs."""
        return self.iterations * self.samples_per_minibatch

    @property
    def group(self) -> int:
        """Samples that pass a trained layer together."""
        if self.statistics == "minibatch":
            return self.samples_per_minibatch
        return min(self.samples_per_pass, self.samples_per_minibatch)

    @property
    def groups_per_minibatch(self) -> int:
        """Passes of a mini-batch through the trained layers."""
        return -(-self.samples_per_minibatch // self.group)

    @property
    def words(self) -> str:
        """What is costed: normalisation, schedule, width of maps."""
        normalised = {
            "minibatch": "statistics of the mini-batch (batch renorm)",
            "running": "stored statistics",
        }[self.statistics]
        trained = "" if self.train_layers else ", linear layer alone trained"
        return f"{normalised}, {self.schedule} schedule, {self.maps} maps{trained}"

    @property
    def map_bytes(self) -> float:
        """Bytes of a stored element of a map."""
        return 2.0 if self.maps == "float16" else 4.0

    @property
    def admitted(self) -> int:
        """New latents that enter the replay memory after the event."""
        return min(self.replays // (self.event_index + 1), self.images)

    @property
    def latent_elements(self) -> int:
        """Elements of a latent."""
        return self.network.latent_elements(self.latent_layer)

    @property
    def latent_bytes(self) -> int:
        """Packed bytes of a latent."""
        return -(-self.latent_elements * self.bits // 8)


def check_network(network: Network) -> None:
    """Raises ValueError for layers that the simulated chip has no programs for, by name."""
    for layer in network.layers[:-1]:
        high, wide = layer.kernel_hw
        window, asked = f"{high} x {wide}", ""
        if layer.kind == "depthwise" and ((high, wide) not in ((3, 3), (5, 5)) or layer.stride > 2):
            asked = f"a {window} depthwise layer of stride {layer.stride} (3 x 3 and 5 x 5, 1 or 2)"
        if layer.kind == "max_pool" and high != wide:
            asked = f"maxima of {window} windows (square ones)"
        if asked:
            raise ValueError(f"{network.name}, {layer.name}: the simulated chip has no {asked}")


def _is_plain(network: Network) -> bool:
    """Whether it is a chain as MobileNet-V1 is one: what the older schedule costs."""
    return network.is_chain and all(
        layer.has_weights
        and layer.batch_norm
        and layer.activation != "none"
        and (layer.kind == "pointwise" or layer.kernel_hw == (3, 3))
        and (layer.kind == "conv") == (layer.index == 0)
        and layer.stride <= 2
        for layer in network.layers[:-1]
    )
