"""What to say to words that other programs have, and this one calls otherwise."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from difflib import get_close_matches
from pathlib import Path

from purejax_mgtopo.config import Config
from purejax_mgtopo.errors import ConfigError, unknown_name
from purejax_mgtopo.methods import METHODS
from purejax_mgtopo.settings import ELSEWHERE, flatten, meant

_SEED = "seeds are counted: --seeds 8 trains seeds 0 to 7 in one program, and --first-seed 3 --seeds 1 seed 3 alone"
_SAYINGS = {
    "a recipe is run by `mgtopo sweep RECIPE`": "config recipe cfg config_file yaml toml",
    "`mgtopo resume DIR` goes on with a run": "resume continue restore load load_dir checkpoint_path",
    "every seed plays one episode at a time, and --seeds says how many seeds": "num_envs n_envs envs num_workers "
    "n_workers workers processes num_processes n_rollout_threads parallel",
    "the task's name says it, as in --task navigation_N4_l2": "agents num_agents n_agents landmarks num_landmarks",
    "`mgtopo watch DIR` draws episodes of a run": "render visualize visualise video record gif",
    "progress goes to stderr, as plain lines where that is no terminal": "verbose quiet silent progress no_progress",
    "--out names the run's folder": "name exp_name run_name experiment_name experiment exp tag",
}
_SAID = {name: saying for saying, names in _SAYINGS.items() for name in names.split()}
_COMMANDS = {
    "tasks or methods": "list",
    "tasks": "envs environments env list-tasks",
    "methods": "algorithms algos list-methods models presets",
    "status": "ls ps progress top show info",
    "figures": "plot plots draw figure",
    "report": "view html page",
    "evaluate": "test",
    "watch": "play render video visualize visualise gif",
    "resume": "continue restart restore extend",
    "sweep": "grid experiment experiments recipe recipes",
    "train": "run start learn fit-policy",
    "verify": "check validate",
    "bench": "benchmark speed",
    "glossary": "columns",
    "wandb-dashboard": "dashboard workspace",
    "wandb-dashboard or wandb-rebuild": "wandb sync",
}
_OTHER_COMMANDS = {word: ours for ours, words in _COMMANDS.items() for word in words.split()}


def unknown_command(word: str, known: Collection[str]) -> ConfigError:
    """The error for a command that does not exist, with the one that does the same."""
    ours = _OTHER_COMMANDS.get(word.lower().replace("_", "-"))
    if ours is None:
        return unknown_name("command", word, known)
    names = " or ".join(map(repr, ours.split(" or ")))
    return ConfigError(f"unknown command {word!r}; did you mean {names}?")


def other_words(line: str, argv: Sequence[str], own: Collection[str] = ()) -> str | None:
    """What to say of the first word that tyro does not know, where it tells what was meant.

    Args:
        line: tyro's, in one line.
        own: names of the flags of a command that takes no settings.
    """
    found = re.match(r"Unrecognized options: (--?[^-,;\s=][^,;\s=]*)", line)
    if found is None:
        return _value_too_many(line, argv)
    flag, command = found[1], argv[0]
    name = flag.lstrip("-").replace("-", "_").lower()
    if command not in ("train", "fit", "sweep"):
        return _of_another_command(flag, name, command, own)
    if name == "seed":
        return f"unknown flag {flag}; {_SEED}"
    if name == "set" and command != "sweep":
        given = re.search(r"--set[= ]([A-Za-z_.-]+)=(\S+)", " ".join(argv))
        example = (given[1].replace("_", "-"), given[2]) if given else ("learner.hidden", "64")
        return f"unknown flag --set; here each setting is a flag, such as --{' '.join(example)}"
    known = list(flatten(Config()))
    ours = list(ELSEWHERE.get(name, ())) or meant(name, known)
    if not ours and name in _SAID and not (command == "sweep" and "sweep" in _SAID[name]):
        return f"unknown flag {flag}; {_SAID[name]}"
    if command == "sweep":
        value = None
        if not ours and ("." in name or name in known):  # a setting of ours
            ours = get_close_matches(name, known, n=1, cutoff=0.7)
            value = re.search(re.escape(flag) + r"[= ](\S+)", " ".join(argv))
        words = [_in_a_sweep(x, value[1] if value else "...") for x in ours]
    else:
        words = [f"--{x.replace('_', '-')}" for x in ours]
    return f"unknown flag {flag}; did you mean {' or '.join(words)}?" if words else None


def _in_a_sweep(name: str, value: str) -> str:
    """How a sweep, which takes a few settings as flags and all by --set, is told a setting."""
    if name in ("task", "method"):
        return f"the recipe's own {name}s and --{name}s"
    if name.split()[0] in ("episodes", "seeds", "out", "wandb"):
        return f"--{name}"
    return f"--set {name}={value}"


def _of_another_command(flag: str, name: str, command: str, own: Collection[str]) -> str | None:
    """What a command that takes no settings says: its own flag of that meaning, or why it has none."""
    ours = [x for x in ELSEWHERE.get(name, ()) if x in own]
    if ours:
        return f"unknown flag {flag}; did you mean {' or '.join(f'--{x}' for x in ours)}?"
    settings = {*flatten(Config()), *ELSEWHERE, "method"}
    known = name in settings or meant(name, settings)
    if command == "resume" and known and not get_close_matches(name, own, cutoff=0.8):
        return (
            f"unknown flag {flag}; a run keeps its settings, and resume takes --episodes, --devices and --wandb alone: "
            "another folder (`mgtopo train`) takes others"
        )
    return None


def _value_too_many(line: str, argv: Sequence[str]) -> str | None:
    """What to say of a value that stands behind the only one that a flag takes, or before all flags."""
    found = re.match(r"Unrecognized options: ([^-,;\s][^,;\s]*)", line)
    if found is None or found[1] not in argv:
        return None
    word, command = found[1], argv[0]
    before = [given for given in argv[: argv.index(word)] if given.startswith("-")]
    if word == "help":
        return f"for help say `mgtopo {command} --help`"
    if not before:
        return _without_a_flag(word, command)
    flag, _, value = before[-1].partition("=")
    hint = "; it says how many, as in --seeds 3" if flag == "--seeds" else ""
    if flag == "--set":
        value = value or argv[argv.index(word) - 1]
        pair = word if "=" in word else f"{value}={word}"
        hint = f"; say --set {pair}" + (" as well" if "=" in word else "")
    return f"{word!r} is one value too many for {flag}{hint}"


def _without_a_flag(word: str, command: str) -> str | None:
    if command not in ("train", "fit"):
        return f"{word!r} is one word too many; `mgtopo {command} --help` tells what it takes"
    from purejax_mgtopo.training.recipe import shipped_recipes

    place = Path(word)
    if place.name in shipped_recipes() or place.suffix == ".toml":
        return f"{word!r} is a recipe, which `mgtopo sweep {word}` runs"
    flag = "--method" if word in METHODS or "+" in word else "--task"
    return f"{word!r} stands without a flag; did you mean {flag} {word}?"


def as_flags(message: str) -> str:
    """An error of the library, which speaks of arguments, in the words of the command line."""
    for argument, flag in _FLAGS:
        message = message.replace(argument, flag)
    return message


_FLAGS = (
    ("choose another folder", "choose another folder (--out)"),
    ("choose another file", "choose another file (--out)"),
    ("choose another name or folder", "choose another name or folder (--name, --out)"),
    ("watch another seed", "watch another with --seed"),
    ("another file for verdicts", "another file for verdicts (--json)"),
    ("(episodes=N extends it", "(--episodes N extends it"),
    ("for example lanes=", "for example --lanes "),
)


def plainly(line: str) -> str:
    """What tyro says of values, in words of its reader's."""
    for pattern, words in _PLAIN:
        line = re.sub(pattern, words, line)
    return line


