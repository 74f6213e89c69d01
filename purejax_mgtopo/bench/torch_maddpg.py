"""The learner of method `none` in PyTorch: what a careful user of that library gets from one core.

Same work per 25-step episode: play it with noise, store it, draw 256 transitions, one Adam step on
the centralised critic, one on all policies (one joint forward pass, N counterfactual values), then
Polyak targets. Policies see their observation without an empty channel's zeros: the cheaper form.

Two styles, which compute the same updates. `plain`, as such code is usually written: a module for
each agent, loops over agents, Adam with its defaults. `tuned` by hand: agents' parameters stacked,
so that one batched matmul serves the team, one critic call for the N values, fused Adam, Polyak on
all tensors at once. In both, the policy loss leaves out the critic's own gradient; observations are
written straight into the tensor that the policy reads, and stored once; rewards are computed once
an episode; denormals are flushed; a process has one thread, as one process for each core trains
more episodes than threads on matrices of this size. No `torch.compile`: it needs a C++ compiler at
run time. For each core run ``python -m purejax_mgtopo.bench.torch_maddpg --seconds 10``.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import json
import math
import re
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

try:
    import torch
    from torch.nn import functional as F
except ImportError:  # the environment works without it
    torch = None  # type: ignore[assignment]

HORIZON = 25
DISCOUNT, TARGET_RATE, LEARNING_RATE, CLIP = 0.95, 0.01, 1e-3, 0.5
HIDDEN, BATCH, CAPACITY, WARMUP = 128, 256, 4000, 40
NOISE, ACTION_PENALTY = 0.2, 1e-3


class TorchNavigation:
    """One environment in NumPy. Vectors are complex numbers, which halves the calls."""

    def __init__(self, task: str, seed: int = 0) -> None:
        sizes = re.fullmatch(r"navigation_N(\d+)_l(\d+)", task)
        if sizes is None:
            raise ValueError(f"only navigation_N<int>_l<int> exists in PyTorch, not {task!r}")
        num_agents, num_visible = self.num_agents, self.num_visible = int(sizes[1]), int(sizes[2])
        self.observation_size = 4 + 2 * num_visible + 2 * (num_agents - 1)
        self.half_width = math.sqrt(num_agents / 3) if num_agents != 6 else 1.5
        self._random = np.random.default_rng(seed)
        square = np.arange(num_agents**2).reshape(num_agents, num_agents)
        self._others = square[~np.eye(num_agents, dtype=bool)].reshape(num_agents, -1)
        self._rows = np.arange(num_agents)[:, None]

    def reset(self) -> None:
        """Agents and landmarks anywhere in the arena, agents at rest."""
        places = self._random.uniform(-self.half_width, self.half_width, (2, self.num_agents, 2))
        agents, landmarks = places.view(complex)[..., 0]
        self.set_state(agents, np.zeros_like(agents), landmarks)

    def set_state(self, position: NDArray, velocity: NDArray, landmark: NDArray) -> None:
        """Place agents and landmarks; complex numbers, [N] each."""
        self.position, self.velocity, self.landmark = position, velocity, landmark
        self._apart = position - position[:, None]

    def observe(self, out: NDArray) -> None:
        """Write what each agent sees into `out`, complex64 [N, O / 2]."""
        seen = self.num_visible
        relative = self.landmark - self.position[:, None]
        order = np.abs(relative).argsort(axis=1, kind="stable")[:, :seen]
        out[:, 0] = self.velocity
        out[:, 1] = self.position
        out[:, 2 : 2 + seen] = relative[self._rows, order]
        out[:, 2 + seen :] = self._apart.take(self._others)

    def step(self, action: NDArray) -> None:
        """Move by forces of 5 times the action, complex [N], and by contacts."""
        distance = np.abs(self._apart)
        softened = 1e-3 * np.logaddexp(0.0, (0.3 - distance) / 1e-3)
        # An agent is no partner of itself: its distance is 0, and so is the force.
        strength = 100.0 * softened / (distance + (distance == 0))
        contact = -(strength * self._apart).sum(axis=1)
        self.velocity = 0.75 * self.velocity + 0.1 * (5.0 * action + contact)
        self.position = self.position + 0.1 * self.velocity
        self._apart = self.position - self.position[:, None]


def team_reward(position: NDArray, landmark: NDArray) -> NDArray:
    """Rewards [T] of the places [T, N] that agents came to: one call for an episode."""
    to_landmarks = np.abs(position[:, :, None] - landmark).min(axis=1).sum(axis=1)
    apart = np.abs(position[:, :, None] - position[:, None])
    with_itself = position.shape[1]
    return with_itself - to_landmarks - (apart < 0.3).sum(axis=(1, 2))


def _layers(sizes: list[int], stack: tuple[int, ...], generator: Any) -> list[Any]:
    """Kernels and biases in turn; LeCun normal, the last kernel scaled by 0.1."""
    parameters = []
    for fan_in, fan_out in itertools.pairwise(sizes):
        scale = (0.1 if fan_out == sizes[-1] else 1.0) / math.sqrt(fan_in)
        kernel = scale * torch.randn(*stack, fan_in, fan_out, generator=generator)
        parameters += [kernel, torch.zeros(*stack, *([1] if stack else []), fan_out)]
    return [p.requires_grad_() for p in parameters]


def stacked_mlp(parameters: list[Any], x: Any) -> Any:
    """[B, I] -> [B, J], or for all agents at once [N, B, I] -> [N, B, J]."""
    affine = torch.baddbmm if x.ndim == 3 else torch.addmm
    k1, b1, k2, b2, k3, b3 = parameters
    hidden = affine(b2, affine(b1, x, k1).relu_(), k2).relu_()
    return affine(b3, hidden, k3)


class Learner:
    """A learner's environment and replay; how it acts and updates is its own."""

    act: Callable[[Any], Any]  # observations [N, O] to actions [N, 2]
    update: Callable[[], None]  # one step on critic and on policies, then the targets

    def __init__(self, env: TorchNavigation, seed: int = 0) -> None:
        self.env = env
        n, o = env.num_agents, env.observation_size
        self.generator = torch.Generator().manual_seed(seed)
        self.observations = torch.zeros(CAPACITY, HORIZON + 1, n, o)
        self.actions = torch.zeros(CAPACITY, HORIZON, n, 2)
        self.rewards = torch.zeros(CAPACITY, HORIZON)
        self.stored = 0

    def play(self) -> float:
        """One episode with exploration noise, straight into the replay; its return."""
        env, slot = self.env, self.stored % CAPACITY
        observations, actions = self.observations[slot], self.actions[slot]
        views = observations.numpy().view(np.complex64)  # [T+1, N, O / 2]
        forces = actions.numpy().view(np.complex64)[..., 0]  # [T, N]
        noise = torch.empty_like(actions).normal_(0, NOISE, generator=self.generator)
        places = np.empty((HORIZON, env.num_agents), complex)
        env.reset()
        env.observe(views[0])
        with torch.inference_mode():
            for t in range(HORIZON):
                action = self.act(observations[t])
                torch.clamp(action.add_(noise[t]), -1, 1, out=actions[t])
                env.step(forces[t])
                env.observe(views[t + 1])
                places[t] = env.position
        reward = team_reward(places, env.landmark)
        self.rewards[slot] = torch.from_numpy(reward)
        self.stored += 1
        return float(reward.sum())

    def sample(self) -> tuple[Any, Any, Any, Any]:
        """Observations [B, N, O], actions [B, N, 2], rewards [B, 1], next observations."""
        n, o = self.env.num_agents, self.env.observation_size
        size = min(self.stored, CAPACITY)
        drawn = torch.randint(size * HORIZON, (BATCH,), generator=self.generator)
        before = drawn + drawn // HORIZON  # an episode has one observation more than it has steps
        rows = self.observations.view(-1, n, o)
        action = self.actions.view(-1, n, 2)[drawn]
        return rows[before], action, self.rewards.view(-1, 1)[drawn], rows[before + 1]


