"""What firmware is made of: a session's frozen stage, learner and settings."""

import dataclasses

import numpy as np
from jaxtyping import Float32

from qlrjax.integer import contract
from qlrjax.integer.frozen import Stage
from qlrjax.network import Cut
from qlrjax.training.learner import Learner, LearnerState, predicting
from qlrjax.training.protocol import FLOAT_BITS, Protocol
from qlrjax.training.strategies import Ar1Star, CwrStar, Quota, Strategy

_KERNEL_AREA_MAX = 49
# Ways to learn that the firmware's C does not have, at what they are where they are off.
_OFF = ("pad_first", "short_minibatches", "renorm_overshoot", "head_rate")


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
        return bool(np.any(self.past) or np.any(self.head))

    @property
    def consolidates(self) -> bool:
        """Whether the head is CWR*'s."""
        return isinstance(self.learner.strategy, CwrStar)

    @property
    def head(self) -> Float32[np.ndarray, "c classes"]:
        """What predicts."""
        return np.asarray(predicting(self.learner, self.state)["head"])

    @property
    def center(self) -> Float32[np.ndarray, " c"]:
        """Which the head sees features less; empty where it sees them as they are."""
        center = self.state.training.center
        return np.zeros(0, np.float32) if center is None else np.asarray(center)

    @property
    def past(self) -> Float32[np.ndarray, " classes"]:
        """Latents of each class so far."""
        return np.asarray(self.learner.strategy.past(self.state.training.kept))


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
    if memory.bits == FLOAT_BITS:
        raise ValueError(
            "the firmware reads packed codes, and this session stores float32 latents; choose a "
            "session with 1 to 8 bits"
        )
    _check_ways(session.learner.strategy, protocol)
    if protocol.maps != "float32":
        raise ValueError("the firmware keeps its maps in float32; learn with --maps float32")
    _check_windows(cut)
    for index, layer in enumerate(session.stage):
        rows, columns = layer.weight.shape[:2] if layer.weight.ndim > 2 else layer.window
        if rows * columns > _KERNEL_AREA_MAX:
            raise ValueError(
                f"layer {index} has a kernel of {rows * columns} positions, and the firmware's "
                f"kernels take up to {_KERNEL_AREA_MAX}"
            )


def _check_windows(cut: Cut) -> None:
    """Raises ValueError for a maximum of nothing: a window that may lie in the padding."""
    for layer in cut.above[:-1]:
        sides = zip(layer.kernel_hw, layer.padding, strict=True)
        if layer.kind == "max_pool" and any(max(pad) >= size for size, pad in sides):
            raise ValueError(
                f"layer {layer.name} of {cut.network.name} pads a whole window, and the firmware "
                "finds no maximum there; cut further up (qlrjax network lists the cuts)"
            )


def _check_ways(strategy: Strategy, protocol: Protocol) -> None:
    """Raises ValueError for a way to learn that the firmware does not have."""
    if isinstance(strategy, Ar1Star):
        raise ValueError(
            "the firmware has no Synaptic Intelligence; learn with --synaptic-strength 0"
        )
    if strategy not in (Strategy(Quota()), CwrStar(Quota())):
        raise ValueError(
            "the firmware learns with a plain or a CWR* head (--classifier plain or cwr*, "
            "--consolidation class, --admission quota, --memory-grows, --no-score-unseen), and "
            f"this session's strategy is {strategy}"
        )
    for name in _OFF:
        wanted = getattr(Protocol(), name)
        if getattr(protocol, name) != wanted:
            raise ValueError(
                f"the firmware has no {name} = {getattr(protocol, name)}; it learns with {wanted}"
            )
