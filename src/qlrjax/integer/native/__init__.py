"""The frozen stage in C: vector instructions chosen at run time, all layers in one call.

`prepare` lays a stage out for this machine and `apply` runs it, with the bits of `frozen.apply`. It
is built at first use; where it cannot be, `prepare` gives None and pure JAX stays.
"""

from qlrjax.integer.native.call import LIBRARY, NativeStage, apply, prepare

__all__ = ["LIBRARY", "NativeStage", "apply", "prepare"]
