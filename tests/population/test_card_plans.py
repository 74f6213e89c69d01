"""Plans for cards that are not there: what is compiled, what fits, and the bounds on time."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
from test_population import tiny

from purejax_mgtopo.cli.fitting import FitCommand
from purejax_mgtopo.cli.main import main, parse
from purejax_mgtopo.cli.tables import card_table, markdown
from purejax_mgtopo.config import Config, Experiment, Means, override, with_method
from purejax_mgtopo.errors import ConfigError
from purejax_mgtopo.machine.cards import CARDS, LAUNCH
from purejax_mgtopo.population import cards
from purejax_mgtopo.population.cards import PLUGINS, plan_for
from purejax_mgtopo.population.fit import LaneBytes

INSTALLED = any(importlib.util.find_spec(plugin) for plugin in PLUGINS)


@dataclass
class Compiled:
    """A program that keeps 10 MB a lane and needs 30 MB more for each that computes at a time."""

    lanes: int
    together: int

    def memory_analysis(self) -> SimpleNamespace:
        state = 10_000_000 * self.lanes
        copied = self.together if self.together < self.lanes else 0
        temporary = 30_000_000 * self.together + 10_000_000 * copied
        return SimpleNamespace(
            argument_size_in_bytes=state,
            output_size_in_bytes=state,
            alias_size_in_bytes=state,
            temp_size_in_bytes=temporary,
        )

    def as_text(self) -> str:
        size = self.lanes * 1_000
        return (
            f"ENTRY %main (p: f32[{size}]) -> f32[{size}] {{\n  %p = f32[{size}]{{0}} parameter(0)\n"
            f"  ROOT %c = f32[{size}]{{0}} copy(%p)\n}}\n"
        )


@pytest.fixture
def compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cards, "described_device", lambda card: None)
    monkeypatch.setattr(cards, "lane_bytes", lambda config: LaneBytes(4, 3, 2, 1))

    def compiled(config: Config, lanes: int, device: object) -> Compiled:
        return Compiled(lanes, config.means.microbatch or lanes)

    monkeypatch.setattr(cards, "_compiled", compiled)


def plan(card: str, seeds: int, **means: Any) -> cards.CardFit:
    return plan_for(CARDS[card], Config(Experiment(seeds=seeds), Means(**means)))


@pytest.mark.usefixtures("compiler")
@pytest.mark.parametrize(
    ("card", "seeds", "lanes", "microbatch"),
    [
        ("h200", 1_024, 1_024, 0),  # 41 GB of 124
        ("a100", 1_024, 1_024, 512),  # 41 GB of 35, but 10 + 20 in two halves
        ("v100", 4_096, None, 64),  # not even the states
        ("v100", 1_230, 1_230, 32),  # 12.3 GB of 14.0 and 64 x 40 MB: smaller batches before waves
    ],
)
def test_what_does_not_fit_takes_micro_batches_and_then_waves(
    card: str, seeds: int, lanes: int | None, microbatch: int
) -> None:
    found = plan(card, seeds)
    means = found.config.means
    assert means.microbatch == microbatch
    assert lanes is None or means.lanes == lanes
    assert found.waves == -(-seeds // means.lanes)
    used = Compiled(means.lanes, microbatch or means.lanes).memory_analysis()
    assert found.needed == used.argument_size_in_bytes + used.temp_size_in_bytes <= found.memory


@pytest.mark.usefixtures("compiler")
def test_what_is_given_is_kept() -> None:
    means = plan("a100", 1_024, lanes=256, microbatch=32).config.means
    assert (means.lanes, means.microbatch) == (256, 32)


@pytest.mark.usefixtures("compiler")
def test_bounds_follow_from_what_an_episode_moves() -> None:
    found = plan("h200", 1_000)
    assert found.moved == 1_000 * 4 * 2 / 100  # a chunk of a hundred episodes reads and writes once
    assert found.bounds["bandwidth"] == pytest.approx(50_000 * 1_000 * 80 / 4.8e12)
    assert found.bounds["launches"] == pytest.approx(50_000 / 100 * LAUNCH)
    assert found.bounds["products"] == 0
    row = markdown([found]).splitlines()[-1]
    assert "| `navigation_N3_l3` | `meta` | h200 |" in row
    assert "1,000 of 1,000" in row
    text = [str(cell) for column in card_table(found).columns for cell in column._cells]
    assert "a bound, not a measurement" in text


@pytest.mark.usefixtures("compiler")
def test_a_row_says_whose_kernels_they_are() -> None:
    found = plan("h200", 8, precision="bfloat16", kernels="fused")
    assert "| h200 | bfloat16, fused |" in markdown([found])
    assert "| h200 | bfloat16 |" in markdown([plan("h200", 8, precision="bfloat16")])


@pytest.mark.usefixtures("compiler")
def test_fused_kernels_need_a_card_that_they_can_be_compiled_for() -> None:
    with pytest.raises(ConfigError, match="since Ampere, and a v100 is older; set kernels to xla"):
        plan("v100", 8, precision="bfloat16", kernels="fused")


@pytest.mark.skipif(INSTALLED, reason="the compiler for GPUs is installed")
def test_without_the_compiler_one_line_says_what_to_install() -> None:
    with pytest.raises(ConfigError, match=r"pip install 'purejax_mgtopo\[cuda12\]'"):
        plan_for(CARDS["h100"], tiny())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--card", "h100", "--memory", "3"], "--memory does not go with --card"),
        (["--table", "x.md"], "--table goes with --card"),
        (["--tasks", "push_N3"], "--tasks goes with --card"),
        (["--card", "nothing"], "no card 'nothing'"),
        (["--card", "h100", "--tasks", "navigation"], "navigation"),
        (["--card", "h100", "--methods", "metta"], "metta"),
    ],
)
def test_wrong_words_are_refused_in_one_line(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fit", *words]) == 2
    error = capsys.readouterr().err
    assert said in error and len(error.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "shares", "aggregates"),
    [
        (["--method", "meta"], {"meta": False}, {"meta": "mean"}),
        (["--method", "meta", "--learner.share-parameters"], {"meta": True}, {"meta": "mean"}),
        (["--method", "ic3net", "--message.aggregate", "sum"], {"ic3net": True}, {"ic3net": "sum"}),
        (
            ["--methods", "ic3net", "meta", "--learner.hidden", "32"],
            {"ic3net": True, "meta": False},
            {"ic3net": "others", "meta": "mean"},
        ),
        (
            ["--methods", "ic3net", "meta", "--learner.share-parameters"],
            {"ic3net": True, "meta": True},
            {"ic3net": "others", "meta": "mean"},
        ),
    ],
)
def test_flags_are_over_the_presets_of_all_methods_that_are_planned(
    words: list[str], shares: dict[str, bool], aggregates: dict[str, str]
) -> None:
    """A preset lies beneath them, as when such a run is trained."""
    asked = parse(["fit", "--card", "h100", "--task", "push_N3", *words])
    assert isinstance(asked, FitCommand)
    found = {m: asked.planned("push_N3", m) for m in asked.methods or (asked.method,)}
    assert {m: x.learner.share_parameters for m, x in found.items()} == shares
    assert {m: x.message.aggregate for m, x in found.items()} == aggregates
    assert {x.task for x in found.values()} == {"push_N3"}
    hidden = 32 if "32" in words else Experiment().learner.hidden
    assert {x.learner.hidden for x in found.values()} == {hidden}


@pytest.mark.slow
@pytest.mark.timeout(1_800)
@pytest.mark.skipif(not INSTALLED, reason="needs the compiler for GPUs: pip install '.[cuda12]'")
@pytest.mark.parametrize(
    ("method", "means", "kernels", "megabytes"),
    [
        ("meta", {"precision": "bfloat16"}, 930, 108),
        ("meta", {"precision": "bfloat16", "kernels": "fused"}, 800, 88),
        ("none", {}, 300, 35),
    ],
)
def test_a_gpu_program_holds_nothing_that_a_gpu_does_badly(
    method: str, means: dict[str, str], kernels: int, megabytes: int
) -> None:
    experiment = with_method(Experiment(seeds=64), method)
    config = override(Config(experiment), means)
    found = plan_for(CARDS["h100"], config)
    counted = found.traffic
    assert (counted.scatters, counted.sorts, counted.host_calls) == (0, 0, 0)
    assert 100 < found.kernels <= kernels
    assert 10 < found.moved / 1e6 <= megabytes
    assert found.temporary < 1.5 * found.lane.total  # no copy of everything