def _descend(parameters: Any, adam: Any, loss: Any) -> None:
    adam.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(parameters, CLIP)
    adam.step()


class Tuned(Learner):
    """A learner whose networks are stacked tensors."""

    def __init__(self, env: TorchNavigation, seed: int = 0) -> None:
        super().__init__(env, seed)
        n, o = env.num_agents, env.observation_size
        self.policy = _layers([o, HIDDEN, HIDDEN, 2], (n,), self.generator)
        self.critic = _layers([n * (o + 2), HIDDEN, HIDDEN, 1], (), self.generator)
        # Aliases that share memory: a policy gradient through them leaves out the critic's own.
        self.frozen_critic = [p.detach() for p in self.critic]
        self.online = [p.detach() for p in self.policy + self.critic]
        self.target = [p.clone() for p in self.online]
        self.policy_adam = torch.optim.Adam(self.policy, lr=LEARNING_RATE, fused=True)
        self.critic_adam = torch.optim.Adam(self.critic, lr=LEARNING_RATE, fused=True)
        self.replaced = torch.eye(n, dtype=torch.bool)[:, None, :, None]

    def act(self, observation: Any) -> Any:
        """Actions [N, 2] for observations [N, O], without noise."""
        return stacked_mlp(self.online[:6], observation[:, None]).squeeze(1).tanh_()

    def update(self) -> None:
        """One step on critic and on policies, then the targets."""
        n = self.env.num_agents
        before, action, reward, after = self.sample()
        flat = before.flatten(1)
        with torch.no_grad():
            following = stacked_mlp(self.target[:6], after.transpose(0, 1)).tanh_()
            joint = torch.cat([after.flatten(1), following.transpose(0, 1).flatten(1)], 1)
            goal = reward + DISCOUNT * stacked_mlp(self.target[6:], joint)
        value = stacked_mlp(self.critic, torch.cat([flat, action.flatten(1)], 1))
        _descend(self.critic, self.critic_adam, F.mse_loss(value, goal))

        unsquashed = stacked_mlp(self.policy, before.transpose(0, 1))
        proposal = unsquashed.tanh().transpose(0, 1)
        mixed = torch.where(self.replaced, proposal, action).flatten(2)  # [N, B, N A]
        joint = torch.cat([flat.expand(n, -1, -1), mixed], 2).flatten(0, 1)
        values = stacked_mlp(self.frozen_critic, joint)
        penalty = ACTION_PENALTY * unsquashed.square().mean()
        _descend(self.policy, self.policy_adam, penalty - values.sum() / BATCH)
        torch._foreach_lerp_(self.target, self.online, TARGET_RATE)


