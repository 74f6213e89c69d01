"""What to say to a flag that other programs have, and this one calls otherwise."""

from __future__ import annotations

import re
from collections.abc import Sequence

from purejax_mgtopo.config import Config
from purejax_mgtopo.settings import flatten

_ELSEWHERE = {
    "lr": ("learner.policy-learning-rate", "learner.critic-learning-rate", "gates.learning-rate"),
    "learning-rate": (
        "learner.policy-learning-rate",
        "learner.critic-learning-rate",
        "gates.learning-rate",
        "meta.learning-rate",
    ),
    "actor-lr": ("learner.policy-learning-rate",),
    "critic-lr": ("learner.critic-learning-rate",),
    "gamma": ("learner.discount",),
    "tau": ("learner.target-rate",),
    "buffer-size": ("learner.replay-transitions",),
    "hidden-dim": ("learner.hidden",),
    "hidden-size": ("learner.hidden",),
    "env": ("task",),
    "env-name": ("task",),
    "environment": ("task",),
    "scenario": ("task",),
    "map": ("task",),
    "algo": ("method",),
    "alg": ("method",),
    "algorithm": ("method",),
    "model": ("method",),
    "rule": ("topology",),
    "steps": ("episodes",),
    "timesteps": ("episodes",),
    "total-timesteps": ("episodes",),
    "epochs": ("episodes",),
    "iterations": ("episodes",),
    "num-seeds": ("seeds",),
    "n-seeds": ("seeds",),
    "gpu": ("devices",),
    "gpus": ("devices",),
    "num-devices": ("devices",),
    "output": ("out",),
    "output-dir": ("out",),
    "save-dir": ("out",),
    "logdir": ("out",),
    "log-dir": ("out",),
    "dir": ("out",),
    "o": ("out",),
    "project": ("wandb-project",),
    "wandb-mode": ("wandb",),
    "no-wandb": ("wandb off",),
    "cpu": ("devices",),
}
"""Names that other programs give to what is a flag here."""
_SEED = "seeds are counted: --seeds 8 trains seeds 0 to 7 in one program, and --first-seed 3 --seeds 1 seed 3 alone"


def other_words(line: str, argv: Sequence[str]) -> str | None:
    """What to say of the first flag that tyro does not know, where its name tells what was meant."""
    found = re.match(r"Unrecognized options: (--?[^-,\s=][^,\s=]*)", line)
    if found is None:
        return None
    flag, command = found[1], argv[0]
    name = flag.lstrip("-").replace("_", "-").lower()
    if name == "seed" and command in ("train", "fit", "sweep"):
        return f"unknown flag {flag}; {_SEED}"
    if name == "set" and command in ("train", "fit"):
        given = re.search(r"--set[= ]([A-Za-z_.-]+)=(\S+)", " ".join(argv))
        example = (given[1].replace("_", "-"), given[2]) if given else ("learner.hidden", "64")
        return f"unknown flag --set; here each setting is a flag, such as --{' '.join(example)}"
    known = [other.replace("_", "-") for other in flatten(Config())]
    alike = [other for other in known if other.rpartition(".")[2] == name and "." in other]
    meant = list(_ELSEWHERE.get(name, alike))
    if not meant:
        return None
    if command == "sweep":  # which takes a few settings as flags, and all by --set
        own = {"episodes", "seeds", "out", "wandb"}
        words = [
            f"--{x}" if x.split()[0] in own else f"--set {x.replace('-', '_')}=..." for x in meant
        ]
        words = ["the recipe's own tasks and --tasks"] if meant == ["task"] else words
        words = ["the recipe's own methods and --methods"] if meant == ["method"] else words
    elif command in ("train", "fit"):
        words = [f"--{x}" for x in meant]
    else:
        return None
    return f"unknown flag {flag}; did you mean {' or '.join(words)}?"