def _choices(names: str) -> str:
    """The choices of a flag, in the parser's order; where it may be left out, that is a set's, with None among them."""
    found = names.split(", ")
    return ", ".join(sorted({*found} - {"'None'"}) if "'None'" in found else found)


_PLAIN: tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...] = (
    (r"^Unrecognized options: (--?[^,;\s]+)(?:, [^;]*?| Available.*)?(;.*)?$", r"unknown flag \1\2"),
    (r"^(unknown flag [^;]*)$", r"\1; --help lists all"),
    (r"^Missing argument Missing value for argument '([^']+)'.*$", r"\1 needs a value"),
    (
        r"^Invalid choice invalid choice '([^']*)' for argument '([^']+)'\. Expected one of \((.*)\) ?\.?$",
        lambda found: f"{found[2]} must be one of {_choices(found[3])}, not '{found[1]}'",
    ),
    (
        r"^Value error Error parsing (\S+): no type matching \S*INT\S* could be instantiated from \[(.*?)\]\..*$",
        r"\1 takes a whole number, not \2",
    ),
    (
        r"^Value error Error parsing (\S+): no type matching \S*FLOAT\S* could be instantiated from \[(.*?)\]\..*$",
        r"\1 takes a number, not \2",
    ),
    (
        r"^Value error Error parsing (\S+): invalid literal for int\(\) with base 10: (.*)$",
        r"\1 takes a whole number, not \2",
    ),
    (
        r"^Value error Error parsing (\S+): could not convert string to float: (.*)$",
        r"\1 takes a number, not \2",
    ),
    (r"^Required options Missing from (mgtopo \S+): (--\S+) \S+ (.*?) ?\(required\).*$", r"\1 needs \2: \3"),
    (r"^Required options Missing from (mgtopo \S+): (\S+) (.*?) ?\(required\).*$", r"\1 needs \2: \3"),
)  # fmt: skip
