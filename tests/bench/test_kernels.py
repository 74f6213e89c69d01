"""The comparison of our kernels with those of XLA, on a CPU, tiny and in interpretation."""

from __future__ import annotations

from typing import Any

import pytest

from purejax_mgtopo.algorithm.kernels.fused import message_lstm
from purejax_mgtopo.algorithm.kernels.fused.calls import interpreted
from purejax_mgtopo.bench.kernels import CallSizes, compare
from purejax_mgtopo.errors import RunError

TINY = CallSizes(lanes=2, teams=((3, 5),), batch=16, hidden=16, steps=3)


def test_kernels_that_agree_are_timed_in_turns() -> None:
    with interpreted():
        found = compare(TINY, repeats=2)
    for name in ("message LSTM of 3 agents", "eta's LSTM"):
        assert 0 < found.pop(f"{name}: largest difference") < 2e-2
        assert all(found.pop(f"{name}: ms by {kind}") > 0 for kind in ("fused", "xla"))
    assert set(found) == {"device"}


def test_a_kernel_that_gives_something_else_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*given: Any) -> Any:
        return message_lstm.masked_lstm(*given[:3], 1 - given[3])

    monkeypatch.setattr(message_lstm, "_fused", broken)
    with interpreted(), pytest.raises(RunError, match="of 3 agents: the output of the fused ker"):
        compare(TINY, repeats=1)
