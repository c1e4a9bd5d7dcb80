"""The sizes that decide what the firmware needs, taken from a session once."""

import dataclasses

from qlrjax.export.firmware import cells
from qlrjax.export.firmware.session import FirmwareSession
from qlrjax.integer import frozen
from qlrjax.integer.frozen import IntegerLayer
from qlrjax.network import Layer
from qlrjax.training.learner import LearnerState
from qlrjax.training.protocol import latent_bytes

Pixels = tuple[int, int, int]


@dataclasses.dataclass(frozen=True)
class Shape:
    """Sizes of a session's firmware, in elements unless they say bytes.

    Attributes:
        layers: Trained layers without the classifier, and the adds and poolings between them.
        latent: Of one latent.
        features: That the classifier takes.
        centers: Of them that have one, all or none, see `training.center`.
        classes: Of the classifier.
        minibatch: Samples.
        slots: Of the replay memory.
        replay_bytes: A stored latent.
        event_max: Images that may wait.
        own_statistics: The mini-batch's own statistics normalise it.
        consolidates: The head is CWR*'s.
        frozen_bytes: Integer weights, kappa, lambda and padding as they are exported.
        frozen_cells: Bytes of what the integer layers take and give, see `cells`.
        patch_bytes: Of a convolution's gathered inputs.
        first_bytes: Head, momentum and replays that the firmware begins with.
    """

    layers: tuple[Layer, ...]
    latent: int
    features: int
    centers: int
    classes: int
    minibatch: int
    slots: int
    replay_bytes: int
    event_max: int
    own_statistics: bool
    consolidates: bool
    frozen_bytes: int
    frozen_cells: int
    patch_bytes: int
    first_bytes: int

    @property
    def parameters(self) -> int:
        """Of the trained layers: weights, gamma and beta, or a bias."""
        return parameters_of(self.layers)

    @property
    def channels(self) -> int:
        """Of the layers with batch norm."""
        return sum(layer.out_channels for layer in self.layers if layer.batch_norm)

    @property
    def head(self) -> int:
        """Weights of the classifier."""
        return self.features * self.classes


def of_session(session: FirmwareSession, event_max: int) -> Shape:
    """Sizes of a session, for events of up to `event_max` images."""
    cut, protocol, state = session.learner.cut, session.learner.protocol, session.state
    memory, layers, stage, shapes = state.memory, cut.above[:-1], session.stage, session.shapes
    pixels = {frozen.IMAGE: cut.image_shape} | dict(enumerate(shapes))
    tables = sum(
        packed_weights(layer)
        + 8 * layer.kappa.size
        + (0 if layer.kappa_b is None else 4 * layer.kappa_b.size)
        + layer.pad_value.size
        for layer in stage
    )
    head = cut.features * cut.classes
    centers = 0 if state.training.center is None else cut.features
    first = 4 * (head + cut.classes + centers) if session.has_head else 0
    first += 4 * (head + parameters_of(layers)) if keeps_momentum(state) else 0
    replay_bytes = latent_bytes(elements(memory.shape), memory.bits)
    first += int(memory.filled) * (replay_bytes + 2)
    return Shape(
        layers=layers,
        latent=elements(memory.shape),
        features=cut.features,
        centers=centers,
        classes=cut.classes,
        minibatch=protocol.minibatch,
        slots=memory.slots,
        replay_bytes=replay_bytes,
        event_max=event_max,
        own_statistics=protocol.normalization in ("batch", "renorm")
        and protocol.train_layers
        and len(cut.normalised) > 0,
        consolidates=session.consolidates,
        frozen_bytes=tables,
        frozen_cells=cells.of_stage(stage, pixels).bytes,
        patch_bytes=max([0, *(patch_bytes(layer) for layer in stage)]),
        first_bytes=first,
    )


def parameters_of(layers: tuple[Layer, ...]) -> int:
    """Weights, and gamma and beta or a bias for every channel of a layer that has weights."""
    return sum(
        layer.weights + layer.out_channels * (2 if layer.batch_norm else 1)
        for layer in layers
        if layer.has_weights
    )


def keeps_momentum(state: LearnerState) -> bool:
    """Whether the next event goes on with the momentum: the first ends with none left."""
    return int(state.event) > 1


def elements(shape: Pixels) -> int:
    """Product of a shape."""
    return shape[0] * shape[1] * shape[2]


def round_up(value: int, step: int) -> int:
    """The next multiple of a step."""
    return -(-value // step) * step


def patch_bytes(layer: IntegerLayer) -> int:
    """Bytes of one gathered row of a layer's inputs, 0 where pixels lie in rows already."""
    rows = {"conv": layer.weight.shape[:2]}.get(layer.kind, (1, 1))
    inputs = rows[0] * rows[1] * layer.pad_value.shape[0]
    gathers = layer.kind == "conv" or (layer.kind in ("pointwise", "linear") and inputs % 4 != 0)
    return round_up(inputs, 4) if gathers else 0


def packed_weights(layer: IntegerLayer) -> int:
    """Bytes of a layer's weights as the kernels read them, filled up with zeros."""
    weight = layer.weight
    if weight.ndim == 1:  # an add or a pooling
        return 0
    fan_in = weight.size // weight.shape[-1]
    if layer.kind == "depthwise":
        return fan_in * round_up(weight.shape[-1], 4)
    return round_up(weight.shape[-1], 2) * round_up(fan_in, 4)
