"""Element by element: SGD with momentum, dequantization of 8-bit codes, ReLU and its gradient."""

from collections.abc import Callable
from pathlib import Path

from pulpsim.kernels.record import LEAF, RESTORES_RA, ClosedForm, Kernel, Mix, Numbers, Spent, Work
from pulpsim.kernels.shape import Argument, Buffer, Rule, Scalar, Shape

PROGRAM = Path(__file__).with_suffix(".s")


def elements_shape(divisor: int) -> Shape:
    """Shapes `n1024`, a multiple of `divisor`."""
    rule = Rule(lambda s: s.elements % divisor == 0, f"n to be a multiple of {divisor}")
    return Shape("n{elements}", "n1024", (rule,))


def words(name: str, word: int) -> Buffer:
    """A float per element."""
    return Buffer(name, word, lambda s: 4 * s.elements)


def codes(name: str, word: int) -> Buffer:
    """A byte per element."""
    return Buffer(name, word, lambda s: s.elements)


def steps(base: int, per: int, step: int, misaligned: float = 0.0) -> Callable[..., Spent]:
    """`per` instructions for every `step` elements."""

    def spent(n: Numbers) -> Spent:
        count = -(-n // step)
        return Spent(base + per * count, 0, LEAF, misaligned * count)

    return spent


def _sgd(n: Numbers) -> Spent:
    return Spent(47 + 8 * n, 0, 0, RESTORES_RA)


def _fours(name: str, arguments: tuple[Argument, ...], form: ClosedForm | None) -> Kernel:
    work = Work("elements", granularity=4)
    return Kernel(name, PROGRAM, elements_shape(4), arguments, work, form, "n1024")


_DEQUANTIZE = (codes("codes", 0), words("y", 2), Scalar("scale", 3, 0.0123))
_RELU = (words("x", 0), codes("mask", 1), words("y", 2))

KERNELS = (
    Kernel(
        "e1_sgd",
        PROGRAM,
        elements_shape(2),
        (
            words("w", 0),
            words("g", 1),
            words("m", 2),
            Scalar("momentum", 3, 0.5),
            Scalar("rate", 4, 0.25),
            Scalar("decay", 5, 0.125),
        ),
        Work("elements", granularity=2),
        ClosedForm(_sgd, Mix(2, 16, loads=(2, 2, 2), stores=(2, 2), fma=6)),
        "n1024",
    ),
    _fours("e2_cvt", _DEQUANTIZE, None),
    _fours(
        "e2_trick",
        _DEQUANTIZE,
        ClosedForm(steps(17, 16, 4), Mix(4, 16, loads=(4,), stores=(4,), fp=12)),
    ),
    _fours(
        "e3_fwd",
        _RELU,
        ClosedForm(steps(16, 20, 4), Mix(4, 20, loads=(4,), stores=(4, 1, 1, 1, 1), alu=16)),
    ),
    _fours(
        "e3_bwd",
        (words("dy", 0), codes("mask", 1), words("dx", 2)),
        ClosedForm(steps(16, 16, 4), Mix(4, 16, loads=(4, 4), stores=(4,), alu=4)),
    ),
    _fours(
        "e10_relu6",
        _RELU,
        ClosedForm(steps(18, 28, 4), Mix(4, 28, loads=(4,), stores=(4, 1, 1, 1, 1), alu=20)),
    ),
)
