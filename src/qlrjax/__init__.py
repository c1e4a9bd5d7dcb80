"""Continual learning on microcontrollers with quantized latent replays, in JAX.

What a script needs, and what stays as it is between versions:

    Settings, Protocol      all settings of a session, and how it learns an event
    prepare                 opens data and weights, or takes your stream, network and strategy
    start                   the state before the first event
    learn_next, learn_all   state in, state and a record out
    open_run                reads a run folder back
    __version__             of the installed package

Names are imported when they are first used, so that `import qlrjax` alone costs nothing.
"""

import importlib

# Type checkers know this name, and the module that has it takes longer to load than this one:
# the command's first line, from which on it answers Ctrl-C, would come later.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from qlrjax.runs.opened import open_run
    from qlrjax.session import learn_all, learn_next, prepare, start
    from qlrjax.settings import Settings
    from qlrjax.training.protocol import Protocol

    __version__: str

__all__ = [
    "Protocol",
    "Settings",
    "__version__",
    "learn_all",
    "learn_next",
    "open_run",
    "prepare",
    "start",
]

_HOMES = {
    "Protocol": "qlrjax.training.protocol",
    "Settings": "qlrjax.settings",
    "learn_all": "qlrjax.session",
    "learn_next": "qlrjax.session",
    "open_run": "qlrjax.runs.opened",
    "prepare": "qlrjax.session",
    "start": "qlrjax.session",
}


def __getattr__(name: str) -> "Any":
    if name == "__version__":
        from importlib import metadata

        return metadata.version("qlrjax")
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'qlrjax' has no attribute {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
