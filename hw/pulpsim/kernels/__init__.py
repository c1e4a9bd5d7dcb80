"""The kernels of training and integer inference: values in JAX, micro-operations from a program.

`KERNELS` has one entry per program of `pulpsim/programs` that computes. A kernel's `share` computes
the values of one core's share of a tile; `values` splits a tile as the programs do and `vmap`s the
share over the cores; `pulpsim.cluster.requests.stream` gives what each core issues for it.
`p1_2x4` is the forward pass of pointwise layers, `p3_2x4` their input gradient, `p2a_2x4` their
weight gradient. The programs `r_dma` and `r_fork` are those of the cluster and the fabric
controller, which have no values.
"""

from pulpsim.kernels import channels, depthwise, elements, integer, linear, products
from pulpsim.kernels.record import Kernel, Operand, values

KERNELS: dict[str, Kernel] = {
    kernel.name: kernel
    for kernel in (
        *products.KERNELS,
        *depthwise.KERNELS,
        *linear.KERNELS,
        *elements.KERNELS,
        *channels.KERNELS,
        *integer.KERNELS,
    )
}

__all__ = ["KERNELS", "Kernel", "Operand", "values"]
