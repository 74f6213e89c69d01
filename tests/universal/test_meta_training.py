"""The whole of meta-training around its groups: one update by all, records, going on, and what is refused."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from core_cases import assert_close, assert_same, is_same
from fake_population import Notes
from lessons import TEXT, Numbers, run

from purejax_mgtopo.algorithm.topology.edgewise.weights import SHIPPED, read_rule
from purejax_mgtopo.cli.main import main
from purejax_mgtopo.config import Means
from purejax_mgtopo.errors import ConfigError, RunError
from purejax_mgtopo.settings import override
from purejax_mgtopo.training.stop import StopRequest
from purejax_mgtopo.universal import training
from purejax_mgtopo.universal.kept import record
from purejax_mgtopo.universal.learning import Learning
from purejax_mgtopo.universal.recipe import load_meta_recipe
from purejax_mgtopo.universal.settings import MetaTraining


def learning(**changes) -> Learning:
    settings = MetaTraining(lifetimes=4, learning_rate=0.01, gradient_clip=0.5, **changes)
    return Learning(settings, [Numbers(1e-3), Numbers(-100.0)], Means())  # the second is clipped


def test_each_group_has_its_own_optimiser_and_all_move_the_rule_alike() -> None:
    """One clip or Adam for all, lifetimes summed, a descent, groups that weigh by their gradients."""
    made = learning()
    state = made.init()
    adam = optax.chain(optax.clip_by_global_norm(0.5), optax.adam(0.01))
    ask = jax.jit(adam.update)
    eta, adams = state.eta, [jax.jit(adam.init)(state.eta)] * 2
    for step in (1, 2, 3):
        state, measures = made.advance(state)
        assert int(state.step) == step
        asked = []
        for i, lives in enumerate(state.lives):
            mean = np.mean(lives.value)
            np.testing.assert_allclose(measures[i]["return"], mean, rtol=1e-5)
            assert measures[i]["sound"] == 1
            down = jax.tree.map(lambda x, mean=mean: jnp.full_like(x, -mean), eta)
            updates, adams[i] = ask(down, adams[i], eta)
            asked.append(updates)
        eta = optax.apply_updates(eta, jax.tree.map(lambda a, b: (a + b) / 2, *asked))
        assert_close(state.eta, eta, atol=1e-6)
    assert not is_same(state.lives[0].value, state.lives[1].value)


def test_no_two_lifetimes_have_the_same_key() -> None:
    lives = learning().init().lives
    words = {bytes(x) for each in lives for x in np.asarray(jax.random.key_data(each.key))}
    assert len(words) == 2 * 4


def test_a_lifetime_that_is_not_finite_is_left_out_of_the_mean() -> None:

    class Sick(Numbers):
        def step(self, eta, life):
            after, told = super().step(eta, life)
            return after, jax.tree.map(lambda x: jnp.where(after.value > 0, jnp.nan, x), told)

    made = Learning(MetaTraining(lifetimes=16), [Sick(1.0)], Means())
    state, (measures,) = made.advance(made.init())
    value = np.asarray(state.lives[0].value)
    assert 0 < np.sum(value > 0) < 16
    np.testing.assert_allclose(measures["return"], np.mean(value[value <= 0]), rtol=1e-5)
    np.testing.assert_allclose(measures["sound"], np.mean(value <= 0), rtol=1e-6)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(state.eta))


def test_where_no_lifetime_is_finite_nothing_is_told_and_nothing_learned() -> None:

    class Lost(Numbers):
        def step(self, eta, life):
            after, told = super().step(eta, life)
            return after, jax.tree.map(lambda x: jnp.full_like(x, jnp.nan), told)

    made = Learning(MetaTraining(lifetimes=4), [Lost(1.0)], Means())
    state, (measures,) = made.advance(made.init())
    assert measures.pop("sound") == 0
    assert len(measures) == 4 and all(np.isnan(x) for x in measures.values())
    assert_same(state.eta, made.init().eta)


@pytest.mark.slow
def test_the_rule_is_kept_with_its_recipe_and_its_curve(recipe: Path, tmp_path: Path) -> None:
    notes = Notes()
    rule = training.meta_train(load_meta_recipe(recipe), tmp_path / "out", notes)
    assert rule == tmp_path / "out" / "universal.npz"
    header, eta = read_rule(rule)
    assert header["recipe"]["steps"] == 6 and len(header["teams"]) == 2
    assert set(header["provenance"]) == {"versions", "git", "started"}  # no folders of anybody's
    assert header["provenance"]["versions"]["jax"] and str(tmp_path) not in json.dumps(header)
    lines = [json.loads(line) for line in (tmp_path / "out" / "curve.jsonl").open()]
    assert [(line["step"], line["task"][-2:]) for line in lines] == [
        (step, end) for step in range(1, 7) for end in ("er", "N4")
    ]
    mean = np.mean([line["return"] for line in lines[::2]])
    np.testing.assert_allclose(header["figures"]["toy_follow_holder"]["return"], mean)
    means = [
        np.mean([x["return"] for x in pair]) for pair in zip(lines[::2], lines[1::2], strict=True)
    ]
    np.testing.assert_allclose([tick.train_return for tick in notes.ticks], means)
    assert [tick.episode for tick in notes.ticks] == list(range(1, 7))
    made = Learning(load_meta_recipe(recipe).settings, [Numbers(1.0), Numbers(-100.0)], Means())
    assert not is_same(eta, made.init().eta)
    before = rule.read_bytes()
    assert run(recipe, tmp_path / "out") == rule and rule.read_bytes() == before


@pytest.mark.parametrize("at", [2, 3])
def test_stopped_and_gone_on_with_it_ends_as_without_a_stop(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    """Bit for bit: rule, optimisers, lifetimes, curve; stopped where a state was due anyway, and where not."""
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    run(recipe, whole)
    advance = Learning.advance

    def stopping(self, state):
        state, measures = advance(self, state)
        if int(state.step) == at:
            monkeypatch.setattr(StopRequest, "requested", True)
        return state, measures

    with monkeypatch.context() as patch:
        patch.setattr(Learning, "advance", stopping)
        assert run(recipe, halves) is None
    monkeypatch.setattr(StopRequest, "requested", False)
    assert not (halves / "universal.npz").exists()
    monkeypatch.setattr(record, "provenance", lambda: {"commit": "a later one"})
    with (halves / "curve.jsonl").open("a") as file:  # what a kill may leave behind the state
        file.write('{"step": 4, "task": "toy_follow_holder"}\n{"step": 5, "ta')
    assert run(recipe, halves) is not None
    begun = json.loads((halves / "recipe.json").read_text())["provenance"]
    assert read_rule(halves / "universal.npz")[0]["provenance"]["started"] == begun["started"]
    for name in ("curve.jsonl", "metrics.parquet"):
        assert (whole / name).read_bytes() == (halves / name).read_bytes()
    (state, proof), (other, same) = (record.read_state(folder) for folder in (whole, halves))
    assert_same(state, other)
    assert proof == same and proof["events_bytes"] == (whole / "curve.jsonl").stat().st_size
    assert_same(*(read_rule(folder / "universal.npz")[1] for folder in (whole, halves)))


def test_what_cannot_be_gone_on_with_is_refused_in_one_line(recipe: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(recipe, out)
    recipe.write_text(TEXT.replace("steps = 6", "steps = 7"))
    with pytest.raises(RunError, match="another recipe") as error:
        run(recipe, out)
    assert "\n" not in str(error.value)
    recipe.write_text(TEXT)
    (out / "universal.npz").unlink()
    (out / "state.npz").write_bytes((out / "state.npz").read_bytes()[:500])
    with pytest.raises(RunError, match=r"state\.npz is damaged") as error:
        run(recipe, out)
    assert "\n" not in str(error.value)
    (out / "recipe.json").write_text("{")
    with pytest.raises(RunError, match=r"recipe\.json is damaged"):
        run(recipe, out)


def test_what_was_begun_before_a_setting_was_there_goes_on(recipe: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(recipe, out)
    told = json.loads((out / "recipe.json").read_text())
    del told["meta_train"]["longest_delay"]
    for team in told["teams"]:
        del team["gates.entropy"]
    (out / "recipe.json").write_text(json.dumps(told))
    run(recipe, out)
    told["meta_train"]["lifetimes"] += 1
    (out / "recipe.json").write_text(json.dumps(told))
    with pytest.raises(RunError, match="another recipe"):
        run(recipe, out)


WRONG = {
    "no file": (None, "cannot be read"),
    "no TOML": ("tasks = [", "not valid TOML"),
    "methods": ('tasks = ["toy_public"]\nmethods = ["meta"]', "has no methods"),
    "no table": ('tasks = ["toy_public"]\nmeta_train = 3', r"table \[meta_train\]"),
    "a setting that is none": ('tasks = ["toy_public"]\n[meta_train]\nstep = 3', "mean 'steps'"),
    "a value of another kind": ('tasks = ["toy_public"]\n[meta_train]\nsteps = "a"', "type int"),
    "no tasks": ("[meta_train]\nsteps = 3", "tasks must be a list"),
    "a delay that nothing counts": (
        'tasks = ["toy_public"]\nconfig.learner.discount = 0.0\n[meta_train]\nlongest_delay = 2',
        "toy_public needs a learner.discount above 0",
    ),
    "several values": ('tasks = ["toy_public"]\nconfig.learner.hidden = [4, 8]', "one value"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_recipe_is_refused_in_one_line(case: str, tmp_path: Path) -> None:
    text, words = WRONG[case]
    if text is not None:
        (tmp_path / "meta_train.toml").write_text(text)
    with pytest.raises(ConfigError, match=words) as error:
        load_meta_recipe(tmp_path)
    assert "\n" not in str(error.value) and "meta_train.toml" in str(error.value)


def test_the_committed_recipe_is_whole() -> None:
    recipe = load_meta_recipe(Path(__file__).parents[2] / "runs" / "universal")
    assert recipe.settings.steps >= 100 and len(recipe.configs) >= 3
    assert all(config.experiment.topology == "random" for config in recipe.configs)


def test_the_shipped_rule_is_of_the_committed_recipe_and_a_clean_commit() -> None:
    header, _ = read_rule(SHIPPED)
    recipe = load_meta_recipe(Path(__file__).parents[2] / "runs" / "universal")
    assert override(MetaTraining(), header["recipe"]) == recipe.settings
    assert [team["task"] for team in header["teams"]] == list(recipe.teams.tasks)
    assert header["provenance"]["git"]["dirty"] is False
    assert set(header["figures"]) == set(recipe.teams.tasks)


def test_the_rule_to_go_on_from_is_read_first_and_is_where_it_begins(
    recipe: Path, tmp_path: Path
) -> None:
    recipe.write_text(TEXT + 'start = "nowhere.npz"\n')
    with pytest.raises(ConfigError, match="no rule file nowhere"):
        run(recipe, tmp_path / "out")
    assert training._start("") is None
    shipped = training._start("shipped")
    assert_same(shipped, jax.tree.map(jnp.asarray, read_rule(SHIPPED)[1]))
    made = Learning(MetaTraining(lifetimes=4), [Numbers(1.0)], Means(), shipped)
    assert_same(made.init().eta, shipped)


def test_where_all_learns_no_teams_are_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "sweep", lambda *_, **__: pytest.fail("teams are trained"))
    path = tmp_path / "meta_train.toml"
    path.write_text(TEXT + 'phase = "learning"\n')
    groups = training._groups(load_meta_recipe(path), tmp_path, Notes(), StopRequest())
    assert [type(group).__name__ for group in groups] == ["LearningGroup"] * 2
    assert [group.env.num_agents for group in groups] == [3, 4]
    assert groups[0].settings.steps == 6


def test_it_wants_to_know_where_to(capsys: pytest.CaptureFixture, recipe: Path) -> None:
    assert main(["meta-train", str(recipe)]) == 2
    assert "say where the results go" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("phase", ["frozen", "learning"])
def test_a_rule_is_learned_over_teams(phase: str, tmp_path: Path) -> None:
    """From the command line, and with the rule that comes of it."""
    tiny = "learner.hidden = 4\nlearner.batch_size = 16\nlearner.replay_transitions = 1500"
    path, out = tmp_path / "meta_train.toml", tmp_path / "out"
    path.write_text(
        'tasks = ["toy_follow_holder"]\n[config]\nseeds = 2\nepisodes = 10\nchunk_episodes = 5\n'
        "updates_per_iteration = 5\nevaluation.every = 10\nevaluation.final_episodes = 0\n"
        f'wandb = "off"\n{tiny}\n[meta_train]\nsteps = 2\nlifetimes = 2\nfresh_episodes = 2\n'
        f'phase = "{phase}"\nstart = "shipped"\n'
    )
    assert main(["meta-train", str(path), "--out", str(out)]) == 0
    assert main(["status", str(out)]) == main(["verify", str(out)]) == 0
    rule = out / "universal.npz"
    words = ["--method", "universal", "--member.universal.file", str(rule), "--wandb", "off"]
    words += ["--task", "toy_follow_holder_N4", "--seeds", "1", "--episodes", "10"]
    words += ["--chunk-episodes", "10", "--evaluation.every", "10", "--learner.hidden", "4"]
    assert main(["train", *words, "--out", str(tmp_path / "run")]) == 0
