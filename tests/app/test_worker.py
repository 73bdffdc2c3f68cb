"""The queue: order, replacement, cancellation, and turns between the steps of a long computation."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from typing import Any

import pytest

from deepscope.app.worker import Busy, Cancelled, Replaced, Report, Stopped, Worker


def run(body: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(body, 20))


@pytest.fixture
def worker() -> Iterator[Worker]:
    made = Worker(most_waiting=3)
    yield made
    made.close()


class Held:
    """Holds up the worker until it is let go."""

    def __init__(self) -> None:
        self.begun, self.free = threading.Event(), threading.Event()

    def __call__(self) -> str:
        self.begun.set()
        assert self.free.wait(20)
        return "held"


async def _holding(worker: Worker, held: Held) -> asyncio.Task[object]:
    task = asyncio.create_task(worker.first(None, held))
    await asyncio.to_thread(held.begun.wait, 20)
    return task


def test_one_thread_answers_in_order(worker: Worker) -> None:
    async def body() -> None:
        names = await asyncio.gather(*(worker.first(None, lambda: threading.current_thread().name) for _ in range(3)))
        assert names == ["deepscope-worker"] * 3

    run(body())


def test_stopping_ends_every_answer_before_the_present_step_does(worker: Worker) -> None:
    async def body() -> None:
        held = Held()
        running = await _holding(worker, held)
        waiting = asyncio.create_task(worker.first(None, lambda: "never"))
        await asyncio.sleep(0.05)
        worker.stop()
        found = await asyncio.gather(running, waiting, worker.first(None, lambda: "late"), return_exceptions=True)
        assert [type(one) for one in found] == [Stopped] * 3
        assert not held.free.is_set()
        held.free.set()

    run(body())


def test_an_error_reaches_whoever_asked_and_the_thread_lives_on(worker: Worker) -> None:
    async def body() -> None:
        with pytest.raises(ZeroDivisionError):
            await worker.first(None, lambda: 1 // 0)
        assert await worker.first(None, lambda: 7) == 7

    run(body())


def test_a_newer_request_of_a_view_replaces_the_one_that_waits(worker: Worker) -> None:
    async def body() -> None:
        computed: list[str] = []
        held = Held()
        first = await _holding(worker, held)
        old = asyncio.create_task(worker.first("view", lambda: computed.append("old")))
        other = asyncio.create_task(worker.first("other", lambda: computed.append("other")))
        await asyncio.sleep(0)
        new = asyncio.create_task(worker.first("view", lambda: computed.append("new")))
        with pytest.raises(Replaced):
            await old
        held.free.set()
        await asyncio.gather(first, other, new)
        assert computed == ["other", "new"]

    run(body())


def test_what_nobody_waits_for_is_not_computed(worker: Worker) -> None:
    async def body() -> None:
        computed: list[str] = []
        held = Held()
        first = await _holding(worker, held)
        gone = asyncio.create_task(worker.first(None, lambda: computed.append("gone")))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.sleep(0)
        held.free.set()
        await first
        await worker.first(None, lambda: None)
        assert computed == []

    run(body())


def test_more_than_can_wait_are_refused(worker: Worker) -> None:
    async def body() -> None:
        held = Held()
        first = await _holding(worker, held)
        waiting = [asyncio.create_task(worker.first(None, lambda: 1)) for _ in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(Busy):
            await worker.first(None, lambda: 1)
        held.free.set()
        assert await asyncio.gather(first, *waiting) == ["held", 1, 1, 1]

    run(body())


def test_others_get_their_turn_between_steps_and_a_closed_stream_stops(worker: Worker) -> None:
    made: list[int] = []

    def steps() -> Iterator[int]:
        for number in range(10**9):
            made.append(number)
            yield number

    async def body() -> None:
        stream = worker.run("stream", steps())
        assert await anext(stream) == 0
        assert await worker.first(None, lambda: "between") == "between"
        await stream.aclose()
        await worker.first(None, lambda: None)
        count = len(made)
        await worker.first(None, lambda: None)
        assert len(made) == count < 10**6

    run(body())


def test_a_stream_ends_where_a_newer_one_of_its_view_begins(worker: Worker) -> None:
    def endless() -> Iterator[int]:
        while True:
            yield 1

    async def body() -> None:
        old = worker.run("view", endless())
        await anext(old)
        new = worker.run("view", iter([2]))
        assert await anext(new) == 2
        with pytest.raises(Replaced):
            while True:
                await anext(old)

    run(body())


def test_a_long_step_reports_and_then_answers(worker: Worker) -> None:
    async def body() -> None:
        def compute(report: Report) -> str:
            for count in range(3):
                report(count)
            return "done"

        assert [said async for said in worker.watch("view", compute)] == [0, 1, 2, "done"]

    run(body())


@pytest.mark.parametrize("end", ["closed", "replaced"])
def test_a_long_step_ends_where_nobody_waits_or_a_newer_one_does(worker: Worker, end: str) -> None:
    ended, go_on = list[str](), threading.Event()

    def compute(report: Report) -> None:
        try:
            report("begun")
            go_on.wait(20)
            report("more")
        except (Cancelled, Replaced) as error:
            ended.append(type(error).__name__.lower())
            raise

    async def body() -> None:
        answers = worker.watch("view", compute)
        assert await anext(answers) == "begun"
        if end == "closed":
            await answers.aclose()
            go_on.set()
            assert await worker.first("other", lambda: 7) == 7
        else:
            newer = asyncio.create_task(worker.first("view", lambda: 7))
            await asyncio.sleep(0)
            go_on.set()
            with pytest.raises(Replaced):
                await anext(answers)
            assert await newer == 7

    run(body())
    assert ended == [{"closed": "cancelled", "replaced": "replaced"}[end]]
