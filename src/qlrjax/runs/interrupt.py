"""SIGTERM and SIGINT: the first asks a run to save and stop, the second ends the process at once.

Commands that change no run end at the first one, see `leave`.

A signal handler in Python runs only between bytecodes of the main thread, which may be inside one
long XLA call. So the interpreter also writes each signal to a pipe (`signal.set_wakeup_fd`) the
moment it comes, and a thread that reads the pipe counts them. The handler itself does nothing: work
inside handlers is what makes saving on signals unreliable.
"""

import contextlib
import os
import signal
import socket
import threading
import types
from collections.abc import Callable, Iterator

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Interrupted(Exception):
    """Raised by `Stop.check` where work can be given up without losing what was learned."""


class Stop:
    """Whether the user asked to stop."""

    def __init__(self) -> None:
        self._signal: signal.Signals | None = None

    @property
    def requested(self) -> bool:
        """True after the first signal."""
        return self._signal is not None

    @property
    def name(self) -> str:
        """Name of the signal; empty before it came."""
        return self._signal.name if self._signal else ""

    @property
    def exit_code(self) -> int:
        """What a shell expects: 130 after SIGINT, 143 after SIGTERM; 0 when nobody asked."""
        return 128 + self._signal if self._signal else 0

    def check(self) -> None:
        """Raises Interrupted when a stop was asked for."""
        if self.requested:
            raise Interrupted(self.name)

    def _receive(self, number: int) -> bool:
        """Notes a signal; True for the first one."""
        if self._signal is not None:
            return False
        self._signal = signal.Signals(number)
        return True


@contextlib.contextmanager
def catch(on_first: Callable[[str], None] | None = None) -> Iterator[Stop]:
    """Turns the first SIGTERM or SIGINT into a flag, and the second into an immediate exit.

    Args:
        on_first: Called in another thread with the name of the first signal, to tell the user.

    Yields:
        The flag. Outside the main thread, where Python has no signals, it is never set.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    watcher = threading.Thread(
        target=_watch, args=(reader, stop, on_first), name="qlrjax-signals", daemon=True
    )
    earlier_fd = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    earlier = {number: signal.signal(number, _do_nothing) for number in _SIGNALS}
    watcher.start()
    try:
        yield stop
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(earlier_fd)
        writer.close()
        watcher.join()
        reader.close()


@contextlib.contextmanager
def leave(name: str) -> Iterator[None]:
    """Ends the block at Ctrl-C: by KeyboardInterrupt, or where that is unsafe the process at once.

    An exception that is raised while a library is imported can leave half of it behind (NumPy and
    jaxlib then end in a segmentation fault), and one inside a callback of the garbage collector is
    printed and forgotten. Files are put in place whole, so that ending at once loses nothing.

    Args:
        name: What the last words call the program.
    """

    def handle(number: int, frame: types.FrameType | None) -> None:
        if _may_raise(frame):
            raise KeyboardInterrupt
        os.write(2, f"{name}: interrupted\n".encode())
        os._exit(128 + number)

    inside_main = threading.current_thread() is threading.main_thread()
    # Another handler is the caller's own, and a shell tells what it starts behind "&" to ignore it.
    if not inside_main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _may_raise(frame: types.FrameType | None) -> bool:
    while frame is not None:
        code = frame.f_code
        if code.co_filename.startswith("<frozen importlib") or code.co_name in _SWALLOWING:
            return False
        frame = frame.f_back
    return True


# What exceptions do not come out of: JAX's callback of Python's garbage collector, finalizers.
_SWALLOWING = ("_xla_gc_callback", "__del__")


def _do_nothing(number: int, frame: object) -> None:
    # Needed all the same: without a Python handler the wake-up pipe is not written.
    del number, frame


def _watch(reader: socket.socket, stop: Stop, on_first: Callable[[str], None] | None) -> None:
    while received := reader.recv(64):
        for number in received:
            if number not in _SIGNALS:
                continue
            if not stop._receive(number):
                os._exit(128 + number)
            if on_first is not None:
                with contextlib.suppress(OSError, ValueError):  # a closed terminal must not matter
                    on_first(stop.name)
