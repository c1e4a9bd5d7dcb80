"""What the system must allow before a command that computes may start.

Beyond these limits it is not Python that fails but what lies under it, which ends the process
(LLVM) or prints a traceback while it is closed down (asyncio), so that no sentence could be said.
"""

import sys

try:
    import resource
except ImportError:  # not on this system
    resource = None

_OPEN_FILES = 32
# A tiny run maps 2.1 GB, of which it touches 0.4.
_ADDRESS_SPACE = 3 * 10**9


def check() -> None:
    """Refuses limits under which nothing could be computed.

    Raises:
        ValueError: Too few open files or too little address space; how to raise it is said.
    """
    if resource is None:
        return
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if files != resource.RLIM_INFINITY and files < _OPEN_FILES:
        raise ValueError(
            f"the system lets this program open {files} files, and it needs {_OPEN_FILES}: "
            "raise the limit (ulimit -n 256)"
        )
    space = resource.getrlimit(resource.RLIMIT_AS)[0]
    if space != resource.RLIM_INFINITY and space < _ADDRESS_SPACE:
        raise ValueError(
            f"the system lets this program have {space / 1e9:.2g} GB of address space, and it "
            f"needs {_ADDRESS_SPACE / 1e9:.2g} GB, most of which it never touches: raise the "
            "limit (ulimit -v unlimited)"
        )


def hush_late_callbacks() -> None:
    """Nothing is printed of callbacks that come after a failed save has closed their event loop.

    TensorStore calls them from its own threads, and the failure has been told by then. A hook that
    somebody else has set stays.
    """
    if sys.unraisablehook is sys.__unraisablehook__:
        sys.unraisablehook = _told


def _told(unraisable: "sys.UnraisableHookArgs") -> None:
    error = unraisable.exc_value
    if not (isinstance(error, RuntimeError) and str(error) == "Event loop is closed"):
        sys.__unraisablehook__(unraisable)
