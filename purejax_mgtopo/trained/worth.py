"""What communication is worth: a run's conditions over its seeds, and how much of the gain each of them leaves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import jax
import numpy as np
from numpy.typing import ArrayLike

from purejax_mgtopo.analysis.gain import share_kept
from purejax_mgtopo.analysis.normalised import normalised_interval
from purejax_mgtopo.analysis.statistics import Interval, stratified_bootstrap
from purejax_mgtopo.trained.assess import Assessment, Outcome


@dataclass(frozen=True)
class ConditionSummary:
    """One condition: interquartile means over the finite seeds, with their 95 % bootstrap intervals."""

    condition: str
    episodic_return: Interval
    score: Interval
    """The return between random actions (0) and the scripted expert (1); NaN for a task without a scale."""
    difference: Interval
    """The return less that under `sampled`, seed by seed."""
    edge_rate: Interval
    edge_quality: Mapping[str, Interval]
    """Precision and recall, over the seeds that have them; empty where the task knows no right edges."""
    measures: Mapping[str, Interval]
    kept: Interval | None = None
    """Share of the gain of `sampled` over `cut` that is left; None where there is no gain, or nothing to tell it by."""


def summarise_conditions(assessment: Assessment) -> list[ConditionSummary]:
    """Interquartile means over the finite seeds, by condition; none if no seed is finite."""
    if not assessment.finite.any():
        return []
    outcome: Outcome = jax.tree.map(lambda x: x[assessment.finite], assessment.outcome)
    task = assessment.experiment.task

    def interval(values: ArrayLike) -> Interval:
        return stratified_bootstrap([values])

    def known(values: ArrayLike) -> Interval:
        found = np.asarray(values)[np.isfinite(values)]
        return interval(found) if len(found) else Interval(np.nan, np.nan, np.nan)

    return [
        ConditionSummary(
            condition=condition,
            episodic_return=interval(outcome.episodic_return[:, c]),
            score=normalised_interval(task, interval(outcome.episodic_return[:, c])),
            difference=interval(outcome.episodic_return[:, c] - outcome.episodic_return[:, 0]),
            edge_rate=interval(outcome.edge_rate[:, c]),
            edge_quality={
                name: known(values[:, c]) for name, values in outcome.edge_quality.items()
            },
            measures={name: interval(values[:, c]) for name, values in outcome.measures.items()},
            kept=share_kept(outcome.episodic_return, assessment.conditions, c),
        )
        for c, condition in enumerate(assessment.conditions)
    ]
