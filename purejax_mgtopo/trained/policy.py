"""A trained team as one small file, and how to run it without environments, replay or learners.

    policy = load_policy("seed3_episode10000.npz")
    action, topology, probability, carry = policy(observation)              # edges open where more likely than not
    action, topology, probability, carry = policy(observation, carry, key)  # sampled edges, as in training

A team whose rule tosses coins in greedy evaluation too (`random`) acts with a key only.

The file is a NumPy archive without pickles: `numpy.load(path, allow_pickle=False)` opens it anywhere.

    header             uint8   JSON: the fields of `Header`, `format`, `version` and `sha256` (see `digest`)
    policy/...                 parameters of the policies by their path: `interpreter` reads messages, `head` acts
    acting/...                 what topology rule and interpreter act with besides, likewise: `acting/rule/...` decides
                               on edges

A layer is `x @ kernel + bias`. Leading axes [N, ...] hold one set of parameters for each agent, unless
`learner.share_parameters` is set. From the header's settings the same `Team` is built that was trained, so that every
rule and interpreter can be exported.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Key
from numpy.typing import NDArray

from purejax_mgtopo.algorithm.edges import fill_diagonal
from purejax_mgtopo.algorithm.team import Policy, Team
from purejax_mgtopo.algorithm.types import Both, Carry, Mode, PyTree, Sizes
from purejax_mgtopo.config import Experiment, override
from purejax_mgtopo.errors import RunError
from purejax_mgtopo.machine.paths import expanded
from purejax_mgtopo.machine.startup import refuse_strict_modes
from purejax_mgtopo.methods import CRITICS, MESSAGES, TOPOLOGIES
from purejax_mgtopo.trained.begun import as_trained

FORMAT, VERSION = "purejax_mgtopo policy", 2
_HEADER = 2**20  # bytes


@dataclass(frozen=True)
class Header:
    """What a file says about its networks."""

    task: str
    method: str
    agents: int
    """Number N of agents."""
    observation: int
    """Width O of an agent's observation."""
    action: int
    """Width A of an agent's action."""
    settings: Mapping[str, Any]
    """Every setting of the experiment, by its dotted name."""
    seed: int
    episode: int
    """Training episodes behind the networks."""
    commit: str | None
    """The commit of the code that trained them."""
    others_seen: bool = False
    """Whether the last numbers of an observation are the others' places, so that distances are told from them."""

    def team(self) -> Team:
        """The team whose parameters the file holds. Raises ValueError for settings that this version cannot run."""
        experiment = as_trained(override(Experiment(), self.settings))
        return Team(experiment, Sizes(self.agents, self.observation, self.action), self.others_seen)

    def layout(self) -> ActingNetworks:
        """Shape and dtype of every parameter."""
        team = self.team()

        def networks() -> ActingNetworks:
            keys = jax.random.split(jax.random.key(0), 3)
            states = team.parts.init(Both(keys[1], keys[2]))
            return ActingNetworks(team.init(keys[0]), team.parts.acting(states))

        return jax.eval_shape(networks)


class ActingNetworks(NamedTuple):
    """All that a team acts with."""

    policy: Policy
    acting: Both

    def named(self) -> dict[str, Any]:
        """Every array by its path."""
        found = {}
        for part, tree in zip(self._fields, self, strict=True):
            for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
                name = jax.tree_util.keystr(path, simple=True, separator="/")
                found[f"{part}/{name}".rstrip("/")] = leaf
        return found


class Decision(NamedTuple):
    """What a team does at one step."""

    action: Float[Array, "*batch N A"]
    """What each agent does, in [-1, 1]."""
    topology: Float[Array, "*batch N N"]
    """1 at [i, j] where agent i receives from j, 1/2 where in one round of two; zeros on the diagonal."""
    probability: Float[Array, "*batch N N"]
    """Probability that agent i receives from j; zeros on the diagonal."""
    carry: PyTree
    """What the team remembers, for the next step of the episode."""


