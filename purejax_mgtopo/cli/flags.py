"""What commands are, the flags that several of them share, each with its words, and the forms that flags may take."""

from __future__ import annotations

import abc
import contextlib
import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, get_args, get_type_hints

from tyro.conf import FlagCreatePairsOff, Positional, UseAppendAction, arg
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from purejax_mgtopo.errors import ConfigError
from purejax_mgtopo.options.learner import LearnerPresetName
from purejax_mgtopo.settings import AUTO, flatten

REPEATABLE = ("--import", "--set")
"""The flags that add to what was given before them."""


NOWHERE = Path("\0")
"""What an empty word is read as where a path is asked for; no word of a command line holds such a character."""
PATHS = ConstructorRegistry()
"""How words become paths."""


@PATHS.primitive_rule
def _path(asked: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Path] | None:
    """Python would take an empty word, as of a variable that is not set, for the current folder."""
    if asked.type is not Path:
        return None
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="PATH",
        instance_from_str=lambda words: Path(words[0]) if words[0] else NOWHERE,
        is_instance=lambda value: isinstance(value, Path),
        str_from_instance=lambda path: [str(path)],
    )


class Command(abc.ABC):
    """A command as a frozen dataclass: its fields are the flags, its docstrings their help."""

    @abc.abstractmethod
    def do(self) -> int:
        """Do what was asked; the exit code."""


Switch = FlagCreatePairsOff[bool]
"""Off unless it is given; there is no ``--no-...`` beside it."""

Debug = Annotated[
    Switch, arg(help="Show the whole traceback of an error (as MGTOPO_DEBUG=1 does).")
]
Distributed = Annotated[
    Switch,
    arg(
        help="Join the other processes of this run, started by Slurm, MPI or Kubernetes, "
        "or described by JAX_COORDINATOR_ADDRESS."
    ),
]
NoCache = Annotated[
    Switch,
    arg(
        help="Neither use nor keep compiled programs; without this flag they stay in MGTOPO_CACHE_DIR "
        "or the user's cache folder, so that the next start is quick."
    ),
]
Imports = Annotated[
    UseAppendAction[tuple[str, ...]],
    arg(
        name="import",
        metavar="MODULE",
        help_behavior_hint="(repeatable)",
        help="A module of yours to import first, which registers rules, interpreters, critics or tasks.",
    ),
]
MethodName = Annotated[
    str | None,
    arg(
        metavar="NAME",
        help_behavior_hint="(default: what those two say)",
        help='A preset of --topology and --messages (see `mgtopo methods`), or any pair, "topology+messages": '
        "a pair without a preset is experimental.",
    ),
]
LearnerPreset = Annotated[
    LearnerPresetName | None,
    arg(
        help_behavior_hint="(default: paper)",
        help="Settings of the base learner that go together, which single flags refine: the paper's, or those under "
        "which push is learned too (see `mgtopo methods`).",
    ),
]
RunFolder = Annotated[Positional[Path], arg(metavar="DIR", help="The run's folder.")]
RunFolders = Annotated[
    Positional[tuple[Path, ...]],
    arg(
        metavar="DIR...",
        help_behavior_hint="(required)",
        help="Folders of runs, or folders that hold runs, such as a sweep's results.",
    ),
]
EpisodeSeed = Annotated[
    int, arg(metavar="INT", help="Random seed of the episodes: another number, other episodes.")
]


def is_run(folder: Path) -> bool:
    """Whether it is a run's own folder, or nothing that holds any: what is said of a run is said of it."""
    from purejax_mgtopo.records.record import CONFIG

    return (folder / CONFIG).exists() or not any(folder.rglob(CONFIG))


def hyphens(argv: Sequence[str]) -> list[str]:
    """The words with every flag as the help writes it: ``--learner_preset`` is ``--learner-preset``."""
    words = []
    for word in argv:
        flag, equals, value = word.partition("=")
        words.append(flag.replace("_", "-") + equals + value if word.startswith("--") else word)
    return words


