"""What firmware is made of: a session's frozen stage, learner and settings."""

import dataclasses

import numpy as np

from qlrjax.integer import contract
from qlrjax.integer.frozen import Stage
from qlrjax.training import replay
from qlrjax.training.learner import Learner, LearnerState
from qlrjax.training.protocol import consolidates

_KERNEL_AREA_MAX = 49


@dataclasses.dataclass(frozen=True)
class FirmwareSession:
    """A session as the exporter takes it.

    Attributes:
        learner: The network, where it is cut, and how events are learned.
        stage: Integer layers below the cut.
        latent_max: Real value of the largest latent code.
        state: The learner as it is now; the firmware begins there.
        seed: Of all draws.
    """

    learner: Learner
    stage: Stage
    latent_max: float
    state: LearnerState
    seed: int

    def __post_init__(self) -> None:
        _check(self)

    @property
    def shapes(self) -> list[tuple[int, int, int]]:
        """Outputs of the stage's layers."""
        return contract.check_stage(self.stage, self.learner.cut.image_shape)

    @property
    def has_head(self) -> bool:
        """Whether the classifier holds anything yet."""
        head = self.state.head
        trained = (head.past, head.weight, self.state.training.params["head"])
        return any(bool(np.any(np.asarray(values))) for values in trained)

    @property
    def consolidates(self) -> bool:
        """Whether the head is CWR*'s."""
        return consolidates(self.learner.protocol, self.state.memory.slots)


def _check(session: FirmwareSession) -> None:
    """Raises ValueError for what the firmware cannot do, naming the setting."""
    cut, protocol, memory = session.learner.cut, session.learner.protocol, session.state.memory
    shapes = session.shapes
    latent = cut.latent_shape
    if (shapes[-1] if shapes else cut.image_shape) != latent or memory.shape != latent:
        raise ValueError(
            f"the stage gives {shapes[-1:]}, the memory holds {memory.shape} and layer "
            f"{cut.latent_layer} takes {latent}: they are not of one session"
        )
    if memory.bits == replay.FLOAT_BITS:
        raise ValueError(
            "the firmware reads packed codes, and this session stores float32 latents; choose a "
            "session with 1 to 8 bits"
        )
    if protocol.synaptic_strength:
        raise ValueError(
            "the firmware has no Synaptic Intelligence; learn with --synaptic-strength 0"
        )
    for index, layer in enumerate(session.stage):
        area = layer.weight.shape[0] * layer.weight.shape[1] if layer.weight.ndim > 2 else 1
        if area > _KERNEL_AREA_MAX:
            raise ValueError(
                f"layer {index} has a kernel of {area} positions, and the firmware's kernels take "
                f"up to {_KERNEL_AREA_MAX}"
            )
