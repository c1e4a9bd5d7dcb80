"""C kernels that JAX calls: built with the system's compiler at first use, kept, or done without.

`sources/` has what all of them include: a team of threads and XLA's foreign function interface.
"""

from qlrjax.native.build import Kernel, Library, Unavailable, description, load, outlook

__all__ = ["Kernel", "Library", "Unavailable", "description", "load", "outlook"]
