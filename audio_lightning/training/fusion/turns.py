"""Threads that run one at a time and pass control explicitly, like coroutines."""

import contextvars
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

from audio_lightning.core import clock
from audio_lightning.core.errors import Interrupted
from audio_lightning.training.fusion.process_state import ProcessState

SECONDS_BETWEEN_SIGNALS = 0.2
"""Maximum seconds that the main thread sleeps. Only it runs Python's signal handlers, and a signal that the system
delivers to another thread does not wake it."""


class Member:
    """Member of a group: one of the threads.

    Attributes:
        number: number of the member, from 0.
        state: process-wide state of the member, saved while it waits.
        failure: exception that ended the member; None if there was none.
    """

    def __init__(self, number: int, turns: "Turns") -> None:
        self.number, self._turns = number, turns
        self.state = ProcessState()
        self.failure: BaseException | None = None
        self._wake = threading.Semaphore(0)
        self._reply: Any = None

    def meet(self, request: Any) -> Any:
        """Wait for the reply of the ``serve`` function of :class:`Turns` to a request, and return it.

        Requests are served when every member waits or has ended.

        Raises:
            Interrupted: the process got SIGINT or SIGTERM.
            Exception: ``serve`` raised it; every waiting member does.
        """
        return self._turns.meet(self, request)

    def check_stop(self) -> None:
        """Check for a signal.

        Raises:
            Interrupted: the process got SIGINT or SIGTERM.
        """
        if self._turns.signal is not None:
            raise Interrupted(128 + self._turns.signal)


Serve = Callable[[Mapping[Member, Any]], Mapping[Member, tuple[Any, float]]]
"""Function from the requests of all waiting members to the replies to at least one of them.

Each reply has the seconds of its computation that count as time of this member.
"""


class Turns:
    """Scheduler of members, which run in turn.

    A member runs until it calls :meth:`Member.meet` or ends; then the next member runs. Its process-wide state
    (:class:`ProcessState`) is restored at each turn. The time in which it waits does not count in
    :func:`audio_lightning.core.clock.perf_counter`.

    Args:
        serve: function that replies to requests, called when every member waits or has ended.

    Attributes:
        signal: number of the signal, SIGINT or SIGTERM, that the process got; None if it got none.
    """

    def __init__(self, serve: Serve) -> None:
        self._serve = serve
        self.signal: int | None = None
        self._ready: deque[Member] = deque()
        self._waiting: dict[Member, Any] = {}
        self._all_ended = threading.Event()

    def run(self, functions: Sequence[Callable[[Member], None]]) -> list[BaseException | None]:
        """Run each function in its own thread until all have ended.

        Returns:
            The exception that ended each function; None if there was none.
        """
        base = ProcessState()
        members = [Member(number, self) for number in range(len(functions))]
        threads = [
            threading.Thread(
                target=contextvars.copy_context().run,
                args=(self._enter, member, function),
                name=f"fused-{member.number}",
            )
            for member, function in zip(members, functions)
        ]
        with self._signals():
            for thread in threads:
                thread.start()
            self._ready.extend(members)
            self._hand_over()
            while not self._all_ended.wait(SECONDS_BETWEEN_SIGNALS):
                pass
            for thread in threads:
                thread.join()
        base.restore()
        base.close()
        return [member.failure for member in members]

    def meet(self, member: Member, request: Any) -> Any:
        """See :meth:`Member.meet`."""
        member.check_stop()
        began = time.perf_counter()
        member.state.save()
        self._waiting[member] = request
        self._hand_over()
        member._wake.acquire()
        member.state.restore()
        reply, share = member._reply
        member._reply = None
        clock.leave_out(time.perf_counter() - began - share)
        member.check_stop()
        if isinstance(reply, BaseException):
            raise reply
        return reply

    def _enter(self, member: Member, function: Callable[[Member], None]) -> None:
        member._wake.acquire()
        member.state.restore()
        try:
            function(member)
        except BaseException as error:
            member.failure = error
        finally:
            member.state.close()
            self._hand_over()

    def _hand_over(self) -> None:
        """Wake the next member that can run; if all members wait, serve their requests first."""
        if not self._ready and self._waiting:
            for member, reply in self._replies().items():
                del self._waiting[member]
                member._reply = reply
                self._ready.append(member)
        if self._ready:
            self._ready.popleft()._wake.release()
        else:
            self._all_ended.set()

    def _replies(self) -> Mapping[Member, tuple[Any, float]]:
        if self.signal is not None:
            return dict.fromkeys(self._waiting, (None, 0.0))
        try:
            return self._serve(dict(self._waiting))
        except Exception as error:  # raised in every waiting member; if this thread died, the others would wait forever
            return dict.fromkeys(self._waiting, (error, 0.0))

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Record SIGINT and SIGTERM in the main thread; members check for them in :meth:`Member.check_stop`."""

        def received(number: int, frame: FrameType | None) -> None:
            self.signal = number

        if threading.current_thread() is not threading.main_thread():
            yield
            return
        old = {number: signal.signal(number, received) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in old.items():
                signal.signal(number, handler)
