"""Maps in float16: `h1_up` makes them float32 when they arrive, `h1_down` rounds when they leave.

Designs without RTL rows, in instructions that the measured kernels use.
"""

from pathlib import Path

from pulpsim.kernels.elements import elements_shape, steps, words
from pulpsim.kernels.record import ClosedForm, Kernel, Mix, Work
from pulpsim.kernels.shape import Argument, Buffer


def _kernel(name: str, arguments: tuple[Argument, ...], form: ClosedForm) -> Kernel:
    return Kernel(
        name,
        Path(__file__).with_suffix(".s"),
        elements_shape(4),
        arguments,
        Work("elements", granularity=4),
        form,
        "n1024",
        measured=False,
    )


def _halves(name: str, word: int) -> Buffer:
    return Buffer(name, word, lambda s: 2 * s.elements)


KERNELS = (
    _kernel(
        "h1_up",
        (_halves("halves", 0), words("y", 2)),
        ClosedForm(steps(16, 26, 4), Mix(4, 26, loads=(2,), stores=(4,), fp=4, alu=16)),
    ),
    _kernel(
        "h1_down",
        (words("x", 0), _halves("halves", 2)),
        ClosedForm(steps(20, 22, 2), Mix(2, 22, loads=(2,), stores=(1,), fp=2, alu=17)),
    ),
)
