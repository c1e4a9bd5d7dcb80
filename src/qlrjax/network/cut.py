"""A network and where it is cut, as one value."""

import dataclasses

from qlrjax.network.table import Layer, Network


@dataclasses.dataclass(frozen=True)
class Cut:
    """Layers below the cut are frozen and run as integers; those above it are trained in FP32.

    Attributes:
        network: The layer table.
        latent_layer: First trained layer; a latent is its input.

    Raises:
        ValueError: The network has no such layer.
    """

    network: Network
    latent_layer: int

    def __post_init__(self) -> None:
        self.network.check_latent_layer(self.latent_layer)

    @property
    def below(self) -> tuple[Layer, ...]:
        """Frozen layers, from the image on."""
        return self.network.frozen(self.latent_layer)

    @property
    def above(self) -> tuple[Layer, ...]:
        """Adaptive layers; the last is the linear classifier."""
        return self.network.adaptive(self.latent_layer)

    @property
    def normalised(self) -> tuple[Layer, ...]:
        """Adaptive layers with batch norm: all but the classifier."""
        return self.above[:-1]

    @property
    def is_pooled(self) -> bool:
        """Whether the frozen stage ends with the global average pooling."""
        return self.latent_layer == self.network.last

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of a latent; (1, 1, C) behind the pooling."""
        return self.network.latent_shape(self.latent_layer)

    @property
    def latent_elements(self) -> int:
        """Elements of a latent."""
        return self.network.latent_elements(self.latent_layer)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height and width in pixels, and 3 channels."""
        return (*self.network.in_hw, 3)

    @property
    def features(self) -> int:
        """Inputs of the classifier."""
        return self.network.layers[-1].in_channels

    @property
    def classes(self) -> int:
        """Number of logits."""
        return self.network.classes

    def with_classes(self, classes: int) -> "Cut":
        """The same cut through a network with another number of logits."""
        *below, last = self.network.layers
        grown = dataclasses.replace(last, out_channels=classes)
        network = dataclasses.replace(self.network, layers=(*below, grown))
        return dataclasses.replace(self, network=network)
