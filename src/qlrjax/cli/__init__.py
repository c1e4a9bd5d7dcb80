"""The command line: parse, call, show. Everything here can be called from a script, too."""

import contextlib
import importlib
import os
import signal
import sys
from collections.abc import Callable, Sequence

import qlrjax
from qlrjax.names import printable

USAGE = """qlrjax: continual learning on microcontrollers with quantized latent replays

  qlrjax run --out RUN      learn a stream of events, or go on with an unfinished run
  qlrjax learn RUN --label NAME PHOTOS
                            teach a run one more class, or more of a known one
  qlrjax predict RUN PHOTO  say what is on a photo, or on all photos of a folder
  qlrjax evaluate RUN FOLDER
                            accuracy on a folder of labelled photos, class by class
  qlrjax classes RUN        list a run's classes, rename or forget one, undo the last lesson
  qlrjax data check FOLDER  what a folder of photos holds, before anything is learned from it
  qlrjax export RUN         the integer stage as ONNX, C or arrays; the whole state as one file
  qlrjax import FILE RUN    a run folder from an exported state
  qlrjax network NAME       where a network may be cut, and what that costs on both sides
  qlrjax sweep FILE --out DIR
                            learn many sessions; a second start learns only what is missing
  qlrjax plan --memory 64MB the best setting that fits a device, and why no better one does
  qlrjax report RUN --out report.html
                            one interactive page of a run or a sweep, without a network
  qlrjax hw ...             cycles, bytes and joules on a simulated chip
  qlrjax info               versions, cores, what runs the frozen stage, where caches lie
  qlrjax --version          the installed version

Every command explains itself with --help."""

# Those that run what XLA compiles, which is then kept for the next one.
_COMPILING = (
    "run",
    "learn",
    "predict",
    "evaluate",
    "classes",
    "export",
    "import",
    "sweep",
    "report",
)

# Those that change a run: they are asked to stop, and save first.
_STOPPING = ("run", "learn", "sweep")

Command = Callable[[Sequence[str]], int | None]

# Module in this room and function; imported when asked for, so that --help answers at once.
_COMMANDS = {
    "run": ("run", "main"),
    "learn": ("photos", "learn"),
    "predict": ("photos", "predict"),
    "evaluate": ("evaluate", "main"),
    "classes": ("classes", "main"),
    "data": ("data", "main"),
    "export": ("export", "export"),
    "import": ("export", "import_"),
    "network": ("network", "main"),
    "sweep": ("sweep", "main"),
    "plan": ("plan", "main"),
    "report": ("report", "main"),
    "hw": ("hw", "main"),
    "info": ("info", "main"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code.

    Returns:
        0 done, 2 bad input, 130 and 143 interrupted, 141 when whoever read the output went away.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help", "help"):
        return _print(USAGE) or (0 if words else 2)
    if words[0] in ("--version", "-V"):
        return _print(f"qlrjax {qlrjax.__version__}")
    if words[0] not in _COMMANDS:
        print(
            f"qlrjax: unknown command {words[0]!r}; there are {', '.join(sorted(_COMMANDS))}",
            file=sys.stderr,
        )
        return 2
    return answer(f"qlrjax {words[0]}", lambda: _command(words[0])(words[1:]))


def answer(name: str, call: Callable[[], int | None]) -> int:
    """An exit code: the call's own, or 2 and one sentence on stderr when the input was bad."""
    try:
        code = call() or 0
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        return _reader_went_away()
    except KeyboardInterrupt:
        print(f"{name}: interrupted", file=sys.stderr)
        return 128 + signal.SIGINT
    except (ValueError, OSError, FloatingPointError) as error:
        print(f"{name}: {_sentence(error)}", file=sys.stderr)
        return 2
    except ImportError as error:
        print(f"{name}: a library cannot be loaded ({_sentence(error)})", file=sys.stderr)
        return 2
    except (MemoryError, RuntimeError) as error:
        lacks = any(word in str(error) for word in _EXHAUSTED)
        if not isinstance(error, MemoryError) and not lacks:
            raise
        print(f"{name}: there is not enough memory; {_SMALLER}", file=sys.stderr)
        return 2


# What XLA and Python say when the system gives them no more.
_EXHAUSTED = ("RESOURCE_EXHAUSTED", "Out of memory", "can't start new thread")
# A sentence is read by a person: what a file says of itself must not fill the terminal.
_SENTENCE_AT_MOST = 2000
_SMALLER = "choose fewer replays, a smaller mini-batch or a later latent layer"


def _sentence(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror and error.filename:
        text = f"{error.filename}: {error.strerror}"
    else:
        text = " ".join(str(error).split())
    return printable(text, _SENTENCE_AT_MOST)


def _print(text: str) -> int:
    return answer("qlrjax", lambda: print(text))


def _reader_went_away() -> int:
    """Ends as a program does that SIGPIPE kills, without a word about it."""
    # What is still buffered must not be tried again when the interpreter shuts down.
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 128 + int(getattr(signal, "SIGPIPE", 13))


def _command(name: str) -> Command:
    def call(words: Sequence[str]) -> int | None:
        # A signal must find its handler from the first import on.
        from qlrjax.runs import interrupt

        if name not in _STOPPING:
            with interrupt.leave(f"qlrjax {name}"):
                return _load(name, words)(words)
        with interrupt.catch(_say_stopping) as stop:
            return _load(name, words)(words, stop)

    return call


def _load(name: str, words: Sequence[str]) -> Callable[..., int | None]:
    if name in _COMPILING and not {"-h", "--help"} & set(words):
        from qlrjax import programs
        from qlrjax.cli import limits

        limits.check()
        limits.hush_late_callbacks()
        programs.keep()
    module, function = _COMMANDS[name]
    return getattr(importlib.import_module(f"{__name__}.{module}"), function)


def _say_stopping(signal_name: str) -> None:
    text = f"{signal_name}: finishing the event and saving; once more stops at once without saving"
    print(text, file=sys.stderr, flush=True)
