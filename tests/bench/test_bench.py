"""The benchmark: both sides do the same work, and figures come out right; nothing is timed."""

from __future__ import annotations

import importlib.util
import io
import json
import subprocess
import sys

import numpy as np
import pytest
from oracles import mpe_numpy as oracle
from rich.console import Console

from purejax_mgtopo.bench import bench, matmul, torch_maddpg, training

TASKS = ["navigation_N2_l2", "navigation_N3_l3", "navigation_N6_l1"]


def as_complex(vectors: np.ndarray) -> np.ndarray:
    return vectors[..., 0] + 1j * vectors[..., 1]


@pytest.mark.parametrize("task", TASKS)
def test_the_numpy_environment_is_the_oracle(task: str) -> None:
    env = torch_maddpg.TorchNavigation(task)
    random = np.random.default_rng(1)
    for episode in range(50):
        # A narrow arena, so that agents collide in many states.
        position, landmark = random.uniform(-0.5, 0.5, (2, env.num_agents, 2))
        velocity, action = random.normal(size=(2, env.num_agents, 2))
        if episode == 0:
            position[1] = position[0]  # no direction to be pushed in
        action = np.clip(action, -1, 1)
        env.set_state(as_complex(position), as_complex(velocity), as_complex(landmark))
        env.step(as_complex(action))
        place, speed = oracle.navigation_step(position[None], velocity[None], action[None])
        seen = np.empty((env.num_agents, env.observation_size // 2), np.complex64)
        env.observe(seen)
        reward = torch_maddpg.team_reward(env.position[None], env.landmark)

        np.testing.assert_allclose(env.position, as_complex(place[0]), atol=1e-5)
        np.testing.assert_allclose(env.velocity, as_complex(speed[0]), atol=1e-5)
        expected = oracle.navigation_observation(place, speed, landmark[None], env.num_visible)
        np.testing.assert_allclose(seen.view(np.float32), expected[0], atol=1e-5)
        expected = oracle.navigation_reward(place, landmark[None])
        np.testing.assert_allclose(reward, expected, atol=1e-5)


def test_only_navigation_exists_in_pytorch() -> None:
    with pytest.raises(ValueError, match="toy_public"):
        torch_maddpg.TorchNavigation("toy_public")


def test_an_episode_lands_in_the_replay_as_the_oracle_plays_it() -> None:
    pytest.importorskip("torch")
    learner = torch_maddpg.Tuned(torch_maddpg.TorchNavigation("navigation_N3_l3"))
    total = learner.play()
    seen = learner.observations[0].numpy().astype(float)
    velocity, position = seen[0, :, None, :2], seen[0, :, None, 2:4]
    velocity, position = velocity.swapaxes(0, 1), position.swapaxes(0, 1)
    landmark = as_complex(seen[0, 0, 4:10].reshape(3, 2)) + as_complex(position[0, 0])
    landmark = np.stack([landmark.real, landmark.imag], axis=-1)[None]
    for t in range(torch_maddpg.HORIZON):
        action = learner.actions[0, t].numpy().astype(float)
        assert np.abs(action).max() <= 1
        position, velocity = oracle.navigation_step(position, velocity, action[None])
        expected = oracle.navigation_observation(position, velocity, landmark, 3)
        np.testing.assert_allclose(seen[t + 1], expected[0], atol=1e-4)
        reward = oracle.navigation_reward(position, landmark)
        np.testing.assert_allclose(learner.rewards[0, t], reward[0], atol=1e-4)
    np.testing.assert_allclose(total, learner.rewards[0].sum(), rtol=1e-5)


def test_both_styles_compute_the_same_update() -> None:
    torch = pytest.importorskip("torch")
    tuned = torch_maddpg.Tuned(torch_maddpg.TorchNavigation("navigation_N3_l3"), seed=0)
    plain = torch_maddpg.Plain(torch_maddpg.TorchNavigation("navigation_N3_l3"), seed=0)

    def paired(stacked, modules):
        """Tensors of `tuned` beside those of `plain`; kernels are transposed there."""
        for agent, policy in enumerate(modules[0]):
            for mine, other in zip(stacked[:6], policy.parameters(), strict=True):
                yield mine[agent].squeeze(0) if mine.shape[1] == 1 else mine[agent].T, other
        for mine, other in zip(stacked[6:], modules[1].parameters(), strict=True):
            yield mine.T if mine.ndim == 2 else mine, other

    with torch.no_grad():
        for mine, other in paired(tuned.online, plain.online):
            other.copy_(mine)
        plain.target.load_state_dict(plain.online.state_dict())
    for _ in range(4):
        tuned.play()
    plain.stored = tuned.stored
    for name in ("observations", "actions", "rewards"):
        getattr(plain, name).copy_(getattr(tuned, name))
    plain.generator.set_state(tuned.generator.get_state())
    before = [p.clone() for p in tuned.online]
    for _ in range(3):
        tuned.update()
        plain.update()
    assert all((p != q).any() for p, q in zip(before, tuned.online, strict=True))
    for stacked, modules in ((tuned.online, plain.online), (tuned.target, plain.target)):
        for mine, other in paired(stacked, modules):
            torch.testing.assert_close(mine, other, atol=1e-4, rtol=0)


def test_the_reference_cost_is_that_of_the_number_of_agents() -> None:
    assert training.reference_rate("navigation_N3_l3", 100.0) == pytest.approx(110.0)
    assert training.reference_rate("navigation_N6_l1", 10.0) == pytest.approx(55.0)
    for task in ("navigation_N4_l4", "toy_public"):
        with pytest.raises(ValueError, match=task):
            training.reference_rate(task, 1.0)


def test_no_evaluation_falls_into_a_measurement() -> None:
    config = training.benchmark("meta", "navigation_N3_l3", 2)
    assert (config.topology, config.seeds, config.chunk_episodes) == ("meta", 2, training.CHUNK)
    assert config.evaluation.every > 10**6


def test_matmul_counts_multiplications_and_additions() -> None:
    assert matmul.matmul_flop(2) == 2 * 2 * 2 * 2
    rates = matmul.measure(sizes=(16,), seconds=0.01, repeats=1)
    assert list(rates) == [16] and rates[16] > 0


def shown(tables: list) -> str:
    console = Console(file=io.StringIO(), width=140)
    for table in tables:
        console.print(table)
    return console.file.getvalue()


def test_tables_show_rates_and_ratios() -> None:
    row = {"task": "push_N3", "num_envs": 1024, "ours": 2e6, "ours_jumanji": 1e6, "jaxmarl": 2e5}
    alone = row | {"num_envs": 64, "jaxmarl": None, "ratio": None, "ratio_jumanji": None}
    row |= {"ratio": 10.0, "ratio_jumanji": 5.0}
    text = shown(bench.tables.environment_tables([row, alone]))
    assert (
        "push_N3" in text
        and "2,000,000" in text
        and "10.0x" in text
        and "5.0x" in text
        and " - " in text
    )

    text = shown(
        bench.tables.training_tables(
            {
                "task": "navigation_N3_l3",
                "processes": 2,
                "episodes_per_second": {"ours": 900.0, "plain": 300.0, "tuned": 450.0},
                "ratio": {"plain": 3.0, "tuned": 2.0},
            }
        )
    )
    assert "900.0" in text and "3.0x" in text and "2.0x" in text

    text = shown(
        bench.tables.matmul_tables(
            {
                "gflop_per_second": {"512 on 2": 200.0},
                "episodes_per_second": {"navigation_N3_l3": 120.0},
                "share": {"navigation_N3_l3": 0.66},
            }
        )
    )
    assert "512, 2" in text and "132" in text and "66%" in text

    times = {"cold": 18.25, "warm": 4.0}
    text = shown(
        bench.tables.compile_tables({"task": "navigation_N3_l3", "none": times, "meta": times})
    )
    assert "18.2" in text and "4.0" in text


def test_without_the_extra_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    notes: list[str] = []
    monkeypatch.setattr(bench.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(bench, "_train", lambda *args: {"episodes_per_second": 5.0})
    found = bench.measure_training(bench.BenchSettings(turns=1), notes.append)
    assert found["episodes_per_second"] == {"ours": 5.0} and found["ratio"] == {}
    assert bench.INSTALL in notes[0] and notes[1:] == ["1 of 1: turn 1"]


def test_ratios_are_medians_over_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = iter([300.0, 600.0, 100.0])
    monkeypatch.setattr(bench.importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(bench, "_train", lambda *args: {"episodes_per_second": next(ours)})
    monkeypatch.setattr(bench, "_train_in_torch", lambda *args: 100.0)
    found = bench.measure_training(bench.BenchSettings(turns=3), print)
    assert found["ratio"] == {"plain": 3.0, "tuned": 3.0}
    assert found["episodes_per_second"]["ours"] == 300.0


def test_the_command_prints_tables_and_writes_json(
    tmp_path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    times = {"cold": 9.0, "warm": 1.0}
    result = {"task": "navigation_N3_l3", "none": times, "meta": times}
    monkeypatch.setitem(
        bench._PARTS, "compile", (lambda settings, note, keep: result, bench.tables.compile_tables)
    )
    target = tmp_path / "bench.json"
    bench.main(["--parts", "compile", "--json", str(target)])
    assert "meta" in capsys.readouterr().out
    assert json.loads(target.read_text())["compile"] == result


def point(seeds: int, rate: float) -> dict:
    return {
        "seeds": seeds,
        "devices": min(seeds, 2),
        "microbatch": 0,
        "episodes_per_second": rate,
        "per_lane": rate / seeds,
        "compile_seconds": 3.0,
        "bytes_per_lane": 2e7,
        "state_bytes": 1.5e7,
        "useful_gbytes": 2.0,
    }


def test_the_throughput_curve_as_tables_and_picture(
    tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From made-up points; where seeds no longer fit, it ends with a line."""

    def answer(process: tuple[str, ...]) -> dict:
        words = list(process)
        if "--bandwidth" in words:
            return {"gbytes_per_second": 20.0, "kind": "cpu"}
        if words[1].endswith("matmul"):
            return {"devices": 1, "gflop_per_second": {"512": 400.0, "1024": 440.0}}
        seeds = int(words[words.index("--seeds") + 1])
        return point(seeds, 100.0 * min(seeds, 2)) if seeds < 64 else {"does_not_fit": "7 do"}

    monkeypatch.setattr(bench, "_start", lambda *words, **environment: words)
    monkeypatch.setattr(bench, "_result", answer)
    notes: list[str] = []
    picture = tmp_path / "deep" / "scaling.png"
    settings = bench.BenchSettings(scaling_seeds=(1, 4, 64, 256), figure=picture)
    found = bench.measure_scaling(settings, notes.append)
    assert [note for note in notes if " of " not in note] == [
        "    100 episodes/s",
        "    200 episodes/s",
        "7 do",
    ]
    assert notes[0] == "1 of 4: 1 seeds"
    assert [measured["seeds"] for measured in found["seeds"]] == [1, 4]
    assert found["share"] == pytest.approx([110 / 440, 220 / 440])  # at 1.1 GFLOP an episode
    assert [measured["seeds"] for measured in found["devices"]] == [4, 4]  # on 1 and on 2
    assert picture.read_bytes()[:4] == b"\x89PNG"
    console = Console(width=200, file=io.StringIO())
    for table in bench.tables.scaling_tables(found):
        console.print(table)
    for shown in ("MB per seed", "20.0", "50%", "10%"):
        assert shown in console.file.getvalue()


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_throughput_curve_stops_where_seeds_no_longer_fit(
    tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Real processes for the first two points; a stand-in for the one that would need terabytes."""
    real = bench._start

    def start(*words: str, **environment: str) -> subprocess.Popen[str]:
        if "--seeds" in words and words[words.index("--seeds") + 1] == "1000000":
            return real("-c", 'print(\'{"does_not_fit": "7 do"}\')')
        return real(*words, **environment)

    notes: list[str] = []
    monkeypatch.setattr(bench, "_start", start)
    picture = tmp_path / "deep" / "scaling.png"
    settings = bench.BenchSettings(
        task="toy_public", seconds=0.3, scaling_seeds=(1, 2, 1_000_000), figure=picture
    )
    found = bench.measure_scaling(settings, notes.append)
    assert notes[-1] == "7 do"
    assert [point["seeds"] for point in found["seeds"]] == [1, 2]
    for point in found["seeds"]:
        assert point["per_lane"] * point["seeds"] == pytest.approx(point["episodes_per_second"])
        assert point["bytes_per_lane"] > point["state_bytes"] > 1_000_000
    assert found["gbytes_per_second"] > 0.1
    assert [point["devices"] for point in found["devices"]] in ([], [1, 2])
    assert picture.read_bytes()[:4] == b"\x89PNG"
    console = Console(width=200, file=io.StringIO())
    for table in bench.tables.scaling_tables(found):
        console.print(table)
    assert "MB per seed" in console.file.getvalue()


@pytest.mark.parametrize("part", ["training", "matmul", "compile", "scaling", "presets"])
def test_every_part_starts_a_module_that_is_there(
    part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Started(Exception):
        pass

    def start(*words: str, **environment: str) -> None:
        assert words[0] == "-m"
        raise Started(words[1])

    monkeypatch.setattr(bench, "_start", start)
    with pytest.raises(Started) as started:
        bench._PARTS[part][0](bench.BenchSettings(turns=1), print)
    module = importlib.util.find_spec(str(started.value))
    assert module is not None and module.origin is not None


def test_environments_are_told_as_they_come(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in prints two rows, and in the end fails or not."""
    row = {"task": "push_N3", "num_envs": 64, "ours": 5e6, "jaxmarl": 1e6, "ratio": 5.0}
    row |= {"ours_jumanji": 2e6, "ratio_jumanji": 2.0}
    told = [json.dumps(line) for line in ({"tasks": ["push_N3"]}, row, row)]
    code = f"print('hello'); print(*{told!r}, sep='\\n'); "
    real, end = bench._start, ""
    monkeypatch.setattr(bench, "_start", lambda *words: real("-c", code + end))
    notes: list[str] = []
    assert bench.measure_environments(bench.BenchSettings(), notes.append) == [row, row]
    assert notes.count("    5,000,000 steps/s") == 2
    assert any(note == "1 of 4: push_N3 x 64" for note in notes)
    end = "raise SystemExit('no more')"
    with pytest.raises(RuntimeError, match="no more"):
        bench.measure_environments(bench.BenchSettings(), notes.append)


def test_a_failed_measurement_says_its_last_words() -> None:
    process = bench._start("-c", "raise SystemExit('no such thing')")
    with pytest.raises(RuntimeError, match="no such thing"):
        bench._result(process)


def test_importing_the_command_starts_no_jax() -> None:
    code = "import sys; from purejax_mgtopo import bench; print('jax' in sys.modules)"
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert output.strip() == "False"
