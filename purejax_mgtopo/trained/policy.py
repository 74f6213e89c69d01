"""A trained team as one small file, and how to run it without the code that trained it.

    policy = load_policy("seed3_episode10000.npz")
    action, topology, carry = policy(observation)              # edges open where more likely than not
    action, topology, carry = policy(observation, carry, key)  # sampled edges, as in training

The file is a NumPy archive without pickles: `numpy.load(path, allow_pickle=False)` opens it anywhere.
All arrays are float32; a layer is `x @ kernel + bias`, agent by agent.

    header              uint8         JSON: the fields of `Header`, `format`, `version` and `sha256` (see `digest`)
    gates/0/kernel      [P, O, H]     reinforce, stgs, meta: the log-odds that i receives from each other
    gates/1/kernel      [P, H, H]     agent, in ascending index; ReLU between the layers
    gates/2/kernel      [P, H, N-1]
    lstm/kernel         [P, O+H, 4H]  lstm, unless nobody receives. Rows: input, hidden state. Columns: input,
    lstm/bias           [P, 4H]       forget, cell and output gate
    encoder/kernel      [P, O, H]     commnet
    own/<k>/kernel      [P, H, H]     commnet, round k = 0, ..., K-1; no bias
    heard/<k>/kernel    [P, H, H]     commnet, likewise, unless nobody receives; no bias
    head/0/kernel       [P, Z+O, H]   rows: what was heard (z), then the observation; ReLU between the layers
    head/1/kernel       [P, H, H]
    head/2/kernel       [P, H, A]

`gates`, `encoder` and `head` have a `bias` beside every kernel. N agents, O and A the widths of an
observation and an action, H hidden units, K rounds; P = 1 where agents share parameters, else N; Z = H,
but 0 for topology none with lstm.

One step: `P[i, j] = sigmoid(gates(o_i))`, or constant 0 (none) or 1 (full). lstm sends o_j; a receiver
runs its LSTM from the zero state over what reaches it, senders in ascending index, and z is the last
hidden state. commnet sends `h = tanh(encoder(o))`; K times `h <- tanh(encoder(o) + own(h) + heard(c))`,
c the mean (or sum) over the senders' h that reach the agent, and z is the last h. `action =
tanh(head([z, o]))`. With latency 1 the messages of the step before are delivered, zeros at first, in
every round.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Key
from numpy.typing import NDArray

from purejax_mgtopo.errors import RunError
from purejax_mgtopo.trained.policy_readers import READERS

FORMAT, VERSION = "purejax_mgtopo policy", 1
TOPOLOGIES = {"none": 0.0, "full": 1.0, "reinforce": None, "stgs": None, "meta": None}
"""The constant probability of every edge; None where gates decide."""


@dataclass(frozen=True)
class Header:
    """What a file says about its networks. Raises ValueError for what this version cannot run."""

    task: str
    method: str
    topology: str
    messages: str
    agents: int
    """N"""
    observation: int
    """O"""
    action: int
    """A"""
    hidden: int
    """H"""
    shared: bool
    """One set of parameters for all agents."""
    latency: int
    """0 where a message is read in the step in which it is sent, 1 where in the next."""
    rounds: int
    """K, of commnet."""
    aggregate: str
    """mean or sum, of commnet."""
    activation: str
    """Of the hidden layers of gates and head."""
    seed: int
    episode: int
    """Training episodes behind the networks."""
    commit: str | None
    """Of the code that trained them."""

    def __post_init__(self) -> None:
        for name, known in (
            ("topology", TOPOLOGIES),
            ("messages", READERS),
            ("latency", (0, 1)),
            ("aggregate", ("mean", "sum")),
            ("activation", ("relu",)),
        ):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} {getattr(self, name)!r} is not one of {tuple(known)}")

    @property
    def message(self) -> int:
        """Width of a message."""
        return READERS[self.messages].message(self)

    @property
    def hears(self) -> bool:
        """Anybody may receive from anybody."""
        return TOPOLOGIES[self.topology] != 0

    def layout(self) -> dict[str, tuple[int, ...]]:
        """The shape of every array by name; see the module's docstring."""
        n, o, h = self.agents, self.observation, self.hidden
        reader = READERS[self.messages]
        kernels: dict[str, tuple[int, ...]] = {}
        if TOPOLOGIES[self.topology] is None:
            kernels |= {"gates/0": (o, h), "gates/1": (h, h), "gates/2": (h, n - 1)}
        kernels |= reader.kernels(self)
        kernels |= {
            "head/0": (reader.heard(self) + o, h),
            "head/1": (h, h),
            "head/2": (h, self.action),
        }
        shapes: dict[str, tuple[int, ...]] = {}
        for name, (rows, columns) in kernels.items():
            shapes[f"{name}/kernel"] = (1 if self.shared else n, rows, columns)
            if not name.startswith(reader.without_bias):
                shapes[f"{name}/bias"] = (1 if self.shared else n, columns)
        return shapes


class Decision(NamedTuple):
    """What a team does at one step."""

    action: Float[Array, "*batch N A"]
    """In [-1, 1]."""
    topology: Float[Array, "*batch N N"]
    """1 at [i, j] where agent i receives from j; zeros on the diagonal."""
    carry: Float[Array, "*batch N M"]
    """For the next step of the episode: the messages sent in this one. Only latency 1 reads it."""


