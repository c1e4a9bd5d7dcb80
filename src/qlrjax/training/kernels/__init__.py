"""The adaptive stage's layers that wait for memory, in C: depthwise layers and batch renorm.

Products are XLA's, which reach the processor's peak; what lies between them reads and writes whole
maps, which XLA does several times over. The functions here do it once, and their results do not
depend on the number of threads. Pure JAX gives the same up to rounding.
"""

from qlrjax.training.kernels.call import (
    LIBRARY,
    Affine,
    chain_backward,
    chain_forward,
    depthwise,
    fits,
    moments,
    renorm_backward,
    serve,
)

__all__ = [
    "LIBRARY",
    "Affine",
    "chain_backward",
    "chain_forward",
    "depthwise",
    "fits",
    "moments",
    "renorm_backward",
    "serve",
]
