"""One thread that computes: requests wait for it in order, are replaced by newer ones, and can be cancelled."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator
from dataclasses import dataclass

MOST_WAITING = 32
"""Requests that wait. One more is refused: its answer would come too late for anybody."""


class Replaced(Exception):
    """A newer request of the same view came before this one's turn."""


class Busy(Exception):
    """Too many requests wait already."""


class Stopped(Exception):
    """The server ends."""


@dataclass(eq=False)
class _Task:
    """A computation in steps.

    Attributes:
        view: what asked for it: a part of one page. None is never replaced.
        steps: the computation; each step gives an answer.
        tell: takes each answer, the error that ended it, or `_END`.
        cancelled: whether nobody waits for it any more.
    """

    view: str | None
    steps: Iterator[object]
    tell: Callable[[object], object]
    cancelled: bool = False


Report = Callable[[object], None]
"""Tells how far a step is. Raises Cancelled where nobody waits any more."""


class Cancelled(Exception):
    """Nobody waits for this step any more."""


_END = object()


class Worker:
    """Runs computations in a thread of its own, the first come first.

    A computation is an iterator. Between two of its steps others get their turn, so that a long one (a class image)
    does not hold up short ones (a brush stroke), and a cancelled one stops.
    """

    def __init__(self, *, most_waiting: int = MOST_WAITING) -> None:
        self._most = most_waiting
        self._waiting: deque[_Task] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._present: _Task | None = None
        self._thread = threading.Thread(target=self._work, name="deepscope-worker", daemon=True)
        self._thread.start()

    def run(self, view: str | None, steps: Iterator[object]) -> AsyncGenerator[object, None]:
        """The answers of a computation, as they come. Closing the generator cancels it.

        Args:
            view: what asks. A request of this view that still waits gets `Replaced`; one that runs in steps is stopped.
            steps: the computation, run in the worker's thread.

        Raises:
            Busy: too many requests wait.
            Replaced: a newer request of this view came first.
            Stopped: the worker was stopped, now or before.
        """
        return self._answers(view, lambda _: steps)

    def watch(self, view: str | None, compute: Callable[[Report], object]) -> AsyncGenerator[object, None]:
        """The reports of a computation in one long step, then its answer. As `run`; others wait until it ends."""

        def steps(task: _Task) -> Iterator[object]:
            def report(said: object) -> None:
                with self._changed:
                    newer = any(one.view == task.view for one in self._waiting if task.view is not None)
                if task.cancelled or newer or self._closed:
                    raise Replaced if newer else Cancelled
                task.tell(said)

            yield compute(report)

        return self._answers(view, steps)

    async def _answers(
        self, view: str | None, steps: Callable[[_Task], Iterator[object]]
    ) -> AsyncGenerator[object, None]:
        loop, answers = asyncio.get_running_loop(), asyncio.Queue[object]()

        def tell(said: object) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(answers.put_nowait, said)

        task = _Task(view, iter(()), tell)
        task.steps = steps(task)
        self._add(task)
        try:
            while (said := await answers.get()) is not _END:
                if isinstance(said, BaseException):
                    raise said
                yield said
        finally:
            task.cancelled = True

    async def first(self, view: str | None, answer: Callable[[], object]) -> object:
        """The answer of a computation in one step. Raises as `run`, and what the computation raises."""
        running = self.run(view, (compute() for compute in (answer,)))
        try:
            return await anext(running)
        finally:
            await running.aclose()

    def stop(self) -> None:
        """End every answer with `Stopped` at once, and the thread after the present step."""
        with self._changed:
            self._closed = True
            for task in (*self._waiting, *([self._present] if self._present else [])):
                task.tell(Stopped())
            self._waiting.clear()
            self._changed.notify()

    def close(self) -> None:
        """Stop, and wait for the end of the present step."""
        self.stop()
        self._thread.join()

    def _add(self, task: _Task) -> None:
        with self._changed:
            if self._closed:
                raise Stopped
            for other in [one for one in self._waiting if task.view is not None and one.view == task.view]:
                self._waiting.remove(other)
                other.cancelled = True
                other.tell(Replaced())
            self._waiting = deque(one for one in self._waiting if not one.cancelled)
            if len(self._waiting) >= self._most:
                raise Busy
            self._waiting.append(task)
            self._changed.notify()

    def _next(self) -> _Task | None:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            self._present = None if self._closed else self._waiting.popleft()
            return self._present

    def _work(self) -> None:
        while (task := self._next()) is not None:
            if task.cancelled:
                continue
            try:
                task.tell(next(task.steps))
            except StopIteration:
                task.tell(_END)
                continue
            except Exception as error:
                task.tell(error)
                continue
            with self._changed:
                newer = any(one.view == task.view for one in self._waiting if task.view is not None)
                if newer:
                    task.tell(Replaced())
                elif not self._closed:
                    self._waiting.append(task)
