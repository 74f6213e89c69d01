"""Who draws from which key: no two purposes, nor a purpose and a training seed, ever meet in one."""

from __future__ import annotations

import itertools
from pathlib import Path
from types import SimpleNamespace

import core_cases
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from core_cases import algorithm, assert_close, both, initial, jit, plain

from purejax_mgtopo.algorithm.evaluate import evaluation_episodes
from purejax_mgtopo.algorithm.types import Mode, Purpose, Streams
from purejax_mgtopo.prey import chase, selection, selfplay
from purejax_mgtopo.prey.settings import PreySettings
from purejax_mgtopo.trained.assess import episode_keys
from purejax_mgtopo.trained.load import Networks
from purejax_mgtopo.trained.play import play_episode
from purejax_mgtopo.universal import trial as trials
from purejax_mgtopo.universal.trial import lifetime_keys

NAMES = tuple(Streams.__dataclass_fields__)
PREY = PreySettings(agents=2, seeds=1, episodes=1, chunk=1, hidden=2, chase_episodes=0)


def bits(key: jax.Array) -> set[tuple[int, ...]]:
    """Keys as what they are made of."""
    return {tuple(row) for row in np.asarray(jax.random.key_data(key)).reshape(-1, 2)}


def descendants(seed: int) -> set[tuple[int, ...]]:
    """Keys of a training seed: its own, its streams, and what they become at the first moments, split or not."""
    key = jax.random.key(seed)
    streams = Streams.split(key)
    found = bits(key) | bits(jax.random.split(key, 600))
    for stream in jax.tree.leaves(streams):
        found |= bits(stream) | bits(jax.random.split(stream, 40))
        found |= bits(
            jax.vmap(lambda moment, s=stream: jax.random.fold_in(s, moment))(jnp.arange(40))
        )
    return found


@pytest.mark.parametrize("seed", [0, 1000, 20_210, 20_211, 20_212])
def test_every_purpose_has_a_key_apart_from_training(seed: int) -> None:
    """The evaluation's episodes were once the streams of training seed 20210."""
    trained = descendants(seed)
    # By name: two names of one number would be one purpose.
    keys = {name: purpose.key(seed) for name, purpose in Purpose.__members__.items()}
    for purpose, key in keys.items():
        assert not (bits(key) | bits(jax.random.split(key, 600))) & trained, purpose
    for one, other in itertools.combinations(keys.values(), 2):
        assert not bits(jax.random.split(one, 600)) & bits(jax.random.split(other, 600))


def test_another_number_is_another_key() -> None:
    for purpose in Purpose:
        assert len(set.union(*(bits(purpose.key(seed)) for seed in range(50)))) == 50


def starts(env: object, keys: jax.Array) -> np.ndarray:
    """Where the episodes of these keys begin."""
    reset = jax.vmap(lambda key: env.compress(env.reset(Streams.split(key).reset)[0]).moving)
    return np.asarray(reset(keys))


def test_evaluation_watching_and_assessment_play_the_episodes_of_their_own_purpose() -> None:
    made, state = algorithm("meta", "navigation_N2_l1"), initial("meta", "navigation_N2_l1")
    settings = made.experiment.evaluation
    episodes = jit(lambda state: evaluation_episodes(made, state, Mode.EVAL_SAMPLED))(state)
    own = jax.random.split(Purpose.EVALUATION.key(settings.seed), settings.episodes)
    np.testing.assert_allclose(episodes.moving[:, 0], starts(made.env, own), atol=1e-6)
    watched = play_episode(made, state, 7)
    expected = made.env.reset(Streams.split(Purpose.WATCHING.key(7)).reset)[0]
    begun = watched.states.agent_position[0]
    np.testing.assert_allclose(begun, expected.agent_position, atol=1e-6)
    assert bits(episode_keys(7, 5)) == bits(jax.random.split(Purpose.ASSESSMENT.key(7), 5))


def test_a_trial_lives_lifetimes_of_its_own_purpose(monkeypatch: pytest.MonkeyPatch) -> None:
    """They were once the episodes of `mgtopo evaluate`."""
    asked: list[tuple[int, int]] = []

    def keys(seed: int, lifetimes: int) -> None:
        asked.append((seed, lifetimes))
        raise InterruptedError

    assert bits(lifetime_keys(7, 5)) == bits(jax.random.split(Purpose.TRIAL.key(7), 5))
    parts = SimpleNamespace(acting=lambda _: SimpleNamespace(interpreter=()))
    teams = SimpleNamespace(networks=Networks((), ()), algorithm=SimpleNamespace(parts=parts))
    monkeypatch.setattr(trials, "read_rule", lambda file: ({"recipe": {"seed": 3}}, ()))
    monkeypatch.setattr(trials, "load_trained", lambda folder: teams)
    monkeypatch.setattr(trials, "lifetime_keys", keys)
    with pytest.raises(InterruptedError):
        trials.trial(Path(), Path(), 10, 4, print)
    assert asked == [(3, 4)]


