"""What the environment says to W&B, made fit for it: W&B reads all of it at once, and takes none where it refuses a
part."""

from __future__ import annotations

import os
from typing import Any

from purejax_mgtopo.errors import ConfigError
from purejax_mgtopo.mirror.places import project_name, tags_of_environment

_VARIABLES = "WANDB_"


def mend_environment() -> None:
    """Write anew what W&B would refuse and need not: it goes by empty words, by capitals, and by limits on names."""
    for name, value in list(os.environ.items()):
        if name.startswith(_VARIABLES) and not value.strip():
            del os.environ[name]
    mended = {
        "WANDB_TAGS": lambda text: ",".join(tags_of_environment()),
        "WANDB_MODE": lambda text: text.strip().lower(),
        "WANDB_PROJECT": project_name,
    }
    for name, mend in mended.items():
        if name not in os.environ:
            continue
        value = mend(os.environ[name])
        if value:
            os.environ[name] = value
        else:  # nothing but commas
            del os.environ[name]


def check_environment(settings: Any) -> None:
    """Raise ConfigError, in one line that names the variable and tells no secret, for the first that W&B cannot use.

    Args:
        settings: W&B's own, fresh; they are changed as it would change them.
    """
    if not hasattr(settings, "update_from_env_vars"):  # another version of W&B
        return
    for name, value in sorted(os.environ.items()):
        if not name.startswith(_VARIABLES):
            continue
        try:
            settings.update_from_env_vars({name: value})
        except Exception as error:
            raise ConfigError(
                f"{name} says what W&B cannot use ({_reason(error)}); mend it or unset it"
            ) from None


def _reason(error: Exception) -> str:
    """What W&B says, without what its library adds."""
    told = getattr(error, "errors", None)
    text = str(told()[0]["msg"]) if callable(told) else str(error)
    return " ".join(text.removeprefix("Value error, ").split()).rstrip(".")
