"""What a process says when another one of its run is gone."""

from __future__ import annotations

import pytest

from purejax_mgtopo.machine import processes


@pytest.mark.parametrize(
    "says", ["UNKNOWN: Gloo AllGather failed: Connection reset by peer", "NCCL operation failed"]
)
def test_a_failed_exchange_inside_a_library_means_that_a_process_is_gone(
    says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "count", lambda: 2)
    with pytest.raises(processes.ProcessGone, match="another process of this run is gone"):
        with processes.noticing():
            raise ValueError(says)


@pytest.mark.parametrize("others", [1, 2])
def test_other_errors_stay_what_they_are(others: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """And alone, nobody can be gone."""
    monkeypatch.setattr(processes, "count", lambda: others)
    says = "No space left on device" if others == 2 else "Gloo"
    with pytest.raises(ValueError, match=says), processes.noticing():
        raise ValueError(says)
