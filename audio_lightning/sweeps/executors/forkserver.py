"""A process that has the heavy libraries imported, from which others are forked in milliseconds.

To import Lightning takes seconds, to fork a process that has it takes hundredths of one. The process is that of
multiprocessing's forkserver: it never opens a recording, touches no GPU and starts no thread, so that what is forked
from it begins as clean as a fresh Python.
"""

import multiprocessing
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, ForkServerProcess
from types import ModuleType
from typing import Any, TypeVar

from audio_lightning.config.trust import trusted_modules, trusting
from audio_lightning.core.errors import DiskError, Interrupted, UserError
from audio_lightning.core.files import disk_trouble

PRELOADED = "audio_lightning.sweeps.executors.preload"

DISTRIBUTED = (
    "RANK",
    "LOCAL_RANK",
    "NODE_RANK",
    "GROUP_RANK",
    "WORLD_SIZE",
    "LOCAL_WORLD_SIZE",
    "MASTER_ADDR",
    "MASTER_PORT",
)
"""Variables by which a process takes itself for one of several; they must not reach a trial."""

Answer = TypeVar("Answer")


def forkserver() -> ForkServerContext:
    """The context whose processes are forked from the warm one, which starts importing now if it has not yet."""
    from multiprocessing.forkserver import ensure_running

    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([PRELOADED])
    ensure_running()
    return context


def begin(function: Callable[..., Any], *arguments: Any) -> ForkServerProcess:
    """Start ``function`` in a process of its own, which is a group of its own and dies with this one.

    It trusts the modules that are trusted here.
    """
    process = forkserver().Process(target=_enter, args=(trusted_modules(), function, *arguments))
    with _main_hidden() if function.__module__ != "__main__" else nullcontext():
        process.start()
    return process


def call(function: Callable[..., Answer], *arguments: Any) -> Answer:
    """What ``function`` returns, computed in a process of its own.

    Raises:
        UserError: the function's own; :class:`DiskError` where the disk took no more.
        RuntimeError: with the traceback of any other exception there, or because the process died.
    """
    (answer,) = call_side_by_side(function, arguments, 1)
    return answer


def call_side_by_side(function: Callable[..., Answer], arguments: Sequence[Any], times: int) -> list[Answer]:
    """What ``function`` returns in each of several processes that run at once; see :func:`call`."""
    running = []
    try:
        for _ in range(times):
            receiver, sender = multiprocessing.Pipe(duplex=False)
            running.append((begin(_answer, sender, function, *arguments), receiver))
            sender.close()
        return [_answer_of(process, receiver) for process, receiver in running]
    except BaseException:
        for process, _ in running:
            if process.is_alive():
                kill_group(process.pid)
        raise


def _answer_of(process: ForkServerProcess, receiver: Connection) -> Any:
    try:
        succeeded, answer = receiver.recv()
    except EOFError:
        process.join()
        raise RuntimeError(f"a process of the sweep died (exit code {process.exitcode})") from None
    process.join()
    if succeeded:
        return answer
    raise answer if isinstance(answer, (UserError, Interrupted)) else RuntimeError(answer)


def kill_group(pid: int | None, number: int = signal.SIGKILL) -> None:
    """Send a signal to a process begun here and to all that it has started."""
    if pid is None:
        return
    try:
        os.killpg(pid, number)
    except ProcessLookupError:
        pass
    except PermissionError:  # macOS, of a group that has ended
        pass


@contextmanager
def _main_hidden() -> Iterator[None]:
    """Keep a process that starts from running the main program first, where nothing of that is needed.

    A script that sweeps where nothing asks for ``__main__`` would sweep there, too, and the standard input has no file.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _enter(trusted: tuple[str, ...], function: Callable[..., Any], *arguments: Any) -> None:
    os.setsid()  # Ctrl-C on the terminal is for the sweep, which decides what becomes of its trials
    for name in DISTRIBUTED:
        os.environ.pop(name, None)
    if PRELOADED not in sys.modules:  # multiprocessing passes over a preload that fails in silence
        __import__(PRELOADED)
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=_die_with, args=(parent,), daemon=True).start()
    with trusting(trusted):
        function(*arguments)


def _die_with(parent: Any) -> None:
    parent.join()
    os.killpg(0, signal.SIGKILL)


def _answer(sender: Connection, function: Callable[..., Any], *arguments: Any) -> None:
    try:
        answer = (True, function(*arguments))
    except UserError as error:
        answer = (False, type(error)(str(error)))
    except BaseException as error:
        said = disk_trouble(error)
        answer = (False, DiskError(said) if said else traceback.format_exc())
    sender.send(answer)
    sender.close()
