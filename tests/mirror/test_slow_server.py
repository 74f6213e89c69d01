"""A W&B server that is slow, or never answers, delays no training."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_population import FakePopulation, FakeStore, Notes, small
from stand_ins import train

from purejax_mgtopo.mirror import wandb_run
from purejax_mgtopo.mirror.mirror import WandbMirror
from purejax_mgtopo.records import record


class Server:
    """It answers once it is told to; what was logged by then and after."""

    def __init__(self) -> None:
        self.id, self.step, self.url = "abc", 0, "https://host/run"
        self.answer, self.asked = threading.Event(), threading.Event()
        self.rows: list[tuple[int, int]] = []
        self.codes: list[int] = []

    def start(self, mirror: WandbMirror, name: str, seed: int | None = None) -> Server:
        self.asked.set()
        assert self.answer.wait(60)
        return self

    def define_metric(self, *args: object, **options: object) -> None: ...
    def log_artifact(self, artifact: object) -> None: ...

    def log(self, row: dict, step: int, commit: bool) -> None:
        self.rows.append((step, len(row)))

    def finish(self, exit_code: int) -> None:
        self.codes.append(exit_code)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    found = Server()
    monkeypatch.setattr(WandbMirror, "_start", lambda *words: found.start(*words))
    monkeypatch.setattr(wandb_run, "OPENING", 0.2)
    yield found
    found.answer.set()


def run(folder: Path, answer_at: int | None, server: Server) -> Notes:
    """Train; the server answers before that chunk."""
    notes, opened = Notes(), []

    def before_chunk(chunk: int) -> None:
        assert server.asked.wait(60)  # the chunk is trained while it thinks
        if chunk == answer_at:
            server.answer.set()
            opened[0]._opening.join(60)

    def open_mirror(*words: object) -> WandbMirror:
        opened.append(WandbMirror(*words, "online"))  # type: ignore[arg-type]
        return opened[0]

    train(
        small(),
        folder,
        reporter=notes,
        population=lambda config: FakePopulation(config, before_chunk=before_chunk),
        store=FakeStore({}),
        mirror=open_mirror,
    )
    return notes


@pytest.mark.timeout(120)
def test_a_silent_server_costs_one_line(server: Server, tmp_path: Path) -> None:
    notes = run(tmp_path, None, server)
    assert record.status(tmp_path) is record.Status.FINISHED
    assert server.asked.is_set() and server.rows == []
    (line,) = [note for note in notes.notes if "training goes on" in note]
    assert "does not answer" in line and "mgtopo wandb-rebuild" in line and "\n" not in line


@pytest.mark.timeout(120)
@pytest.mark.parametrize("late", [1, 2, 3])
def test_a_slow_server_is_told_all(late: int, server: Server, tmp_path: Path) -> None:
    run(tmp_path / "late", late, server)
    rows, server.rows = server.rows, []
    run(tmp_path / "prompt", 0, server)
    assert rows == server.rows and len(rows) == 5
    assert server.codes == [0, 0]
