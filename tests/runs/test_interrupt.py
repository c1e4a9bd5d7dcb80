"""Signals: the first is a flag, the second ends the process, even inside one long call."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from qlrjax.runs import interrupt

SOURCE = Path(__file__).resolve().parents[2] / "src"


def until(condition, seconds=20.0):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.005)
    assert condition()


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)], ids=["TERM", "INT"]
)
def test_the_first_signal_is_a_flag(number, code):
    told = []
    before = {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)}
    with interrupt.catch(told.append) as stop:
        stop.check()
        assert (stop.requested, stop.exit_code, stop.name) == (False, 0, "")
        os.kill(os.getpid(), number)
        until(lambda: stop.requested)
        assert (stop.exit_code, stop.name) == (code, number.name)
        until(lambda: told)
        assert told == [number.name]
        with pytest.raises(interrupt.Interrupted, match=number.name):
            stop.check()
    assert {n: signal.getsignal(n) for n in before} == before
    assert signal.set_wakeup_fd(-1) == -1
    assert not [t for t in threading.enumerate() if t.name == "qlrjax-signals"]


def test_other_signals_are_left_alone():
    seen = []
    earlier = signal.signal(signal.SIGUSR1, lambda *_: seen.append(1))
    try:
        with interrupt.catch() as stop:
            os.kill(os.getpid(), signal.SIGUSR1)
            until(lambda: seen)
            assert not stop.requested
    finally:
        signal.signal(signal.SIGUSR1, earlier)


def test_outside_the_main_thread_nothing_is_caught():
    results = []

    def work():
        with interrupt.catch() as stop:
            results.append(stop.requested)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert results == [False]


# hashlib's one C call runs for a minute without a bytecode in between, as XLA's programs do.
BUSY = """
    import hashlib
    from qlrjax.runs import interrupt
    with interrupt.catch(lambda name: print(name, flush=True)) as stop:
        print("ready", flush=True)
        hashlib.pbkdf2_hmac("sha256", b"x", b"y", 10**8)
        print("done", flush=True)
"""


@pytest.mark.parametrize(
    ("first", "second", "code"),
    [(signal.SIGINT, signal.SIGINT, 130), (signal.SIGINT, signal.SIGTERM, 143)],
    ids=["INT-INT", "INT-TERM"],
)
def test_the_second_signal_ends_even_a_process_that_is_inside_one_call(first, second, code):
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(BUSY)],
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.1)
        process.send_signal(first)
        assert process.stdout.readline() == f"{first.name}\n"
        process.send_signal(second)
        assert process.wait(timeout=20) == code
        assert process.stdout.read() == ""
    finally:
        process.kill()
        process.communicate()
