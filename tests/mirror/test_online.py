"""A server that knows how far a run came."""

from __future__ import annotations

from pathlib import Path

import pytest
import stand_ins
from fake_population import Killed, Notes, small
from mirrored import DiskStore, Paired, Recorded, train

from purejax_mgtopo.config import CheckpointConfig, override
from purejax_mgtopo.mirror.mirror import WandbMirror


def test_online_a_resumed_run_tells_what_the_server_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed in chunk 3, after W&B heard of two; the checkpoint is from there."""
    config = small(checkpoint=CheckpointConfig(minutes=0))

    def kill(chunk: int) -> None:
        if chunk == 3:
            raise Killed

    with pytest.raises(Killed):
        train(
            tmp_path,
            override(config, {"wandb": "off"}),
            population=lambda config: Paired(config, before_chunk=kill),
        )
    run = Recorded(step=21)
    monkeypatch.setattr(WandbMirror, "_start", lambda self, name, seed=None: run)
    notes = Notes()
    stand_ins.resume(
        tmp_path,
        reporter=notes,
        population=Paired,
        store=DiskStore({}),
        mirror=lambda folder, config, say: WandbMirror(folder, config, say, "online"),
    )
    assert run.logged == [30, 40, 41]
    assert run.codes == [0]
    assert "W&B: https://host/run" in notes.notes
