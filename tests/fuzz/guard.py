"""Limits for hostile inputs: time, memory, side effects, and errors of one line."""

import contextlib
import os
import resource
import signal
import sys
import sysconfig
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from audio_lightning.audio.ffmpeg import executable
from audio_lightning.core.errors import UserError

SECONDS = 5.0
GIGABYTE = 2**30
LONGEST_LINE = 4_000

SECRET = "correct-horse-battery-staple"
"""Value of an environment variable that inputs ask for."""

RUNS = ("os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "subprocess.Popen", "socket.connect")
"""Audit events that no input may cause."""

CHANGES = ("os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.chmod", "os.link", "os.symlink", "os.truncate")
"""Audit events of changed paths."""

PROJECT = Path(__file__).parents[2]


@dataclass
class Usage:
    """Cost of one input: seconds, and additional bytes of memory."""

    seconds: float = 0.0
    memory: int = 0


@dataclass
class Tally:
    """Number of inputs of each kind that were read, rejected, and recognized as their kind.

    Attributes:
        counts: counts by kind.
        most: largest cost of an input, by kind.
    """

    counts: dict[str, Counter[str]] = field(default_factory=dict)
    most: dict[str, Usage] = field(default_factory=dict)

    def add(self, kind: str, usage: Usage, *, read: bool, passed: bool) -> None:
        found = self.counts.setdefault(kind, Counter())
        found["inputs"] += 1
        found["read" if read else "refused"] += 1
        found["passed"] += passed
        most = self.most.setdefault(kind, Usage())
        most.seconds, most.memory = max(most.seconds, usage.seconds), max(most.memory, usage.memory)

    def total(self, name: str) -> int:
        return sum(found[name] for found in self.counts.values())

    def shares(self) -> dict[str, float]:
        """Share of the inputs of each kind that were recognized as their kind."""
        return {kind: found["passed"] / found["inputs"] for kind, found in self.counts.items()}

    def __str__(self) -> str:
        names = ("inputs", "read", "refused", "passed")
        lines = [f"{'kind':<14}" + "".join(f"{name:>9}" for name in names) + "    share  slowest   memory"]
        for kind, found in [*self.counts.items(), ("all", Counter({name: self.total(name) for name in names}))]:
            most = self.most.get(kind) or Usage(
                max(most.seconds for most in self.most.values()), max(most.memory for most in self.most.values())
            )
            lines.append(
                f"{kind:<14}"
                + "".join(f"{found[name]:>9,}" for name in names)
                + f"{found['passed'] / found['inputs']:>9.0%}{most.seconds:>7.2f} s{most.memory / 1e6:>6.0f} MB"
            )
        return "\n".join(lines)


class Watch:
    """Listens to what the interpreter does, for a hook cannot be taken away again.

    Attributes:
        folder: the only place in which something may be written; None while nothing is watched.
        events: what was done that must not be.
    """

    def __init__(self) -> None:
        self.folder: Path | None = None
        self.events: list[str] = []
        libraries = {*map(str, sysconfig.get_paths().values()), sys.prefix, sys.base_prefix}
        allowed = [*libraries, str(PROJECT), "/proc", "/sys", "/dev/null", "/dev/urandom", "/usr", "/etc/localtime"]
        self.readable = tuple(os.path.realpath(path) for path in allowed)
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.folder is None:
            return
        if event == "subprocess.Popen" and is_decoder(arguments):
            return
        if event.startswith(RUNS):
            self.events.append(f"{event} {arguments[:2]}")
        elif event == "open" and isinstance(arguments[0], (str, bytes)):
            path, flags = os.path.realpath(os.fsdecode(arguments[0])), arguments[2]
            writes = bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
            # To write a folder fails, unless it is for a temporary file without a name.
            allowed = os.path.isdir(path) or (not writes and path.startswith(self.readable))
            if not (allowed or path.startswith(str(self.folder)) or "__pycache__" in path):
                self.events.append(f"{'writes' if writes else 'reads'} {path}")
        elif event in CHANGES and isinstance(arguments[0], (str, bytes)):
            path = os.path.realpath(os.path.dirname(os.path.abspath(os.fsdecode(arguments[0]))))
            if not path.startswith(str(self.folder)) and "__pycache__" not in path:
                self.events.append(f"{event} {arguments[0]!r}")


def is_decoder(arguments: tuple[Any, ...]) -> bool:
    """Whether a started program is FFmpeg, told to read files only: it decodes containers that libsndfile does not."""
    program, line = os.path.basename(os.fsdecode(arguments[0] or arguments[1][0])), [*map(str, arguments[1])]
    return program.startswith("ffmpeg") and "-protocol_whitelist" in line


@dataclass
class Guard:
    """Runs inputs one after another, and judges each.

    Attributes:
        root: folder for all of them.
        tally: what became of them.
    """

    root: Path
    tally: Tally = field(default_factory=Tally)
    watch: Watch = field(default_factory=Watch)

    def __post_init__(self) -> None:
        executable()  # the first look for FFmpeg may start it, to see whether it runs

    def judge(self, kind: str, passed: bool, make: Callable[[Path], Any], act: Callable[[Path, Any], Any]) -> None:
        """Make an input in a folder of its own, and act on it as the commands do.

        Args:
            kind: of the input.
            passed: whether it passes the first look at what it is.
            make: writes the input; what it returns is handed on.
            act: the function behind a command.
        """
        with tempfile.TemporaryDirectory(dir=self.root) as place:
            folder = Path(os.path.realpath(place))
            made = make(folder)
            read = True
            with _limits() as usage, contextlib.chdir(folder), open(os.devnull, "w") as nowhere:
                self.watch.folder, self.watch.events = folder, []
                try:
                    with contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
                        act(folder, made)
                except UserError as error:
                    read = False
                    check_message(str(error))
                finally:
                    self.watch.folder = None
            assert usage.seconds < SECONDS, "it took too long"
            assert not self.watch.events, self.watch.events
            assert not list(folder.parent.glob("CANARY*")), "something was executed"
        self.tally.add(kind, usage, read=read, passed=passed)


def check_message(text: str) -> None:
    """Hold an error message to its form."""
    assert text.strip(), "nothing is said"
    assert "\n" not in text, f"more than one line: {text}"
    assert len(text) < LONGEST_LINE, "a line of endless length"
    assert SECRET not in text, "the secret is said"


@contextlib.contextmanager
def _limits() -> Iterator[Usage]:
    """Limit time and memory, and yield the measured cost.

    The limit of the address space is generous, because allocators reserve more than they use; the used memory counts.
    """

    def late(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"more than {SECONDS} seconds")

    space, used = (int(pages) * resource.getpagesize() for pages in Path("/proc/self/statm").read_text().split()[:2])
    Path("/proc/self/clear_refs").write_text("5")  # reset the peak
    limits = resource.getrlimit(resource.RLIMIT_AS)
    handler = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    resource.setrlimit(resource.RLIMIT_AS, (space + 4 * GIGABYTE, limits[1]))
    usage, started = Usage(), time.perf_counter()
    try:
        yield usage
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    usage.seconds, usage.memory = time.perf_counter() - started, int(peak.split()[1]) * 1024 - used
    assert usage.memory < GIGABYTE, "it took more than a gigabyte"


def in_child(folder: Path, act: Callable[[], None]) -> tuple[int, str]:
    """Do something in a process of its own, in a folder.

    Args:
        folder: where it stands.
        act: a command, which ends by ``SystemExit``.

    Returns:
        The exit code, and what it wrote to the error output.
    """
    errors = folder / ".errors"
    child = os.fork()
    if child == 0:
        os.chdir(folder)
        for number, path in ((1, os.devnull), (2, errors)):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), number)
        code: Any = 70
        try:
            sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
            with _limits():
                act()
        except SystemExit as stop:
            code = stop.code
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code if isinstance(code, int) else 0 if code is None else 70)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status), errors.read_text(encoding="utf-8", errors="replace")


def check_end(code: int, errors: str) -> None:
    """Hold the end of a command to its form: done, or what is wrong in one line."""
    assert code in (0, 1, 2), f"exit code {code}: {errors[-2_000:]}"
    assert "Traceback" not in errors, errors[-2_000:]
    assert SECRET not in errors, "the secret is said"
    said = [line for line in errors.splitlines() if line.startswith("error: ")]
    if code == 2:
        assert len(said) == 1, errors[-2_000:]
        check_message(said[0])