class Plain(Learner):
    """A learner whose networks are modules."""

    def __init__(self, env: TorchNavigation, seed: int = 0) -> None:
        super().__init__(env, seed)
        n, o = env.num_agents, env.observation_size

        def network(inputs: int, outputs: int) -> Any:
            sizes = (inputs, HIDDEN, HIDDEN, outputs)
            first, second, last = (torch.nn.Linear(i, j) for i, j in itertools.pairwise(sizes))
            return torch.nn.Sequential(first, torch.nn.ReLU(), second, torch.nn.ReLU(), last)

        self.policies = torch.nn.ModuleList(network(o, 2) for _ in range(n))
        self.critic = network(n * (o + 2), 1)
        self.online = torch.nn.ModuleList([self.policies, self.critic])
        self.target = copy.deepcopy(self.online).requires_grad_(False)
        self.policy_adam = torch.optim.Adam(self.policies.parameters(), lr=LEARNING_RATE)
        self.critic_adam = torch.optim.Adam(self.critic.parameters(), lr=LEARNING_RATE)

    def act(self, observation: Any) -> Any:
        """Actions [N, 2] for observations [N, O], without noise."""
        return torch.stack([torch.tanh(p(observation[i])) for i, p in enumerate(self.policies)])

    def update(self) -> None:
        """One step on critic and on policies, then the targets."""
        before, action, reward, after = self.sample()
        flat = before.flatten(1)
        with torch.no_grad():
            policies, critic = self.target
            following = [torch.tanh(policy(after[:, i])) for i, policy in enumerate(policies)]
            joint = torch.cat([after.flatten(1), *following], 1)
            goal = reward + DISCOUNT * critic(joint)
        value = self.critic(torch.cat([flat, action.flatten(1)], 1))
        _descend(self.critic.parameters(), self.critic_adam, F.mse_loss(value, goal))

        self.critic.requires_grad_(False)
        unsquashed = [policy(before[:, i]) for i, policy in enumerate(self.policies)]
        loss = ACTION_PENALTY * torch.stack(unsquashed).square().mean()
        for i, proposal in enumerate(unsquashed):
            mixed = list(action.unbind(1))
            mixed[i] = torch.tanh(proposal)
            loss = loss - self.critic(torch.cat([flat, *mixed], 1)).mean()
        _descend(self.policies.parameters(), self.policy_adam, loss)
        self.critic.requires_grad_(True)

        with torch.no_grad():
            for old, new in zip(self.target.parameters(), self.online.parameters(), strict=True):
                old.lerp_(new, TARGET_RATE)


STYLES = {"plain": Plain, "tuned": Tuned}


def measure(task: str, style: str, seconds: float, seed: int = 0) -> dict[str, float]:
    """Train on one thread: episodes/s, and mean returns of the first and of the last tenth."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    learner = STYLES[style](TorchNavigation(task, seed), seed)
    for _ in range(WARMUP):
        learner.play()
    for _ in range(10):  # the first updates pay for memory
        learner.update()
    returns = []
    began, began_cpu = time.perf_counter(), time.process_time()
    while time.perf_counter() - began < seconds:
        learner.update()
        returns.append(learner.play())
    wall, cpu = time.perf_counter() - began, time.process_time() - began_cpu
    tenth = max(1, len(returns) // 10)
    first, last = float(np.mean(returns[:tenth])), float(np.mean(returns[-tenth:]))
    rates = {"episodes_per_second": len(returns) / wall, "per_cpu_second": len(returns) / cpu}
    return rates | {"return_first": first, "return_last": last}


def main() -> None:
    """Measure in this process and print one line of JSON."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--task", default="navigation_N3_l3")
    parser.add_argument("--style", choices=tuple(STYLES), default="tuned")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    flags = parser.parse_args()
    if torch is None:
        raise SystemExit("PyTorch is missing; pip install 'purejax_mgtopo[bench]'")
    print(json.dumps(measure(flags.task, flags.style, flags.seconds, flags.seed)))


if __name__ == "__main__":
    main()
