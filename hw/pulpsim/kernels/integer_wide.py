"""Integer inference with requantization in 64 bits: the contract's bits, whatever comes in.

The programs of `integer` with the product multiplied high (5 cycles) and low, the carry of lambda,
and the shift taken over both words. The upper word is not looked at behind the shift, so a layer
needs a shift of at least 1 and, for every input, (kappa * acc + lambda) >> shift within 32 bits:
the firmware's condition for its short requantization, which all layers that `quantize` builds for
MobileNet-V1 meet. Designs in the style of the measured programs, without RTL rows of their own.
"""

from collections.abc import Callable
from pathlib import Path

from pulpsim.kernels import integer
from pulpsim.kernels.record import RESTORES_RA, ClosedForm, Kernel, Numbers, Spent, some

PROGRAM = Path(__file__).with_suffix(".s")
_MULH = 4  # cycles of a high product beyond its first
_LONG = "32x256x32"  # where cores meet is the inner loop, whose share grows with K


def _pointwise(n: Numbers, k: Numbers, m: Numbers) -> Spent:
    pairs, odd, blocks, words = n // 2, n - n // 2 * 2, m // 4, k // 4
    instr = 54 + pairs * (10 + blocks * (116 + 14 * words))
    instr = instr + odd * (4 + blocks * (67 + 9 * words))
    taken = pairs - odd + odd * 2 * (1 - some(pairs))
    high = _MULH * blocks * (8 * pairs + 4 * odd)
    return Spent(instr, taken, 0, RESTORES_RA + high)


def _depthwise(stride: int) -> Callable[..., Spent]:
    def spent(n: Numbers, hin: Numbers, win: Numbers) -> Spent:
        hout, wout = (hin - 3) // stride + 1, (win - 3) // stride + 1
        rest = hout - hout // 3 * 3
        column = 9 - stride + (14 + stride) * hout + 2 * ((rest + 1) // 2)
        misaligned = 0.75 * hin * wout
        taken = n - 1 + n * wout * (1 - rest // 2)
        instr = 65 + stride + n * (11 + wout * column)
        return Spent(instr, taken, 0, RESTORES_RA + n * (misaligned + _MULH * hout * wout))

    return spent


def _convolution(n: Numbers, channels: Numbers, wout: Numbers) -> Spent:
    pairs = -(-wout // 2)
    instr = 61 + n * (8 + pairs * (58 + channels // 4 * 214))
    stalls = n * (8 * pairs + 1) + 16 * pairs * n + 8 * _MULH * n * pairs * (channels // 4)
    return Spent(instr, n * (pairs - 1) + n - 1, 0, RESTORES_RA + stalls)


def _pool(n: Numbers, hw: Numbers) -> Spent:
    words = hw // 4
    return Spent(24 + n * (16 + 2 * words), 0, 1, n * (words + _MULH))


_FORMS = {
    "i1_4x2": ("i1w_4x2", _pointwise),
    "i2_dw": ("i2w_dw", _depthwise(1)),
    "i2s_dw": ("i2sw_dw", _depthwise(2)),
    "i3_conv": ("i3w_conv", _convolution),
    "i4_pool": ("i4w_pool", _pool),
}


def _wide(narrow: Kernel) -> Kernel:
    """The program with the same tiles and arguments. SMLAL does on a Cortex-M what MUL, ADD do."""
    name, spent = _FORMS[narrow.name]
    form = narrow.closed_form
    return Kernel(
        name,
        PROGRAM,
        narrow.shape,
        narrow.arguments,
        narrow.work,
        ClosedForm(spent, form.mix, around=form.spent),
        _LONG if narrow.name == "i1_4x2" else narrow.reference,
        measured=False,
    )


KERNELS = tuple(_wide(kernel) for kernel in integer.KERNELS)
