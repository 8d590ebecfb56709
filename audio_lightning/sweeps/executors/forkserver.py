"""Forkserver with the heavy libraries loaded, from which processes are forked in milliseconds.

Importing Lightning takes seconds; forking a process that has imported it takes hundredths of a second. The server is
the one of ``multiprocessing``. It never opens a recording, uses a GPU or starts a thread, so a forked process is as
clean as a new Python process.
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

STOPPING = (signal.SIGINT, signal.SIGTERM)
"""Signals that stop a sweep. The terminal, ``timeout`` and Slurm send them to all processes of a command."""

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
"""Environment variables of distributed processes, which must not reach a trial."""

Answer = TypeVar("Answer")


def forkserver() -> ForkServerContext:
    """Return the forkserver's multiprocessing context; start the server if it does not run yet.

    The server blocks SIGINT and SIGTERM from its first instruction on, because the sweep needs it to save results after
    these signals. It ends together with the sweep.
    """
    from multiprocessing.forkserver import ensure_running
    from multiprocessing.resource_tracker import ensure_running as ensure_tracker

    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([PRELOADED])
    ensure_tracker()  # first, because it unblocks the signals; the tracker itself ignores them
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)  # a new process inherits the mask
    try:
        ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    return context


def begin(function: Callable[..., Any], *arguments: Any, memory_of_threads: bool = False) -> ForkServerProcess:
    """Start ``function`` in a separate process with its own process group, which dies with this process.

    The new process trusts the modules that are trusted in this process.

    Args:
        function: function that the new process can import by its name.
        arguments: arguments of the function.
        memory_of_threads: let threads of the new process share the memory that they free; must be set before the first
            thread starts (:func:`audio_lightning.training.allocator.share_freed_memory`).
    """
    process = forkserver().Process(target=_enter, args=(trusted_modules(), memory_of_threads, function, *arguments))
    with _main_hidden() if function.__module__ != "__main__" else nullcontext():
        process.start()
    return process


def call(function: Callable[..., Answer], *arguments: Any) -> Answer:
    """Call ``function`` in a separate process, and return its result.

    Raises:
        UserError: raised by the function; :class:`DiskError` if the disk was full.
        RuntimeError: with the traceback of any other exception, or if the process died.
    """
    (answer,) = call_side_by_side(function, arguments, 1)
    return answer


def call_side_by_side(function: Callable[..., Answer], arguments: Sequence[Any], times: int) -> list[Answer]:
    """Call ``function`` in several processes at the same time, and return their results; see :func:`call`."""
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
    """Send a signal to a process started here and to all its descendants."""
    if pid is None:
        return
    try:
        os.killpg(pid, number)
    except ProcessLookupError:
        pass
    except PermissionError:  # raised on macOS for a group that has ended
        pass


@contextmanager
def _main_hidden() -> Iterator[None]:
    """Prevent a new process from running the main program first, if the called function is not part of it.

    A script without a ``__main__`` guard would start its sweep again, and a program on the standard input has no file.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _enter(trusted: tuple[str, ...], memory_of_threads: bool, function: Callable[..., Any], *arguments: Any) -> None:
    os.setsid()  # Ctrl-C on the terminal is handled by the sweep, which stops its trials
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)  # a request to stop that came since the fork is received now
    for name in DISTRIBUTED:
        os.environ.pop(name, None)
    if PRELOADED not in sys.modules:  # multiprocessing ignores a failed preload silently
        __import__(PRELOADED)
    if memory_of_threads:
        from audio_lightning.training.allocator import share_freed_memory

        share_freed_memory()
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
        trouble = disk_trouble(error)
        answer = (False, DiskError(trouble) if trouble else traceback.format_exc())
    sender.send(answer)
    sender.close()