def zeros_for_auto(argv: Sequence[str]) -> list[str]:
    """``--lanes auto`` may be written for ``--lanes 0``; likewise the other numbers that settle themselves."""
    numbers = tuple(f"--{name}" for name in AUTO)
    words = [
        f"{word.removesuffix('=auto')}=0" if word in [f"{n}=auto" for n in numbers] else word
        for word in argv
    ]
    pairs = zip(["", *words], words, strict=False)
    return ["0" if word == "auto" and before in numbers else word for before, word in pairs]


def plain_switches(kind: Any, words: Sequence[str]) -> list[str]:
    """The words as tyro knows them, whose switches take no value: ``--x.y false`` and ``--no-x.y`` are ``--x.no-y``.

    Raises ConfigError for a value that is neither true nor false. Where a command takes words of its own, ``true`` or
    ``false`` behind a switch is a value too, unless a folder is called so.
    """
    opposites = _switches(kind)
    back = {no: yes for yes, no in opposites.items() if no} | {
        f"--no-{yes[2:]}": yes for yes, no in opposites.items() if no
    }
    hints = get_type_hints(kind, include_extras=True).values()
    own_words = any(
        get_args(Positional[int])[1] in getattr(hint, "__metadata__", ()) for hint in hints
    )
    plain, rest = [], list(words)
    while rest:
        word, equals, value = rest.pop(0).partition("=")
        on, flag = word not in back, back.get(word, word)
        if flag not in opposites:
            plain.append(f"{word}{equals}{value}")
            continue
        if not equals and rest and (_is_value(rest[0]) if own_words else rest[0][:1] != "-"):
            equals, value = "=", rest.pop(0)
        if equals and value.lower() not in ("true", "false"):
            raise ConfigError(f"{word} is true or false, not {value!r}")
        on = on == (value.lower() != "false")
        chosen = flag if on else opposites[flag]
        plain += [] if chosen is None else [chosen]
    return plain


def _is_value(word: str) -> bool:
    """Whether a word behind a switch is its value, in a command that takes words of its own."""
    return word.lower() in ("true", "false") and not Path(word).exists()


def debug_asked(argv: Sequence[str], commands: Mapping[str, Any]) -> bool:
    """Whether the words ask for the whole traceback, in any form of that flag; what is refused asks for nothing."""
    words = hyphens(argv)
    if not words or words[0] not in commands:
        return "--debug" in words
    with contextlib.suppress(ConfigError):
        return "--debug" in plain_switches(commands[words[0]], words[1:])
    return "--debug" in words


def _switches(kind: Any) -> dict[str, str | None]:
    """A command's flags that take no value, each with its opposite, which settings have."""
    found: dict[str, str | None] = {}
    for item in dataclasses.fields(kind):
        if item.default is False:
            found[f"--{item.name}".replace("_", "-")] = None
        elif item.default_factory is not dataclasses.MISSING:  # settings
            for name, value in flatten(item.default_factory()).items():
                group, dot, last = name.replace("_", "-").rpartition(".")
                if isinstance(value, bool):
                    found[f"--{group}{dot}{last}"] = f"--{group}{dot}no-{last}"
    return found


def refuse_repeated(kind: Any, words: Sequence[str]) -> None:
    """Raise ConfigError for a flag that is given twice, of which the parser would keep the last in silence.

    A switch that a command alone has may be: to say it again changes nothing.
    """
    opposites = _switches(kind)
    back = {no: yes for yes, no in opposites.items() if no}
    flags = [word.partition("=")[0] for word in words if word.startswith("--")]
    counted = Counter(back.get(flag, flag) for flag in flags)
    again = [flag for flag, times in counted.items() if times > 1 and flag not in REPEATABLE]
    for flag in again:
        if flag not in opposites or opposites[flag] is not None:
            raise ConfigError(
                f"{flag} is given {counted[flag]} times, and only one can hold; give it once"
            )


def flag_value(argv: Sequence[str], name: str) -> str | None:
    """The value of the flag `name` among words that are not parsed yet."""
    for at, word in enumerate(argv):
        if word == name and at + 1 < len(argv):
            return argv[at + 1]
        if word.startswith(f"{name}="):
            return word.removeprefix(f"{name}=")
    return None
