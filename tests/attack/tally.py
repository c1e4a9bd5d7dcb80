"""What came of every attack, counted; and commands called so that nothing of them is lost."""

import collections
import contextlib
import dataclasses
import io
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from types import FrameType

from qlrjax import cli

CAUGHT, HARMLESS, SILENT, TRACEBACK = "caught", "harmless", "silent", "traceback"
OUTCOMES = (CAUGHT, HARMLESS, SILENT, TRACEBACK)
MEANING = """\
- *caught*: refused in one sentence with exit code 2, or noticed, said and mended;
- *harmless*: every answer and every file that is read is what it was before, or, where a command
  was killed, what it was before or after that command;
- *silent*: something wrong was used, written or left behind without a word;
- *traceback*: anything but a sentence: a traceback, a signal, or three minutes without an end (as
  many times longer as the machine has more work waiting than processors).
"""
SECONDS_AT_MOST = 180
_PROGRESS_SECONDS = 120


def patience(seconds: int = SECONDS_AT_MOST) -> int:
    """Wall seconds that are as good as `seconds` of a machine that does nothing else."""
    return round(seconds * max(1.0, os.getloadavg()[0] / len(os.sched_getaffinity(0))))


class TooLong(BaseException):
    """A call has not ended in time."""


@dataclasses.dataclass
class Tally:
    """The outcomes of one kind of attack.

    Attributes:
        name: Of the kind.
        counts: By outcome.
        told: What went wrong, one line each, to be mended.
        shown: When it was last said how far this is, seconds.
    """

    name: str
    counts: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    told: list[str] = dataclasses.field(default_factory=list)
    shown: float = dataclasses.field(default_factory=time.monotonic)

    def add(self, outcome: str, what: str) -> None:
        """Counts an attack; `what` identifies it if it succeeded."""
        assert outcome in OUTCOMES
        self.counts[outcome] += 1
        if time.monotonic() - self.shown > _PROGRESS_SECONDS:
            self.shown = time.monotonic()
            print(f"so far: {' '.join(self.row)}", file=sys.stderr, flush=True)
        if outcome in (SILENT, TRACEBACK):
            self.told.append(f"{self.name}: {outcome}: {what}")

    @property
    def row(self) -> list[str]:
        """Of the table."""
        cells = [self.counts.total(), *(self.counts[outcome] for outcome in OUTCOMES)]
        return [self.name, *map(str, cells)]


def table(tallies: Sequence[Tally]) -> str:
    """Markdown, with a row for all."""
    whole = Tally("all")
    for tally in tallies:
        whole.counts.update(tally.counts)
    lines = [["attack", "tried", *OUTCOMES], ["---", *["---:"] * 5]]
    lines += [tally.row for tally in (*tallies, whole)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a command did.

    Attributes:
        code: Its exit code.
        out: Its standard output.
        err: Its standard error.
        failure: A traceback, or that it took too long; empty if neither.
    """

    code: int
    out: str
    err: str
    failure: str = ""

    @property
    def refused(self) -> bool:
        """Whether it ended as bad input should."""
        return self.code == 2 and not self.failure

    @property
    def noticed(self) -> bool:
        """Whether it went on, and told that something was not as it should be."""
        words = ("is damaged", "was set aside", "written anew", "are left out", "was passed over")
        return self.code == 0 and any(word in self.err for word in words)


def call(*words: object, seconds: int = SECONDS_AT_MOST) -> Answer:
    """A command, in this process."""
    return captured(lambda: cli.main([str(word) for word in words]), seconds)


def perform(act: Callable[[], None]) -> Answer:
    """What a command does, without parsing a command line, which would take most of the time."""
    return captured(lambda: cli.answer("attack", act))


def captured(act: Callable[[], int], seconds: int = SECONDS_AT_MOST) -> Answer:
    """What something that gives an exit code says, and whether it fails otherwise."""
    out, err = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), limit(seconds):
            code = act()
    except (Exception, SystemExit, TooLong):
        return Answer(1, out.getvalue(), err.getvalue(), traceback.format_exc(limit=-6))
    failure = err.getvalue() if "Traceback" in err.getvalue() or code not in (0, 2) else ""
    return Answer(code, out.getvalue(), err.getvalue(), failure)


@contextlib.contextmanager
def limit(seconds: int = SECONDS_AT_MOST) -> Iterator[None]:
    """Raises TooLong in what takes longer, such as the opening of a pipe."""

    def give_up(number: int, frame: FrameType | None) -> None:
        raise TooLong

    earlier = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(patience(seconds))
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, earlier)