def keys_given(monkeypatch: pytest.MonkeyPatch, module: object) -> list[tuple[Purpose, object]]:
    """Which purposes a module asks for a key from now on, and for which number."""
    asked: list[tuple[Purpose, object]] = []

    class Spy:
        def __getattr__(self, name: str) -> object:
            purpose = Purpose[name]

            def key(seed: object) -> jax.Array:
                asked.append((purpose, seed))
                return purpose.key(seed)

            return type("Asked", (), {"key": staticmethod(key)})

    monkeypatch.setattr(module, "Purpose", Spy())
    return asked


def test_prey_train_meet_and_are_hunted_by_keys_of_their_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Bare keys of these numbers are training seeds: their children are those seeds' streams."""
    duel = selfplay.Duel(PREY)
    begun = []
    monkeypatch.setattr(selfplay.Pairs, "_program", lambda self, *_, **__: begun.append)
    pairs = selfplay.Pairs(PREY)
    with pytest.raises(TypeError):  # the stand-in gives no pairs to train
        pairs.train(lambda *_: None)
    assert bits(begun[0]) == bits(Purpose.SELF_PLAY.key(PREY.first_seed))
    monkeypatch.setattr(selection, "EPISODES", 2)
    monkeypatch.setattr(chase, "EPISODES", 2)
    met, hunted = keys_given(monkeypatch, selection), keys_given(monkeypatch, chase)
    pair = jax.jit(jax.vmap(duel.init))(Purpose.SELF_PLAY.key(0)[None])
    selection.cross_play(duel, pair.predators.learner.policy, pair.prey.learner.policy)
    chase.hunt(PREY, "scripted")
    assert met == [(Purpose.CROSS_PLAY, selection.SEED)]
    assert hunted == [(Purpose.HUNT, chase.SEED)]


def test_every_network_is_drawn_from_a_key_of_its_own() -> None:
    """Eta from the gates' key, or the critic from the policies'."""
    made = algorithm("meta")
    streams = Streams.split(jax.random.key(0))
    learner_key, rule_key, warmup_key, interpreter_key = jax.random.split(streams.initial, 4)
    asked: dict[str, jax.Array] = {}

    def spy(owner: object, method: str, name: str) -> None:
        real = getattr(owner, method)

        def noted(*arguments: object) -> object:
            asked[name] = arguments[0]
            return real(*arguments)

        patch.setattr(owner, method, noted)

    with pytest.MonkeyPatch.context() as patch:
        rule = made.team.rule
        spy(made.team, "init", "policy")
        spy(made.maddpg.critic, "init", "critic")
        spy(made.team.interpreter, "init_params", "interpreter")
        spy(rule, "init_gates", "gates")
        spy(rule.baseline, "init", "baseline")
        spy(rule, "init_eta", "eta")
        made.maddpg.init(learner_key)
        made.parts.init(core_cases.Both(rule_key, interpreter_key))
    assert len(set.union(*map(bits, asked.values()))) == len(asked) == 6
    state = initial("meta")
    np.testing.assert_array_equal(plain(state.streams)[0], plain(streams)[0])
    fresh = jit(lambda: (made.maddpg.init(learner_key), rule.init(rule_key)))()
    for one, other in zip(
        plain((state.learner.policy, state.learner.critic, state.parts.rule)),
        plain((fresh[0].policy, fresh[0].critic, fresh[1])),
        strict=True,
    ):
        np.testing.assert_allclose(one, other, rtol=1e-6)
    warmup = jax.random.split(warmup_key, 3)
    assert not bits(warmup) & set.union(*map(bits, asked.values()))


def test_reinforces_networks_are_drawn_apart() -> None:
    rule = algorithm("reinforce").team.rule
    key = jax.random.key(3)
    made = jit(rule.init)(key)
    gates_key, baseline_key = jax.random.split(key)
    assert_close(made.gates, jit(rule.init_gates)(gates_key))
    assert_close(made.baseline.params, jit(rule.baseline.init)(baseline_key).params)


def test_parts_draw_from_streams_of_their_own() -> None:
    """Every group of the loop names two streams, and no stream is in two groups."""
    streams = Streams(**{name: name for name in NAMES})
    groups = [streams.playing, streams.replaying, streams.targeting, streams.learning]
    assert [(g.rule, g.interpreter) for g in groups] == [
        ("gate", "channel"),
        ("replay_gate", "replay_channel"),
        ("target_gate", "target_channel"),
        ("rule_learning", "interpreter_learning"),
    ]
    made = algorithm("reinforce+commnet")
    numbers = made.parts.tape(both(jax.random.key(1)), (3,))
    assert numbers.rule.shape == (3, 2, 1)
    other = made.parts.tape(both(jax.random.key(2)), (3,))
    assert not np.array_equal(numbers.rule, other.rule)
