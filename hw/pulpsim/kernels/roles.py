"""What the cores that do not compute run: the DMA's programmer and the fabric controller."""

from pathlib import Path

from pulpsim.kernels.record import Kernel, Work
from pulpsim.kernels.shape import PERIPHERALS, Buffer, Scalar, Shape

PROGRAM = Path(__file__).with_suffix(".s")
_SHAPE = Shape("n{commands}", "n4")
_ARGUMENTS = (Buffer("list", 0, lambda s: 12 * s.commands), Scalar("registers", 8, PERIPHERALS))
_WORK = Work("commands", cores=1)

KERNELS = (
    Kernel("r_dma", PROGRAM, _SHAPE, _ARGUMENTS, _WORK, measured=False),
    Kernel("r_fork", PROGRAM, _SHAPE, _ARGUMENTS, _WORK, measured=False),
)
