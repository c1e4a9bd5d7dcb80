"""AR1*: CWR* for the head, Synaptic Intelligence for the layers below it.

Maltoni and Lomonaco (2019), Lomonaco et al. (2020).
"""

import dataclasses
from typing import Any

from jaxtyping import Array, Float32

from qlrjax.training.adaptive import Params
from qlrjax.training.replay import ReplayMemory
from qlrjax.training.strategies import synaptic
from qlrjax.training.strategies.cwr import CwrStar
from qlrjax.training.strategies.strategy import (
    ClassChange,
    Kept,
    Learned,
    Settled,
    Step,
    Strategy,
)


@dataclasses.dataclass(frozen=True)
class Ar1Star(Strategy):
    """Another strategy, and a penalty on layers that move away from where they mattered.

    Attributes:
        classifier: What becomes of the head: CWR* in AR1*.
        strength: Weight of the penalty; lambda, `ewc_lambda` in ar1-pytorch.
        rule: What importance is, see `synaptic`.
    """

    classifier: Strategy = CwrStar()  # noqa: RUF009  (frozen)
    strength: float = 1e6
    rule: synaptic.Rule = synaptic.PUBLISHED

    def start(self, params: Params, memory: ReplayMemory) -> Kept:
        """The classifier's, and no importance."""
        kept = self.classifier.start(params, memory)
        return dataclasses.replace(kept, synapses=synaptic.init(params["layers"]))

    def before(self, kept: Any, params: Params, counts: Any) -> Params:
        """The classifier's."""
        return self.classifier.before(kept, params, counts)

    def penalty(self, kept: Any, params: Params) -> Float32[Array, ""]:
        """Strength / 2 * sum(importance * displacement^2)."""
        return self.strength * synaptic.penalty(kept.synapses, params["layers"], self.rule)

    def follow(self, kept: Any, step: Step) -> Any:
        """Adds the step to the path."""
        layers = [tree["layers"] for tree in (step.gradients, step.before, step.after)]
        return dataclasses.replace(kept, synapses=synaptic.follow(kept.synapses, *layers))

    def after(self, kept: Any, params: Params, event: Learned) -> Settled:
        """Turns the path into importance; the head is the classifier's."""
        done = self.classifier.after(kept, params, event)
        synapses = synaptic.consolidate(kept.synapses, done.params["layers"], self.rule)
        return dataclasses.replace(done, kept=dataclasses.replace(done.kept, synapses=synapses))

    def admit(self, kept: Any, memory: ReplayMemory, offer: Any) -> tuple[Any, ReplayMemory]:
        """The classifier's."""
        return self.classifier.admit(kept, memory, offer)

    def predict(self, kept: Any, params: Params) -> Params:
        """The classifier's."""
        return self.classifier.predict(kept, params)

    def past(self, kept: Any) -> Float32[Array, " classes"]:
        """The classifier's."""
        return self.classifier.past(kept)

    def change_classes(self, kept: Any, change: ClassChange) -> Any:
        """The classifier's; the layers have no class axis."""
        return self.classifier.change_classes(kept, change)

    def change_slots(self, kept: Any, order: Any, used: Any) -> Any:
        """The classifier's."""
        return self.classifier.change_slots(kept, order, used)

    def set_class(
        self, kept: Any, params: Params, label: int, column: Float32[Array, " c"], count: int
    ) -> tuple[Any, Params]:
        """The classifier's."""
        return self.classifier.set_class(kept, params, label, column, count)
