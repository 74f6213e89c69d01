"""What a team no longer needs once it has begun."""

from __future__ import annotations

from dataclasses import replace

from purejax_mgtopo.config import Experiment


def as_trained(experiment: Experiment) -> Experiment:
    """The experiment of teams that have begun: the file of the eta they began with may be gone since.

    The file of a frozen rule stays named: whoever learns or judges by it needs it, and a team acts without reading it.
    """
    return replace(experiment, meta=replace(experiment.meta, start=""))
