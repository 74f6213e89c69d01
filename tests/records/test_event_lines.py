"""Lines of events: what is read of them, and which waves they say are safe."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from purejax_mgtopo.errors import ConfigError, require, unknown_name
from purejax_mgtopo.records.events import (
    EVENTS,
    all_lost,
    end_with_a_line,
    prefix_digest,
    read_events,
    saved_waves,
)
from purejax_mgtopo.records.glossary import GLOSSARY, UNKNOWN, described


def test_only_whole_lines_of_objects_are_events(tmp_path: Path) -> None:
    path = tmp_path / EVENTS
    lines = [b'{"event": "a"}', b"[1]", b"3", b"", b'{"event": "\xff"}', b"{", b'{"event": "b"}']
    path.write_bytes(b"\n".join(lines) + b'\n{"event": "torn')
    found = [event["event"] for event in read_events(tmp_path)]
    assert found == ["a", "\N{REPLACEMENT CHARACTER}", "b"]
    assert list(read_events(path)) == list(read_events(tmp_path))
    path.unlink()
    assert not list(read_events(tmp_path)) and not list(read_events(path))


def test_a_digest_is_of_the_first_bytes(tmp_path: Path) -> None:
    path, content = tmp_path / EVENTS, b'{"event": "a"}\n' * 9
    path.write_bytes(content)
    for size in (None, 0, 1, 15, 1000):
        part = content[:size]
        expected = {"events": hashlib.sha256(part).hexdigest(), "events_bytes": len(part)}
        assert prefix_digest(path, size) == expected
    path.unlink()
    assert prefix_digest(path) == {"events": hashlib.sha256().hexdigest(), "events_bytes": 0}


@pytest.mark.parametrize(
    ("torn", "whole"),
    [
        (b"", b""),
        (b"a\n", b"a\n"),
        (b"a\nb", b"a\n"),
        (b"a\n\nbcd", b"a\n\n"),
        (b"a", b""),
        (b"\n", b"\n"),
    ],
)
def test_a_torn_line_is_cut_off(torn: bytes, whole: bytes, tmp_path: Path) -> None:
    path = tmp_path / EVENTS
    path.write_bytes(torn)
    end_with_a_line(path)
    assert path.read_bytes() == whole
    path.unlink()
    end_with_a_line(path)
    assert not path.exists()


def test_a_run_is_lost_by_its_last_word(tmp_path: Path) -> None:
    path = tmp_path / EVENTS
    for text, lost in (
        ("", False),
        ('{"event": "end", "all_lost": true}\n', True),
        ('{"event": "end"}\n', False),
        ('{"event": "end", "all_lost": true}\n{"event": "resumed"}\n', False),
    ):
        path.write_text(text)
        assert all_lost(tmp_path) is lost


def by_hand(events: list[dict[str, Any]]) -> set[int]:
    """A checkpoint is on the disk once a later one of its wave was begun, a later wave's too, or the run has ended."""
    saved = set()
    for at, event in enumerate(events):
        if event["event"] != "checkpoint":
            continue
        wave = event.get("wave", 0)
        later = events[at + 1 :]
        told = [
            other["event"] != "unsaved"
            for other in later
            if other["event"] in ("interrupted", "end")
            or (other["event"] == "checkpoint" and other.get("wave", 0) >= wave)
            or (other["event"] == "unsaved" and other.get("wave", 0) == wave)
        ]
        if told and told[0]:
            saved.add(wave)
    return saved


def checkpoint(wave: int) -> dict[str, Any]:
    return {"event": "checkpoint", "wave": wave}


def unsaved(wave: int) -> dict[str, Any]:
    return {"event": "unsaved", "wave": wave}


@pytest.mark.parametrize(
    "events",
    [
        [],
        [checkpoint(0)],
        [checkpoint(0), checkpoint(0)],
        [{"event": "checkpoint"}, {"event": "chunk"}, {"event": "checkpoint"}],
        [checkpoint(0), checkpoint(1)],
        [checkpoint(1), checkpoint(0)],
        [checkpoint(1), checkpoint(1), checkpoint(0)],
        [checkpoint(0), checkpoint(2), checkpoint(1)],
        [checkpoint(0), {"event": "interrupted"}],
        [checkpoint(0), checkpoint(1), {"event": "end"}],
        [checkpoint(0), {"event": "end"}, checkpoint(1), {"event": "evaluation"}],
        [{"event": "end"}, checkpoint(3)],
        [checkpoint(0), checkpoint(0), checkpoint(1), checkpoint(2), checkpoint(2)],
        [checkpoint(0), unsaved(0), checkpoint(0), unsaved(0), {"event": "end"}],
        [checkpoint(0), unsaved(0), checkpoint(0), {"event": "end"}],
        [checkpoint(0), checkpoint(0), unsaved(0), {"event": "end"}],
        [checkpoint(0), checkpoint(1), unsaved(1), {"event": "interrupted"}],
    ],
)
def test_waves_are_saved_by_what_came_after(events: list[dict[str, Any]]) -> None:
    assert saved_waves(iter(events)) == by_hand(events)


def test_each_column_has_its_own_words() -> None:
    found = described(["seed", "colour", "edge_rate"])
    assert found == {
        "seed": GLOSSARY["seed"],
        "colour": UNKNOWN,
        "edge_rate": GLOSSARY["edge_rate"],
    }
    assert list(found) == ["seed", "colour", "edge_rate"]


def test_an_unknown_name_is_told_with_the_nearest() -> None:
    known = ["alpha", "beta", "gamma"]
    error = unknown_name("letter", "gama", iter(known))
    assert isinstance(error, ConfigError)
    expected = "unknown letter 'gama'; did you mean 'gamma'? (known: alpha, beta, gamma)"
    assert str(error) == expected
    assert "did you mean 'xyz'?" in str(unknown_name("letter", "Q", ["xyz"]))  # however far
    assert str(unknown_name("letter", "a", [])) == "unknown letter 'a' (known: )"
    for count, listed in ((12, True), (13, False)):
        names = [f"name{n}" for n in range(count)]
        line = str(unknown_name("name", "name", names))
        assert ("(known: " in line) is listed and line.endswith(")" if listed else "'?")


def test_what_is_required_holds_or_is_told() -> None:
    require(True, "never seen")
    with pytest.raises(ConfigError, match="^do this$"):
        require(False, "do this")
