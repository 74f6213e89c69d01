"""Processes of a run meet and compare before JAX starts: here as threads, without JAX."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from purejax_mgtopo.errors import RunError
from purejax_mgtopo.machine import processes
from purejax_mgtopo.machine.meeting import Seat, difference, meet


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("localhost", 0))
        return int(found.getsockname()[1])


def verdicts(
    facts: Sequence[Mapping[str, object]],
    counts: Sequence[int] | None = None,
    numbers: Sequence[int] | None = None,
    seconds: float = 20.0,
    port: int | None = None,
    late: int | None = None,
) -> list[str | None]:
    """What each of the processes that come hears; one of them may come a second late."""
    address = f"localhost:{port or free_port()}"
    counts = counts or [len(facts)] * len(facts)
    numbers = range(len(facts)) if numbers is None else numbers
    heard: list[str | None] = ["nothing"] * len(facts)

    def come(at: int) -> None:
        time.sleep(float(at == late))
        try:
            meet(Seat(address, counts[at], numbers[at]), facts[at], seconds)
            heard[at] = None
        except RunError as error:
            heard[at] = str(error)

    threads = [threading.Thread(target=come, args=(at,), daemon=True) for at in range(len(facts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return heard


SAME = {"seeds": 4, "learner.learning_rate": 1e-3, "command": "train"}


@pytest.mark.parametrize("count", [2, 3, 8])
def test_those_that_agree_go_on(count: int) -> None:
    assert verdicts([SAME] * count) == [None] * count


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize(
    ("other", "says"),
    [
        (SAME | {"seeds": 5}, "seeds is 4 in process 0 and 5 in process"),
        (SAME | {"learner.learning_rate": 2e-3}, "learner.learning_rate is 0.001 in process 0"),
        (SAME | {"file prey.npz": "ab"}, "file prey.npz is nothing in process 0 and ab in process"),
        (
            {"seeds": 4, "command": "train"},
            "learner.learning_rate is 0.001 in process 0 and nothing",
        ),
    ],
)
def test_all_hear_what_differs_in_one_line(count: int, other: dict, says: str) -> None:
    heard = verdicts([*[SAME] * (count - 1), other])
    assert len(set(heard)) == 1 and heard[0] is not None and "\n" not in heard[0]
    assert says in heard[0] and f"in process {count - 1}" in heard[0]


def test_of_many_differences_a_few_are_named() -> None:
    line = difference({0: {str(n): n for n in range(9)}, 1: {}})
    assert line is not None and "and 6 more" in line and line.count("in process 0") == 3


def test_one_that_does_not_come_is_named_to_those_that_did() -> None:
    began = time.monotonic()
    heard = verdicts([SAME, SAME], counts=[3, 3], seconds=1.0)
    assert time.monotonic() - began < 30
    assert all(line is not None and "process 2 of the 3" in line for line in heard), heard


def test_without_the_first_one_the_others_end() -> None:
    (line,) = verdicts([SAME], counts=[2], numbers=[1], seconds=1.0)
    assert line is not None and "the first process of this run does not answer" in line


@pytest.mark.parametrize(
    ("counts", "numbers", "says"),
    [
        ([2, 3], [0, 1], "process 1 of this run counts 3 processes, and process 0 counts 2"),
        ([3, 3, 3], [0, 1, 1], "two processes of this run say that they are process 1"),
    ],
)
def test_numbers_that_cannot_be_are_told(counts: list[int], numbers: list[int], says: str) -> None:
    heard = verdicts([SAME] * len(counts), counts, numbers, seconds=5.0)
    assert any(line is not None and says in line for line in heard), heard
    assert all(line is not None for line in heard)


def test_who_is_still_on_the_way_hears_of_it_too() -> None:
    """Not only those who were there when it came out."""
    heard = verdicts([SAME] * 3, counts=[3, 3, 4], late=1)
    says = "process 2 of this run counts 4 processes, and process 0 counts 3"
    assert all(line is not None and says in line for line in heard), heard


@pytest.mark.parametrize("word", [b"", b"GET / HTTP/1.1\r\n\r\n", b"[1]\n", b'{"process": "x"}\n'])
def test_strangers_at_the_door_are_not_let_in(word: bytes) -> None:
    port = free_port()
    done = threading.Event()

    def knock() -> None:
        while not done.wait(0.01):
            with contextlib.suppress(OSError):
                line = socket.create_connection(("localhost", port), timeout=5)
                line.sendall(word)
                kept.append(line)  # and never hangs up

    kept: list[socket.socket] = []
    stranger = threading.Thread(target=knock, daemon=True)
    stranger.start()
    try:
        assert verdicts([SAME, SAME], port=port) == [None, None]
    finally:
        done.set()
        stranger.join(10)
        for line in kept:
            line.close()


def test_a_port_in_use_is_told() -> None:
    with socket.create_server(("", 0)) as taken, pytest.raises(RunError, match="cannot listen"):
        meet(Seat(f"localhost:{taken.getsockname()[1]}", 2, 0), SAME, 1.0)


def test_the_port_is_free_afterwards() -> None:
    port = free_port()
    for _ in range(3):
        assert verdicts([SAME, SAME], port=port) == [None, None]


@pytest.mark.parametrize("differ", [True, False])
def test_processes_that_have_joined_on_their_own_are_compared_too(
    differ: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes as threads: `gather` is a barrier through which both pass their numbers."""
    barrier, said = threading.Barrier(2, timeout=20), {}
    own = threading.local()

    def gather(numbers: Sequence[float]) -> np.ndarray:
        said[own.process] = np.asarray(numbers, np.float32)
        barrier.wait()
        found = np.stack([said[0], said[1]])
        barrier.wait()
        return found

    monkeypatch.setattr(processes, "gather", gather)
    monkeypatch.setattr(processes, "count", lambda: 2)
    heard: dict[int, str] = {}

    def ask(process: int) -> None:
        own.process = process
        try:
            processes.agree(SAME | {"note": "é" * (1 + differ * process)})
        except RunError as error:
            heard[process] = str(error)

    threads = [threading.Thread(target=ask, args=(n,), daemon=True) for n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(heard) == 2 * differ
    assert all("note is é in process 0 and éé in process 1" in line for line in heard.values())