@dataclass(frozen=True, eq=False)
class ExportedTeam:
    """A team of N agents, ready to act. A pure function: `jax.jit`, `vmap` and `scan` apply to it."""

    header: Header
    team: Team
    networks: ActingNetworks

    def __repr__(self) -> str:
        header = self.header
        return f"ExportedTeam({header.method} on {header.task}, {header.agents} agents, seed {header.seed})"

    def __call__(
        self,
        observation: Float[ArrayLike, "*batch N O"],
        carry: Carry | None = None,
        key: Key[Array, ""] | None = None,
    ) -> Decision:
        """Act at one step.

        Args:
            observation: what each agent sees.
            carry: from the step before; None at the start of an episode.
            key: draws the edges, anew at each step by a key of its own; without one, those more likely than not are
                open. A team that tosses coins whatever the mode, as the rule `random` does, has to be given one.

        Raises ValueError for an observation of another task's shape, a carry of another number of episodes, or no key
        where coins are tossed.
        """
        seen = jnp.asarray(observation, jnp.float32)
        header, parts = self.header, self.team.parts
        if seen.shape[-2:] != (header.agents, header.observation):
            raise ValueError(
                f"{header.task} has observations [..., {header.agents}, {header.observation}], "
                f"not {list(seen.shape)}"
            )
        batch = seen.shape[:-2]
        if carry is None:
            carry = self.team.initial_carry(batch)
        else:
            self._check_carry(carry, batch)
        if key is None:
            if parts.tosses:
                raise ValueError(
                    f"{header.method} tosses coins in greedy evaluation too: pass a key of its own at each step, as in "
                    "policy(observation, carry, jax.random.key(0))"
                )
            mode = Mode.EVAL_GREEDY
            tape = parts.each(lambda part: jnp.full((*batch, *part.tape_shape), 0.5))
        else:
            mode = Mode.EVAL_SAMPLED
            tape = parts.tape(Both(*jax.random.split(key)), batch)
        step, carry = self.team.step(*self.networks, seen, carry, tape, mode)
        return Decision(
            action=step.action,
            topology=fill_diagonal(step.open_edges),
            probability=fill_diagonal(step.gates.probability),
            carry=carry,
        )

    def _check_carry(self, carry: Any, batch: tuple[int, ...]) -> None:
        """Another team's would be misread, and one episode's beside a batch of observations broadcast."""
        needed = jax.eval_shape(lambda: self.team.initial_carry(batch))
        if jax.tree.map(jnp.shape, carry) != jax.tree.map(jnp.shape, needed):
            found, wanted = (
                [jnp.shape(x) for x in jax.tree.leaves(tree)] for tree in (carry, needed)
            )
            raise ValueError(
                f"this {type(carry).__name__} of arrays {found} is no carry of {self!r} beside a batch {list(batch)} "
                f"of observations, which is of arrays {wanted}; pass the one that the step before gave, or None"
            )


def load_policy(path: str | Path) -> ExportedTeam:
    """Read what `mgtopo export` wrote: a team, which is called with observations, and with a key where edges are drawn.

    A rule or interpreter that uses its random numbers in greedy evaluation too says so by `Part.tosses`, and its team
    refuses to act without a key. One from elsewhere that does so without saying it gets 0.5 for each of them where no
    key is passed, and acts otherwise than its greedy evaluation: pass a key to it.

    Raises RunError for a file that is damaged, none of ours, or of a rule, interpreter or critic that nobody has
    registered here. Raises ConfigError under modes of JAX that forbid what its networks do.
    """
    refuse_strict_modes()
    path = expanded(path)
    header, arrays = _unpack(path)
    layout = header.layout()
    leaves = [jnp.asarray(arrays[name]) for name in layout.named()]
    networks = jax.tree.unflatten(jax.tree.structure(layout), leaves)
    return ExportedTeam(header, header.team(), networks)