@dataclass(frozen=True, eq=False)
class Policy:
    """A team of N agents, ready to act. A pure function: `jax.jit`, `vmap` and `scan` apply to it."""

    header: Header
    arrays: Mapping[str, Array]

    def __call__(
        self,
        observation: Float[ArrayLike, "*batch N O"],
        carry: Float[ArrayLike, "*batch N M"] | None = None,
        key: Key[Array, ""] | None = None,
    ) -> Decision:
        """Act at one step.

        Args:
            observation: what each agent sees.
            carry: from the step before; None at the start of an episode.
            key: draws the edges; without one, those more likely than not are open.

        Raises ValueError for an observation of another task's shape.
        """
        seen = jnp.asarray(observation, jnp.float32)
        header = self.header
        if seen.shape[-2:] != (header.agents, header.observation):
            raise ValueError(
                f"{header.task} has observations [..., {header.agents}, {header.observation}], "
                f"not {list(seen.shape)}"
            )
        probability = self.probability(seen)
        bar = 0.5 if key is None else jax.random.uniform(key, probability.shape)
        topology = (bar < probability).astype(seen.dtype)
        if carry is None:
            carry = jnp.zeros((*seen.shape[:-1], header.message))
        reader = READERS[header.messages]
        sent_before = jnp.asarray(carry, jnp.float32)
        heard, sent = reader.read(header, self._dense, seen, sent_before, topology)
        action = jnp.tanh(self._mlp("head", jnp.concatenate([heard, seen], axis=-1)))
        return Decision(action, topology, sent)

    def probability(self, observation: Float[Array, "*batch N O"]) -> Float[Array, "*batch N N"]:
        """That i (row) receives from j (column); zeros on the diagonal."""
        n = self.header.agents
        constant = TOPOLOGIES[self.header.topology]
        if constant is not None:
            every = constant * (1.0 - jnp.eye(n))
            return jnp.broadcast_to(every, (*observation.shape[:-1], n))
        receivers, senders = np.nonzero(1 - np.eye(n))
        likely = jax.nn.sigmoid(self._mlp("gates", observation))
        square = jnp.zeros((*observation.shape[:-1], n))
        return square.at[..., receivers, senders].set(likely.reshape(*likely.shape[:-2], -1))

    def _mlp(self, name: str, x: Array) -> Array:
        for layer in range(2):
            x = jax.nn.relu(self._dense(f"{name}/{layer}", x))
        return self._dense(f"{name}/2", x)

    def _dense(self, name: str, x: Array) -> Array:
        y = (x[..., None, :] @ self.arrays[f"{name}/kernel"])[..., 0, :]
        bias = self.arrays.get(f"{name}/bias")
        return y if bias is None else y + bias


def load_policy(path: str | Path) -> Policy:
    """Read what `mgtopo export` wrote. Raises RunError for a file that is damaged, or none of ours."""
    path = Path(path)
    header, arrays = _unpack(path)
    return Policy(header, {name: jnp.asarray(array) for name, array in arrays.items()})


def pack(header: Header, arrays: Mapping[str, NDArray]) -> bytes:
    """A file's content; the same arguments give the same bytes. Raises ValueError for a wrong layout."""
    arrays = {name: np.ascontiguousarray(array, "<f4") for name, array in arrays.items()}
    _check_layout(header, arrays)
    document = {"format": FORMAT, "version": VERSION, **dataclasses.asdict(header)}
    document["sha256"] = digest(document, arrays)
    text = np.frombuffer(json.dumps(document, indent=1).encode(), np.uint8)
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, header=text, **arrays)
    return buffer.getvalue()


def digest(document: Mapping[str, Any], arrays: Mapping[str, NDArray]) -> str:
    """SHA-256 of the header without `sha256`, as JSON with sorted keys, then of each array in order of names:
    a line `<name> <shape>`, and its little-endian values in C order."""
    sha = hashlib.sha256(json.dumps(document, sort_keys=True).encode())
    for name in sorted(arrays):
        sha.update(f"{name} {list(arrays[name].shape)}\n".encode())
        sha.update(arrays[name].tobytes())
    return sha.hexdigest()


def _unpack(path: Path) -> tuple[Header, dict[str, NDArray]]:
    again = "export it again by `mgtopo export`"
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror or error}") from error
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        document = json.loads(arrays.pop("header").tobytes())
        ours, version = document.pop("format") == FORMAT, document.pop("version")
    except Exception as error:  # the damage decides which
        raise RunError(f"{path} is damaged or not an exported policy; {again}") from error
    if not ours:
        raise RunError(f"{path} is not an exported policy; {again}")
    if version != VERSION:
        raise RunError(
            f"{path} has version {version} of the format and this code reads {VERSION}; "
            f"load it by the code that wrote it, or {again}"
        )
    sealed = {"format": FORMAT, "version": version, **document}
    if sealed.pop("sha256", None) != digest(sealed, arrays):
        raise RunError(f"{path} is damaged: it differs from what was exported; {again}")
    document.pop("sha256")
    try:
        header = Header(**document)
        _check_layout(header, arrays)
    except (TypeError, ValueError) as error:
        raise RunError(f"{path} cannot be run by this code: {error}; {again}") from error
    return header, arrays


def _check_layout(header: Header, arrays: Mapping[str, NDArray]) -> None:
    expected = header.layout()
    for name in sorted({*expected, *arrays}):
        found = tuple(arrays[name].shape) if name in arrays else None
        if found != expected.get(name):
            raise ValueError(f"array {name} is {found}, not {expected.get(name)}")
