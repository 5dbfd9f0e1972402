"""Threads of a pipeline: hand-over in order, bounded and with an end; a fair lock; an event that ends what waits."""

import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_app.clock import Awake
from edge_app.runtime import threads as stages
from edge_app.runtime.threads import CallWhenSet, prefetch
from edge_app.vision.fair_lock import FairLock

PATIENCE_S = 10.0


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stages, "POLL_S", 0.02)
    monkeypatch.setattr(stages, "LEAVE_S", 0.05)


def gone(name: str) -> bool:
    """Waits until no thread of that name lives."""
    until = time.monotonic() + PATIENCE_S
    while any(thread.name == name for thread in threading.enumerate()):
        if time.monotonic() > until:
            return False
        time.sleep(0.01)
    return True


class Items:
    """An endless source that tells whether it was closed."""

    def __init__(self) -> None:
        self.taken = 0
        self.closed = threading.Event()

    def __iter__(self) -> Iterator[int]:
        return self

    def __next__(self) -> int:
        self.taken += 1
        return self.taken

    def close(self) -> None:
        self.closed.set()


@settings(max_examples=25)
@given(st.lists(st.integers(), max_size=20), st.integers(1, 4))
def test_it_is_map_in_order(numbers: list[int], depth: int) -> None:
    assert list(prefetch(lambda n: n * 2, numbers, depth)) == [n * 2 for n in numbers]


def test_stages_chain() -> None:
    assert list(prefetch(str, prefetch(abs, range(-3, 3)))) == ["3", "2", "1", "0", "1", "2"]


def test_work_runs_in_a_thread_of_its_own() -> None:
    (worker,) = set(prefetch(lambda _: threading.current_thread(), range(5)))
    assert worker is not threading.current_thread()
    assert worker.daemon  # a hung model must not keep the program alive


@pytest.mark.parametrize("depth", [1, 3])
def test_it_stays_a_bounded_number_ahead(depth: int) -> None:
    items, too_far = Items(), threading.Event()
    taken = 0

    def bounded_work(n: int) -> int:
        if n > taken + depth + 2:  # `depth` wait, one is in the hand, one is on its way to the consumer
            too_far.set()
        return n

    made = prefetch(bounded_work, items, depth)
    for expected in range(1, 6):
        assert next(made) == expected
        taken = expected
        assert not too_far.wait(0.02)
    assert not too_far.wait(0.1)
    assert items.taken <= 5 + depth + 1
    made.close()  # type: ignore[attr-defined]
    assert gone("bounded_work")


def test_an_error_of_the_work_comes_after_the_results_before_it() -> None:
    def work(n: int) -> float:
        return 6 / (3 - n)

    made = prefetch(work, range(10))
    assert [next(made), next(made), next(made)] == [2, 3, 6]
    with pytest.raises(ZeroDivisionError):
        next(made)


def test_an_error_of_the_items_comes_through_every_stage_after_the_results_before_it() -> None:
    def items() -> Iterator[int]:
        yield from (1, 2, 3)
        raise OSError("the camera is gone")

    results: list[str] = []
    with pytest.raises(OSError, match="the camera is gone"):
        results.extend(prefetch(str, prefetch(abs, items())))
    assert results == ["1", "2", "3"]


def test_leaving_early_ends_the_threads_and_closes_the_items() -> None:
    def first_stage(n: int) -> int:
        return n

    def second_stage(n: int) -> int:
        return n

    items = Items()
    for result in prefetch(second_stage, prefetch(first_stage, items)):
        if result == 3:
            break
    assert items.closed.wait(PATIENCE_S)
    assert gone("first_stage")
    assert gone("second_stage")


def test_items_are_closed_at_their_end_and_after_an_error() -> None:
    closed = []

    def items() -> Iterator[int]:
        try:
            yield from range(3)
        finally:
            closed.append(True)

    assert list(prefetch(str, items())) == ["0", "1", "2"]
    with pytest.raises(ZeroDivisionError):
        list(prefetch(lambda n: 1 // n, items()))
    assert closed == [True, True]


def test_a_stage_that_hangs_is_left_once_it_is_given_up() -> None:
    hang, given_up = threading.Event(), threading.Event()

    def hanging(n: int) -> int:
        if n == 3:
            hang.wait(PATIENCE_S)
        return n

    def after(n: int) -> int:
        return n

    made = prefetch(after, prefetch(hanging, range(1, 6), given_up=given_up), given_up=given_up)
    try:
        assert [next(made), next(made)] == [1, 2]
        given_up.set()
        assert list(made) == []
        assert not hang.is_set()
    finally:
        hang.set()
    assert gone("hanging")
    assert gone("after")


def test_an_empty_source_ends_at_once() -> None:
    assert list(prefetch(str, ())) == []


def test_turns_are_given_in_the_order_in_which_they_were_asked_for() -> None:
    turns, order, inside = FairLock(), [], 0

    def take(name: int) -> None:
        nonlocal inside
        with turns:
            inside += 1
            assert inside == 1
            order.append(name)
            inside -= 1

    threads = []
    with turns:
        for name in range(5):
            thread = threading.Thread(target=take, args=(name,))
            thread.start()
            threads.append(thread)
            while turns.waiting <= name:
                time.sleep(0.001)
        assert order == []
    for thread in threads:
        thread.join(5)
    assert order == list(range(5))


def test_a_set_event_is_told_once_and_only_inside() -> None:
    event, told = threading.Event(), threading.Event()
    with CallWhenSet(event, told.set):
        assert not told.wait(0.1)
        event.set()
        assert told.wait(5)
    told.clear()
    time.sleep(0.1)
    assert not told.is_set()


def test_who_waits_for_a_result_is_called_and_the_results_are_the_same() -> None:
    calls: list[int] = []

    def slow() -> Iterator[int]:
        for number in range(3):
            until = time.monotonic() + 30
            while len(calls) <= number and time.monotonic() < until:
                time.sleep(0.01)
            yield number

    assert list(prefetch(str, slow(), depth=0, idle=lambda: calls.append(1))) == ["0", "1", "2"]
    assert len(calls) >= 3


def test_a_break_in_looking_at_the_clock_does_not_count() -> None:
    now = [100.0]
    awake = Awake(1.0, clock=lambda: now[0])
    for now[0] in (100.1, 100.9, 101.9):
        assert awake.since() == 100.0
    now[0] = 121.9  # stopped for 20 s
    assert awake.since() == 121.9
    now[0] = 122.8
    assert awake.since() == 121.9
