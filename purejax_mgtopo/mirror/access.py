"""Whether, and where, W&B may be written to; it is never asked in a way that makes it prompt."""

from __future__ import annotations

import contextlib
import netrc
import os
from collections.abc import Callable, Mapping
from typing import Any, Literal
from urllib.parse import urlsplit

from purejax_mgtopo.mirror.environment import check_environment, mend_environment
from purejax_mgtopo.mirror.places import project_name

MirrorMode = Literal["online", "offline"]
Say = Callable[[str], None]

PROJECT = "purejax_mgtopo"

_CLOUD = {"api.wandb.ai", "api.forge.coreweave.com"}
"""Two names of W&B's own server, which share credentials."""


def disabled() -> bool:
    """Whether the environment switches W&B off; W&B need not be imported to know."""
    off = os.environ.get("WANDB_DISABLED", "").strip().lower() in ("1", "true", "yes")
    return off or mode_of_environment() == "disabled"


def choose_mode(setting: str, say: Say) -> MirrorMode | None:
    """Where to write, from our setting, W&B's own (WANDB_MODE, `wandb offline`) and whether there are credentials.

    A setting beats the environment, which beats what we would choose; W&B's `disabled` alone wins over everything. It
    is never asked to go online without credentials: it would prompt for them.

    Raises ConfigError for a variable of the environment that W&B cannot use.
    """
    if setting == "off":
        return None
    settings = settings_of_wandb()
    # What W&B read from the environment when it was set up may be out of date.
    said = mode_of_environment()
    mode = said or str(settings.mode or "")
    if mode == "disabled":
        return None
    if setting == "offline" or (setting == "auto" and mode in ("offline", "dryrun")):
        return "offline"
    if has_credentials(str(settings.base_url)) or getattr(settings, "api_key", None):
        return "online"
    if "online" in (setting, said):
        say("W&B: no credentials, so the mirror is written offline; `wandb login` gets some")
    return "offline"


def mode_of_environment() -> str:
    """What WANDB_MODE says, in today's words; empty where it says nothing."""
    mode = os.environ.get("WANDB_MODE", "").strip().lower()
    return {"dryrun": "offline", "run": "online"}.get(mode, mode)


def decided(setting: str, mode: MirrorMode) -> tuple[bool, str]:
    """Whether WANDB_MODE has chosen `mode`, and what to say of a setting that overrules it."""
    said = mode_of_environment()
    if setting == mode and said not in ("", mode):
        return False, f"the setting wandb={setting} beats WANDB_MODE={said}"
    return setting not in ("online", "offline") and said == mode, ""


def heeding_environment(wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Settings for a W&B run: `wanted`, but where the environment says another value, that one.

    What this version of W&B does not know is left out.
    """
    found = {}
    for name, value in wanted.items():
        variable = (
            f"WANDB_{name.removeprefix('x').upper()}"
            if name[:2] == "x_"
            else f"WANDB_{name.upper()}"
        )
        found[name] = os.environ.get(variable) or value
    known = import_wandb().Settings.model_fields  # they come and go with versions
    return {name: value for name, value in found.items() if name in known and value is not None}


def project_of_environment() -> str:
    """The project where no setting names one, as W&B takes it."""
    return project_name(os.environ.get("WANDB_PROJECT", "")) or PROJECT


def has_credentials(base_url: str) -> bool:
    """Whether the environment or the netrc file holds a key for a W&B server."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    host = urlsplit(base_url).netloc
    places = [os.environ.get("NETRC"), "~/.netrc", "~/_netrc"]
    for place in places if places[0] is None else places[:1]:
        with contextlib.suppress(OSError, netrc.NetrcParseError):
            if place is not None:
                kept = netrc.netrc(os.path.expanduser(place))
                if any(kept.authenticators(h) for h in (_CLOUD if host in _CLOUD else {host})):
                    return True
    return False


def settings_of_wandb() -> Any:
    """W&B's own settings. Raises ConfigError for a variable of the environment that it cannot use."""
    mend_environment()
    wandb = import_wandb()
    check_environment(wandb.Settings())
    return wandb.setup().settings


def import_wandb() -> Any:
    """W&B, told to keep quiet before it first speaks."""
    os.environ.setdefault("WANDB_SILENT", "true")
    import wandb

    return wandb
