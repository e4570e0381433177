from __future__ import annotations

import threading
from contextlib import closing

import pytest

from vjepa_demo.tasks import ahead as ahead_module
from vjepa_demo.tasks.ahead import ahead, decoding_threads


def test_results_come_in_order_and_an_error_in_its_place():
    found = ahead(lambda number: 6 / number, [1, 2, 0, 3], threads=3)
    answers = [(number, future.exception() or future.result()) for number, future in found]
    assert [number for number, _ in answers] == [1, 2, 0, 3]
    assert [answers[index][1] for index in (0, 1, 3)] == [6, 3, 2]
    assert isinstance(answers[2][1], ZeroDivisionError)


@pytest.mark.parametrize(("threads", "depth", "taken"), [(1, None, 3), (1, 1, 2), (3, None, 5), (2, 0, 1)])
def test_no_more_is_taken_than_was_asked_for(threads, depth, taken):
    items = iter(range(100))
    with closing(ahead(str, items, threads=threads, depth=depth)) as found:
        next(found)
    assert next(items) == taken


def test_closing_waits_for_what_runs_and_leaves_the_rest():
    may_end, begun = threading.Event(), []

    def work(number: int) -> None:
        begun.append(number)
        if number == 1:
            started.set()
            may_end.wait(60)

    started = threading.Event()
    found = ahead(work, range(10), threads=1, depth=5)
    next(found)
    assert started.wait(60)
    threading.Timer(0.01, may_end.set).start()
    found.close()
    assert begun == [0, 1]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ahead")]


@pytest.mark.parametrize(
    ("cores", "limit", "processes", "threads"),
    [
        (2, "max 100000", 1, 1),
        (16, "max 100000", 1, 4),
        (64, "200000 100000", 1, 1),  # a small container on a large machine
        (64, "max 100000", 1, 8),
        (64, "max 100000", 8, 2),
        (64, None, 1, 8),
    ],
)
def test_threads_follow_the_cores_that_this_process_may_use(monkeypatch, tmp_path, cores, limit, processes, threads):
    monkeypatch.setattr(ahead_module.os, "sched_getaffinity", lambda pid: set(range(cores)), raising=False)
    monkeypatch.setattr(ahead_module, "num_processes", lambda: processes)
    monkeypatch.setattr(ahead_module, "CGROUP_LIMIT", tmp_path / "cpu.max")
    if limit is not None:
        (tmp_path / "cpu.max").write_text(f"{limit}\n")
    assert decoding_threads() == threads
