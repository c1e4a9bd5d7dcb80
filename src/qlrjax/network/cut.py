"""A network and where it is cut, as one value."""

import dataclasses

from qlrjax.network.table import Layer, Network


@dataclasses.dataclass(frozen=True)
class Cut:
    """Layers below the cut are frozen and run as integers; those above it are trained in FP32.

    Attributes:
        network: The graph.
        latent_layer: First trained layer; a latent is the one tensor that crosses into it.

    Raises:
        ValueError: The network has no such layer, or other data crosses there, too.
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
        """Adaptive layers with batch norm; in a chain of them, all but the classifier."""
        return tuple(layer for layer in self.above[:-1] if layer.batch_norm)

    @property
    def weighted(self) -> tuple[Layer, ...]:
        """Adaptive layers that are products with weights, without the classifier."""
        return tuple(layer for layer in self.above[:-1] if layer.has_weights)

    @property
    def latent_name(self) -> str:
        """The layer whose output is the latent, or `IMAGES`."""
        return self.network.cut_name(self.latent_layer)

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
        """Height and width in pixels, and channels."""
        return self.network.in_shape

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
        return dataclasses.replace(self, network=self.network.with_classes(classes))
