"""Softmax cross-entropy of one sample and its gradient, on one core."""

from pathlib import Path

from pulpsim.kernels.record import RESTORES_RA, ClosedForm, Kernel, Mix, Numbers, Spent, Work
from pulpsim.kernels.shape import Buffer, Rule, Scalar, Shape


def _spent(n: Numbers, logits: Numbers) -> Spent:
    return Spent(127 + 23 * logits, 1, 0, RESTORES_RA)


KERNELS = (
    Kernel(
        "e8_smx",
        Path(__file__).with_suffix(".s"),
        Shape(
            "n{logits}",
            "n10",
            (Rule(lambda s: s.logits >= 2, "at least 2 logits"),),
            {"samples": lambda s: 1},
        ),
        (
            Buffer("z", 0, lambda s: 4 * s.logits),
            Buffer("loss", 1, lambda s: 4),
            Buffer("dz", 2, lambda s: 4 * s.logits),
            Scalar("label", 3, 0),
            Scalar("logits", 4),
            Scalar("scale", 5, 1.0),
        ),
        Work("samples", ("logits",), cores=1),
        ClosedForm(_spent, Mix(1, 23, loads=(1,), stores=(1,), fma=6, fp=5, alu=4)),
    ),
)
