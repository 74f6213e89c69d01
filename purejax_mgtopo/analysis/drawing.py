"""Figures as files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from purejax_mgtopo.machine.paths import expanded
from purejax_mgtopo.records.files import SOFTWARE

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.legend import Legend


AS_IT_IS: dict[str, Any] = {"parse_math": False}
"""For a text that is data, such as a title or a name: Matplotlib would read what stands between two ``$`` as TeX."""


def plain_legend(legend: Legend) -> None:
    """Let a legend show its labels as they are."""
    for text in legend.get_texts():
        text.set_parse_math(False)


def save_figure(figure: Figure, path: str | os.PathLike[str]) -> Path:
    """Write `figure` at `path`, whose folder is made if need be: as a PNG, or as PDF or SVG where it ends so.

    An interrupted write leaves an older figure untouched. Raises OSError.
    """
    from matplotlib import rc_context

    target = expanded(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        # A name, lest the next one take it for somebody else's, but no version: that would change the bytes of an
        # unchanged figure with each upgrade.
        kind = target.suffix[1:].lower() if target.suffix.lower() in (".pdf", ".svg") else "png"
        by = {"png": "Software", "pdf": "Creator", "svg": "Creator"}[kind]
        undated = {} if kind == "png" else {{"pdf": "CreationDate", "svg": "Date"}[kind]: None}
        with rc_context({"svg.fonttype": "none", "svg.hashsalt": SOFTWARE, "pdf.fonttype": 42}):
            figure.savefig(partial, format=kind, dpi=160, metadata={by: SOFTWARE} | undated)
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)
    return target
