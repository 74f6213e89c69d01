"""Whether, and where, W&B may be written to; it is never asked in a way that makes it prompt."""

from __future__ import annotations

import contextlib
import netrc
import os
from collections.abc import Callable
from typing import Any, Literal
from urllib.parse import urlsplit

MirrorMode = Literal["online", "offline"]
Say = Callable[[str], None]

PROJECT = "purejax_mgtopo"

_CLOUD = {"api.wandb.ai", "api.forge.coreweave.com"}
"""Two names of W&B's own server, which share credentials."""


def disabled() -> bool:
    """Whether the environment switches W&B off; W&B need not be imported to know."""
    off = os.environ.get("WANDB_DISABLED", "").lower() in ("1", "true", "yes")
    return off or os.environ.get("WANDB_MODE", "").lower() == "disabled"


def choose_mode(setting: str, say: Say) -> MirrorMode | None:
    """Where to write, from our setting, W&B's own (WANDB_MODE, `wandb offline`) and whether there are credentials.

    W&B's `disabled` and `offline` win over everything. It is never asked to go online without credentials: it would
    prompt for them.
    """
    if setting == "off":
        return None
    settings = import_wandb().setup().settings
    # What W&B read from the environment when it was set up may be out of date.
    mode = os.environ.get("WANDB_MODE", "").lower() or str(settings.mode or "")
    if mode == "disabled":
        return None
    if mode in ("offline", "dryrun") or setting == "offline":
        return "offline"
    if has_credentials(str(settings.base_url)) or getattr(settings, "api_key", None):
        return "online"
    if setting == "online":
        say("W&B: no credentials, so the mirror is written offline; `wandb login` gets some")
    return "offline"


def project_of_environment() -> str:
    """The project where no setting names one."""
    return os.environ.get("WANDB_PROJECT") or PROJECT


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


def import_wandb() -> Any:
    """W&B, told to keep quiet before it first speaks."""
    os.environ.setdefault("WANDB_SILENT", "true")
    import wandb

    return wandb
