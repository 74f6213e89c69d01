"""All processes of a run meet before JAX starts, and compare what each is about to do.

JAX would wait for one that never comes for minutes and then abort, and would let those train together that were told
different things. Here the first process listens at the coordinator's address, which JAX takes over afterwards; the
others tell it what they are about to do; and all hear the same verdict.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from purejax_mgtopo.errors import RunError

PATIENCE = 40.0
"""Seconds for which the first to come waits for the last."""
GRACE = 10.0
"""Seconds for which it waits for the others once it knows that nothing can come of it."""
VARIABLE = "MGTOPO_JOIN_SECONDS"
"""Where a cluster needs longer to start."""
_LIMIT = 2**26  # bytes of a word: thousands of runs of a sweep
_SHOWN = 3

Facts = Mapping[str, Any]
"""What all processes must have in common, by name."""


@dataclass(frozen=True)
class Seat:
    """Where the processes of a run meet, and which of them this is."""

    address: str
    """host:port of the first one."""
    processes: int
    process: int


def meet(place: Seat, facts: Facts, seconds: float | None = None) -> None:
    """Wait for all others. Raises RunError, in all that came, where one does not come or differs."""
    if place.processes < 2:
        return
    deadline = time.monotonic() + (_patience() if seconds is None else seconds)
    said = {name: str(value) for name, value in facts.items()}
    own = {"process": place.process, "processes": place.processes, "facts": said}
    problem = (
        _Host(place, own).verdict(deadline) if place.process == 0 else _ask(place, own, deadline)
    )
    if problem is not None:
        raise RunError(problem)


def difference(facts: Mapping[int, Facts]) -> str | None:
    """What to say of processes that are about to do different things; None where all agree."""
    first = facts[0]
    for process in sorted(facts):
        other = facts[process]
        names = [name for name in {**first, **other} if first.get(name) != other.get(name)]
        if names:
            shown = "; ".join(
                f"{name} is {_short(first.get(name))} in process 0 and {_short(other.get(name))} in process {process}"
                for name in names[:_SHOWN]
            )
            more = f"; and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
            return (
                f"the processes of this run are about to do different things: {shown}{more}; "
                "start all with the same command, files and versions"
            )
    return None


def _short(value: Any) -> str:
    text = "nothing" if value is None else str(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _patience() -> float:
    try:
        return max(1.0, min(float(os.environ.get(VARIABLE, "")), 1e6))
    except ValueError:
        return PATIENCE


@dataclass
class _Host:
    """The first process, while the others come."""

    place: Seat
    own: dict[str, Any]
    words: dict[int, dict[str, Any]] = field(default_factory=dict)
    lines: list[socket.socket] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    change: threading.Condition = field(default_factory=threading.Condition)

    def verdict(self, deadline: float) -> str | None:
        """Hear all, judge, and tell all; None where they agree."""
        _, port = _split(self.place.address)
        try:
            door = _listen(port)
        except OSError as error:
            return (
                f"cannot listen for the other processes at port {port}: {error.strerror or error}; "
                "give another port in JAX_COORDINATOR_ADDRESS, or end what uses it"
            )
        self.words[0] = self.own
        with door:
            threading.Thread(target=self._welcome, args=(door, deadline), daemon=True).start()
            with self.change:
                while len(self.words) < self.place.processes:
                    if self.wrong:  # those who are still on their way are to hear of it too
                        deadline = min(deadline, time.monotonic() + GRACE)
                    left = deadline - time.monotonic()
                    if left <= 0 or not self.change.wait(left):
                        break
            problem = self._judge()
            # A thread that still waits there would keep the port after it is closed.
            with contextlib.suppress(OSError):
                door.shutdown(socket.SHUT_RDWR)
        told = (json.dumps({"problem": problem}) + "\n").encode()
        for line in self.lines:
            with contextlib.suppress(OSError):
                line.sendall(told)
        for line in self.lines:  # let them hang up first: the port is free then
            with contextlib.suppress(OSError), line:
                line.settimeout(2.0)
                line.recv(1)
        return problem

    def _welcome(self, door: socket.socket, deadline: float) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                line, _ = door.accept()
                threading.Thread(target=self._hear, args=(line, deadline), daemon=True).start()

    def _hear(self, line: socket.socket, deadline: float) -> None:
        """One caller's word; whoever says nothing that makes sense is none of us."""
        try:
            word = _read(line, deadline)
            process = int(word["process"])
            theirs, ours = int(word["processes"]), self.place.processes
        except (OSError, ValueError, KeyError, TypeError):
            line.close()
            return
        with self.change:
            self.lines.append(line)
            if theirs != ours:
                self.wrong.append(
                    f"process {process} of this run counts {theirs} processes, and process 0 counts {ours}"
                )
            elif process in self.words:
                self.wrong.append(f"two processes of this run say that they are process {process}")
            self.words.setdefault(process, word)
            self.change.notify()

    def _judge(self) -> str | None:
        with self.change:
            if self.wrong:
                return f"{self.wrong[0]}; give each process the same JAX_NUM_PROCESSES and a JAX_PROCESS_ID of its own"
            missing = [str(n) for n in range(self.place.processes) if n not in self.words]
            if missing:
                few = ", ".join(missing[:8]) + (", ..." if len(missing) > 8 else "")
                return (
                    f"process {few} of the {self.place.processes} of this run did not come to "
                    f"{self.place.address} in time; see what it says, and start all again ({VARIABLE}=300 waits longer)"
                )
            return difference({process: word["facts"] for process, word in self.words.items()})


def _ask(place: Seat, own: Mapping[str, Any], deadline: float) -> str | None:
    """Tell the first process, and hear what it makes of all."""
    silent = (
        f"the first process of this run does not answer at {place.address}; see what it says, and start all again "
        f"({VARIABLE}=300 waits longer)"
    )
    word = (json.dumps(own) + "\n").encode()
    while (left := deadline - time.monotonic()) > 0:
        try:
            with socket.create_connection(_split(place.address), timeout=min(left, 5.0)) as line:
                line.sendall(word)
                answer = _read(line, deadline + 5.0)  # it may have begun to wait a little later
                return None if answer["problem"] is None else str(answer["problem"])
        except TimeoutError:
            continue
        except OSError:
            time.sleep(0.1)
        except (ValueError, KeyError, TypeError):  # closed in the midst of it, or somebody else
            time.sleep(0.1)
    return silent


def _read(line: socket.socket, deadline: float) -> Any:
    content = b""
    while not content.endswith(b"\n"):
        line.settimeout(max(0.01, deadline - time.monotonic()))
        part = line.recv(2**16)
        if not part or len(content) > _LIMIT:
            raise ValueError("no word")
        content += part
    return json.loads(content)


def _split(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def _listen(port: int) -> socket.socket:
    """At all addresses of this machine, as JAX will."""
    if socket.has_dualstack_ipv6():
        with contextlib.suppress(OSError):
            return socket.create_server(
                ("", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=1024
            )
    return socket.create_server(("", port), backlog=1024)