def pack(header: Header, networks: ActingNetworks) -> bytes:
    """A file's content; the same arguments give the same bytes. Raises ValueError for networks of another team."""
    arrays = {name: _little_endian(array) for name, array in networks.named().items()}
    _check_layout(header, arrays)
    document = {"format": FORMAT, "version": VERSION, **dataclasses.asdict(header)}
    document["sha256"] = digest(document, arrays)
    text = np.frombuffer(json.dumps(document, indent=1).encode(), np.uint8)
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, header=text, **arrays)
    return buffer.getvalue()


def digest(document: Mapping[str, Any], arrays: Mapping[str, NDArray]) -> str:
    """SHA-256 of the header without `sha256`, as JSON with sorted keys, then of each array in order of names:
    a line `<name> <dtype> <shape>`, and its little-endian values in C order."""
    sha = hashlib.sha256(json.dumps(document, sort_keys=True).encode())
    for name in sorted(arrays):
        array = arrays[name]
        sha.update(f"{name} {array.dtype} {list(array.shape)}\n".encode())
        sha.update(array.tobytes())
    return sha.hexdigest()


def _unpack(path: Path) -> tuple[Header, dict[str, NDArray]]:
    again = "export it again by `mgtopo export`"
    try:
        if path.is_dir():
            raise RunError(f"cannot read {path}: a folder is not an exported policy; {again}")
        size = path.stat().st_size
        # A pipe or a device may never end.
        content = open(path, "rb") if path.is_file() else io.BytesIO()  # noqa: SIM115 - closed below
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror or error}") from error
    try:
        with content, np.load(_zip(content), allow_pickle=False) as archive:
            # Ours are not compressed: what unpacks to far more than it is would only fill the memory.
            if sum(entry.file_size for entry in archive.zip.infolist()) > 4 * size:
                raise ValueError("it unpacks to many times its size")
            if archive.zip.getinfo("header.npy").file_size > _HEADER:
                raise ValueError("its header is too long")
            document = json.loads(archive["header"].tobytes())
            ours, version = document.pop("format") == FORMAT, document.pop("version")
            arrays = {name: archive[name] for name in archive.files if name != "header" and ours}
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
    if missing := _unregistered(document.get("settings", {})):
        raise RunError(
            f"{path} has {missing}, which is not known here: import the module that registers it, then load it"
        )
    try:
        header = Header(**document)
        _check_layout(header, arrays)
    except (TypeError, ValueError) as error:
        raise RunError(f"{path} cannot be run by this code: {error}; {again}") from error
    return header, arrays


def _unregistered(settings: Mapping[str, Any]) -> str | None:
    """The first of a team's parts that no table has, as it does of plug-ins that were not imported."""
    tables = {"topology": TOPOLOGIES, "messages": MESSAGES, "critic": CRITICS}
    missing = [axis for axis, table in tables.items() if settings.get(axis, "") not in {*table, ""}]
    return f"the {missing[0]} {settings[missing[0]]!r}" if missing else None


def _zip(file: IO[bytes]) -> IO[bytes]:
    """An archive; of other files NumPy would read the whole before anybody could ask for its size."""
    if not zipfile.is_zipfile(file):
        raise ValueError("it is no archive")
    file.seek(0)
    return file


def _check_layout(header: Header, arrays: Mapping[str, NDArray]) -> None:
    expected = {
        name: f"{shape.dtype} {list(shape.shape)}"
        for name, shape in header.layout().named().items()
    }
    for name in sorted({*expected, *arrays}):
        found = f"{arrays[name].dtype} {list(arrays[name].shape)}" if name in arrays else None
        if found != expected.get(name):
            raise ValueError(f"array {name} is {found}, not {expected.get(name)}")


def _little_endian(array: Any) -> NDArray:
    array = np.asarray(array)
    # Not `ascontiguousarray`, which makes a vector of a single number.
    return np.require(array, array.dtype.newbyteorder("<"), "C")
