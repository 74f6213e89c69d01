"""What the columns of `metrics.parquet` mean.

One scheme: a name says what was measured, an ending whose edges. Without an ending, and with ``_sampled``, edges were
drawn as in training; ``_greedy`` opens those that are more likely open than not; ``train_`` means training
episodes since the evaluation before; ``final_`` those of the final evaluation, which alone "final return" means. What a
rule or an interpreter measures of its own keeps the name that it gave, and its words stand in its file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

GLOSSARY = {
    "episode": "training episodes of the seed until this evaluation, an update after each; 0 is the untrained team",
    "env_steps": "environment steps of the seed until this evaluation, those of the warm-up included",
    "seed": "number of the seed",
    "return_sampled": "mean return of the evaluation episodes, edges drawn by their probability",
    "return_greedy": "mean return of the same episodes, edges open where that is more likely than not",
    "train_return": "mean return of the training episodes since the evaluation before, exploration included",
    "edge_rate": "share of possible edges open in evaluation episodes, edges drawn; half for one round of two",
    "edge_rate_greedy": "share of possible edges open in evaluation episodes, greedy edges",
    "train_edge_rate": "share of possible edges open in training since the evaluation before",
    "pair_rate": "[N, N], row by row: share of steps in which agent i (row) received from j (column), edges drawn",
    "edge_precision": "of the edges open in evaluation episodes, the share that is right by the task",
    "edge_recall": "of the edges that are right by the task, the share open in evaluation episodes",
    "edge_precision_greedy": "edge_precision of greedy edges",
    "edge_recall_greedy": "edge_recall of greedy edges",
    "critic_loss": "mean squared TD error of the critic's batches since the evaluation before",
    "policy_loss": "loss of the policies: minus the critic's value of their actions, and the action penalty",
    "gate_entropy": "mean entropy of an edge's probability in training, in nats; at most 0.693",
    "edges_per_step": "edges open in a step of evaluation episodes, edges drawn",
    "messages_per_step": "agents in a step whom anybody hears, edges drawn",
    "bits_per_step": "bits that messages take in a step: of each open edge and round",
    "edges_per_step_greedy": "edges_per_step of greedy edges",
    "messages_per_step_greedy": "messages_per_step of greedy edges",
    "bits_per_step_greedy": "bits_per_step of greedy edges",
    "final_return_sampled": "the final return: return_sampled of the final evaluation's other episodes; NaN before",
    "final_return_greedy": "return_greedy of the final evaluation; NaN in rows before the last",
    "final_edge_rate": "edge_rate of the final evaluation; NaN in rows before the last",
    "final_edge_rate_greedy": "edge_rate_greedy of the final evaluation; NaN in rows before the last",
    "finite": "whether the seed's parameters are still finite numbers; once false, the seed is frozen",
}
"""A sentence for each column that does not hang on the method; a table's own glossary is in its schema's metadata."""
FRAME = {
    "run": "folder of the run",
    "task": "name of the task",
    "method": "name of the method, or its axes",
    "hours": "hours since the run began, without interruptions, until this evaluation was recorded",
}
"""Columns that `RunData.to_pandas` adds."""
META_TABLE = {
    "step": "updates of the rule until then, this one included",
    "task": "name of the task whose lifetimes these are",
    "return": "mean priced return (each open edge is paid for) in the task's own scale: of fresh episodes after the "
    "update, or of all episodes of whole lives under evolution",
    "edge_rate": "mean probability of an edge in those episodes; under evolution the share of edges that were open",
    "correction": "size of f, the root mean square of what the rule adds to an edge's advantage",
    "meta_objective": "what the rule ascends: what gates are worth, with entropy, less penalties on f",
    "gate_entropy": "mean entropy of an edge's probability in fresh episodes, in nats; at most 0.693",
    "difference": "evolution alone: by how much the returns of the two lives of a pair differ, without sign",
    "sound": "share of the lifetimes, or pairs, that were finite; all means are over those, NaN where there is none",
}
"""The columns of a meta-training's table, which has a row for each update and task."""
META_LAST = 100
"""Updates over which the figures of a finished meta-training are means."""
UNKNOWN = "a measure of the rule, of the interpreter or of the task, by its own name"


def described(columns: Iterable[str], own: Mapping[str, str] | None = None) -> dict[str, str]:
    """The glossary of a table that has these columns, `own` the words of its rule and its interpreter."""
    return {name: GLOSSARY.get(name) or (own or {}).get(name, UNKNOWN) for name in columns}
