"""Exported folders, cross-compiled and run in emulators; skips where the tools are missing."""

import contextlib
import os
import shutil

import pytest
from support import firmware

from qlrjax.export.firmware import target as firmware_target

NEEDED = [
    pytest.mark.slow,
    pytest.mark.skipif(
        "QLRJAX_BOARDS" not in os.environ,
        reason="make firmware-test runs it: cross-compilers and emulators",
    ),
]


def need(*programs):
    missing = [name for name in programs if shutil.which(name) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")


def build(twin, name, folder, **words):
    """Exports and builds; the plan."""
    need("make", firmware_target.load(name).compiler)
    plan = twin.export(folder, name, **words)
    firmware.make(folder)
    return plan


@contextlib.contextmanager
def running(name, folder):
    """The emulated board's serial line; the emulator ends with the test."""
    need(firmware_target.load(name).emulator.split()[0])
    device = firmware.connect(folder, name)
    try:
        yield device
        device.quit()
    finally:
        firmware.client().end(device.process)
        for pipe in (device.process.stdin, device.process.stdout):  # `quit` may have closed them
            with contextlib.suppress(OSError):
                pipe.close()
