from __future__ import annotations

import dataclasses

import pytest

from purejax_mgtopo.config import (
    CheckpointConfig,
    Config,
    Experiment,
    LearnerConfig,
    Means,
    flatten,
    override,
    with_learner,
    with_method,
)
from purejax_mgtopo.errors import ConfigError, unknown_name
from purejax_mgtopo.methods import CRITICS, MESSAGES, METHODS, TOPOLOGIES


def test_paper_defaults() -> None:
    flat = flatten(Config())
    assert (flat["learner.hidden"], flat["learner.batch_size"], flat["learner.target_rate"]) == (
        128,
        256,
        0.01,
    )
    assert (flat["updates_per_iteration"], flat["meta.learning_rate"]) == (10, 5e-5)


def test_flatten_and_override_are_inverse() -> None:
    experiment = with_method(Experiment(seeds=3, episodes=200), "commnet")
    means = Means(devices=2, checkpoint=CheckpointConfig(keep=4))
    for one in (experiment, means, Config(experiment, means)):
        assert override(type(one)(), flatten(one)) == one


def test_both_halves_of_a_run_share_one_flat_namespace() -> None:
    computed, by = flatten(Experiment()), flatten(Means())
    assert not computed.keys() & by.keys()
    assert flatten(Config()) == computed | by
    assert not any(name.startswith(("experiment", "means")) for name in flatten(Config()))
    assert {"critic", "evaluation.every", "learner.hidden"} <= computed.keys()
    assert {"precision", "seed_axis", "checkpoint.minutes"} <= by.keys()


def test_override_checks_only_the_result() -> None:
    config = override(Experiment(), {"learner.replay_transitions": 100, "learner.batch_size": 50})
    assert config.learner.batch_size == 50
    with pytest.raises(ConfigError, match="learner.batch_size"):
        override(Config(), {"learner.replay_transitions": 100})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"learner.hiden": 3}, "did you mean 'learner.hidden'"),
        ({"learner": 3}, "unknown setting 'learner'"),
        ({"seeds": "8"}, "seeds must be of type int"),
        ({"seeds": True}, "seeds must be of type int"),
        ({"seeds": 2.0}, "seeds must be of type int"),
        ({"learner.share_parameters": 1}, "must be of type bool"),
        ({"message.latency": 2}, "must be one of 0, 1"),
        ({"message.latency": False}, "must be one of 0, 1"),
        ({"topology": "metta"}, "did you mean 'meta'"),
        ({"messages": "lstmm"}, "did you mean 'lstm'"),
        ({"critic": "mpl"}, "unknown critic 'mpl'; did you mean 'mlp'"),
        ({"devices": -1}, "devices must not be negative"),
        ({"seeds": 0}, "seeds must be at least 1"),
        ({"episodes": 150}, "the nearest is 200"),
        ({"chunk_episodes": 15}, "multiple of updates_per_iteration"),
        ({"evaluation.every": 150}, "multiple of chunk_episodes"),
        ({"learner.discount": 1.0}, "learner.discount must lie"),
        ({"learner.discount": float("nan")}, "learner.discount must lie"),
    ],
)
def test_a_wrong_setting_gets_one_line(changes: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        override(Config(), changes)
    assert "\n" not in str(caught.value)


def test_auto_may_stand_for_the_zero_of_numbers_that_settle_themselves() -> None:
    busy = Config(means=Means(lanes=2, microbatch=2, devices=2))
    changes = dict.fromkeys(("lanes", "microbatch", "devices"), "auto")
    assert override(busy, changes) == Config()
    for name in ("seeds", "checkpoint.keep", "wandb_per_seed"):
        with pytest.raises(ConfigError, match=f"{name} must be of type int, not 'auto'"):
            override(busy, {name: "auto"})


def test_an_int_may_stand_for_a_float() -> None:
    value = override(Config(), {"learner.discount": 0}).experiment.learner.discount
    assert value == 0.0
    assert type(value) is float


def test_presets_are_points_of_the_grid() -> None:
    for name, method in METHODS.items():
        config = with_method(Experiment(), name)
        assert config.topology in TOPOLOGIES
        assert config.messages in MESSAGES
        assert config.method == method.name  # an alias answers by its first name


def test_a_learners_preset_sets_what_it_names_and_the_papers_sets_it_back() -> None:
    mine = override(Experiment(), {"learner.hidden": 9, "learner.n_step": 3})
    improved = with_learner(mine, "improved")
    old, new = flatten(mine), flatten(improved)
    moved = {name: (old[name], value) for name, value in new.items() if value != old[name]}
    assert moved == {
        "learner.n_step": (3, 5),
        "learner.updates_per_episode": (1, 2),
        "learner.exploration_noise": (0.2, 0.6),
    }
    assert with_learner(improved, "paper") == override(mine, {"learner.n_step": 1})
    assert with_learner(Experiment(), "paper") == Experiment()
    with pytest.raises(ConfigError, match="did you mean 'improved'"):
        with_learner(Experiment(), "inproved")


def test_any_point_of_the_grid_has_a_name() -> None:
    config = with_method(Experiment(), "stgs+commnet")
    assert (config.topology, config.messages) == ("stgs", "commnet")
    assert config.method == "stgs+commnet"
    with pytest.raises(ConfigError, match="did you mean 'commnet'"):
        with_method(Experiment(), "stgs+comnet")
    with pytest.raises(ConfigError, match="did you mean 'reinforce'"):
        with_method(Experiment(), "reinforced")


def test_sharing_parameters_leaves_the_preset() -> None:
    shared = dataclasses.replace(Experiment(), learner=LearnerConfig(share_parameters=True))
    assert shared.method == "meta+lstm"


def test_a_long_list_of_names_is_left_out() -> None:
    assert "(known: a, b)" in str(unknown_name("letter", "c", "ab"))
    assert "(known" not in str(unknown_name("setting", "sedes", flatten(Config())))


def test_another_critic_has_another_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two runs that differ in the critic alone must not share one."""
    monkeypatch.setitem(CRITICS, "other", CRITICS["mlp"])
    usual = with_method(Experiment(), "meta")
    other = with_method(Experiment(), "meta+lstm+other")
    assert (usual.method, other.method) == ("meta", "meta+lstm+other")
    assert other == dataclasses.replace(usual, critic="other")
