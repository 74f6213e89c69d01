"""`mgtopo resume` of a sweep's results: run after run, as the sweep itself shows them."""

from __future__ import annotations

from pathlib import Path

import pytest
from fake_population import FakePopulation, FakeStore
from stand_ins import stand_ins

from purejax_mgtopo.cli.main import main
from purejax_mgtopo.records.record import read_config
from purejax_mgtopo.records.run_data import load_run


@pytest.mark.usefixtures("no_jax")
def test_a_sweep_is_extended_with_a_total_and_its_picture_is_drawn_again(
    recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = recipe / "results"
    with stand_ins(population=FakePopulation, store=FakeStore({})):
        assert main(["sweep", str(recipe), "--wandb", "off", "--no-cache"]) == 0
        picture = results / "figures" / "curves.png"
        before = picture.read_bytes()
        for method in ("none", "meta"):  # what a store that is no fake leaves on disk
            (results / "toy_public" / method / "checkpoints" / "wave_0" / "40").mkdir(parents=True)
        capsys.readouterr()
        assert main(["resume", str(results), "--episodes", "80", "--no-cache"]) == 0
    shown = capsys.readouterr()
    assert "run 1 of 2" in shown.err and "run 2 of 2" in shown.err
    assert "80/80" in shown.err and "/40" not in shown.err
    assert f"picture  {picture}" in shown.out
    assert picture.read_bytes() != before
    for method in ("none", "meta"):
        run = results / "toy_public" / method
        assert read_config(run).experiment.episodes == 80
        assert load_run(run).episodes[-1] == 80
