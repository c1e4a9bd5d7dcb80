"""Weight gradients of depthwise 3x3 layers, strides 1 and 2.

`d2a_wgrad` and `d2sa_wgrad` add to the gradients of earlier samples and are the ones that are
costed; `d2_wgrad` and `d2s_wgrad` start from zero. The weights are the second buffer in memory as
in the forward pass: the argument `y` is the gradient of the output, `w` that of the weights.
"""

from pathlib import Path

from pulpsim.kernels.depthwise import LIKE, ODD, PLANES, STRIDE1, STRIDE2, at_least, windows
from pulpsim.kernels.record import RESTORES_RA, ClosedForm, Kernel, Mix, Numbers, Spent
from pulpsim.kernels.shape import Shape

PROGRAM = Path(__file__).with_suffix(".s")


def _stride1(n: Numbers, hin: Numbers, win: Numbers) -> Spent:
    hout, wout = hin - 2, win - 2
    rest = wout - wout // 3 * 3
    row = 13 + 13 * wout + 2 * ((rest + 1) // 2)
    taken = n - 1 + n * hout * (1 - rest // 2)
    return Spent(60 + n * (24 + hout * row), taken, 0, RESTORES_RA)


def _stride2(n: Numbers, hin: Numbers, win: Numbers) -> Spent:
    hout, wout = hin // 2, win // 2
    odd = wout - wout // 2 * 2
    taken = n - 1 + n * hout * (1 - odd)
    return Spent(55 + n * (23 + hout * (10 + 16 * wout)), taken, 0, RESTORES_RA)


_FORM1 = ClosedForm(_stride1, Mix(9, 13, loads=(1,) * 4, fma=9, loops=1 / 3))
_FORM2 = ClosedForm(_stride2, Mix(9, 16, loads=(1,) * 7, fma=9, loops=1 / 2))
_LEAST = (3, 5)
_ONE, _TWO = (
    Shape(PLANES, LIKE, (at_least(*_LEAST),)),
    Shape(PLANES, LIKE, (ODD, at_least(*_LEAST))),
)
_WORK1, _WORK2 = windows(1, _LEAST), windows(2, _LEAST)

KERNELS = (
    Kernel("d2_wgrad", PROGRAM, _ONE, STRIDE1, _WORK1, reference="C16_10x10"),
    Kernel("d2a_wgrad", PROGRAM, _ONE, STRIDE1, _WORK1, _FORM1, "C16_10x10"),
    Kernel("d2s_wgrad", PROGRAM, _TWO, STRIDE2, _WORK2, reference="C16_9x9"),
    Kernel("d2sa_wgrad", PROGRAM, _TWO, STRIDE2, _WORK2, _FORM2, "C16_9x9"),
)
