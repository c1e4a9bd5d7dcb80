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


# Ctrl-C while a module is imported, in a callback of the garbage collector, and elsewhere.
LEFT = {
    "import": "import interrupts_itself",
    "collector": """
        import gc
        def _xla_gc_callback(*_):
            signal.raise_signal(signal.SIGINT)
        gc.callbacks.append(_xla_gc_callback)
        gc.collect()
    """,
    "plain": """
        try:
            signal.raise_signal(signal.SIGINT)
        finally:
            print("tidied")
    """,
}


@pytest.mark.parametrize("place", LEFT)
def test_leaving_raises_only_where_an_exception_gets_out(tmp_path, place):
    (tmp_path / "interrupts_itself.py").write_text(
        "import signal\ntry:\n    signal.raise_signal(signal.SIGINT)\nfinally:\n    print('half')\n"
    )
    script = (
        "import signal\nfrom qlrjax import cli\nfrom qlrjax.runs import interrupt\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "def act():\n    with interrupt.leave('someone'):\n"
        + textwrap.indent(textwrap.dedent(LEFT[place]), " " * 8)
        + "\n    print('went on')\nraise SystemExit(cli.answer('someone', act))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(SOURCE), str(tmp_path)])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (130, "someone: interrupted\n")
    assert ended.stdout == ("tidied\n" if place == "plain" else "")


def test_a_handler_of_the_caller_stays():
    seen = []
    earlier = signal.signal(signal.SIGINT, lambda *_: seen.append(1))
    try:
        with interrupt.leave("someone"):
            signal.raise_signal(signal.SIGINT)
            until(lambda: seen)
    finally:
        signal.signal(signal.SIGINT, earlier)
