"""The command line: parse, call, show. Everything here can be called from a script, too."""

import sys
from collections.abc import Callable, Sequence

USAGE = """qlrjax: continual learning on microcontrollers with quantized latent replays

  qlrjax run --out RUN      learn a stream of events, or go on with an unfinished run
  qlrjax learn RUN --label NAME PHOTOS
                            teach a run one more class, or more of a known one
  qlrjax predict RUN PHOTO  say what is on a photo
  qlrjax export RUN         the integer stage as ONNX, C or arrays; the whole state as one file
  qlrjax import FILE RUN    a run folder from an exported state
  qlrjax hw ...             cycles, bytes and joules on a simulated chip

Every command explains itself with --help."""

Command = Callable[[Sequence[str]], int]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code: 0 done, 2 bad input, 130 and 143 interrupted."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help", "help"):
        print(USAGE)
        return 0 if words else 2
    commands = _commands()
    if words[0] not in commands:
        print(
            f"qlrjax: unknown command {words[0]!r}; there are {', '.join(sorted(commands))}",
            file=sys.stderr,
        )
        return 2
    return answer(f"qlrjax {words[0]}", lambda: commands[words[0]](words[1:]))


def answer(name: str, call: Callable[[], int | None]) -> int:
    """An exit code: the call's own, or 2 and one sentence on stderr when the input was bad."""
    try:
        return call() or 0
    except (ValueError, OSError, FloatingPointError) as error:
        print(f"{name}: {_sentence(error)}", file=sys.stderr)
        return 2


def _sentence(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror}"
    return " ".join(str(error).split())


def _commands() -> dict[str, Command]:
    # Each command imports what it needs, so that --help and a typing error answer at once.
    def run(words: Sequence[str]) -> int:
        from qlrjax.cli import run as cli_run

        return cli_run.main(words)

    def learn(words: Sequence[str]) -> int:
        from qlrjax.cli import photos as cli_photos

        return cli_photos.learn(words)

    def predict(words: Sequence[str]) -> int:
        from qlrjax.cli import photos as cli_photos

        return cli_photos.predict(words)

    def export(words: Sequence[str]) -> int:
        from qlrjax.cli import export as cli_export

        return cli_export.export(words)

    def import_(words: Sequence[str]) -> int:
        from qlrjax.cli import export as cli_export

        return cli_export.import_(words)

    def hw(words: Sequence[str]) -> int:
        from qlrjax.cli import hw as cli_hw

        return cli_hw.main(words)

    return {"run": run, "learn": learn, "predict": predict, "export": export,
            "import": import_, "hw": hw}  # fmt: skip
