"""Names for the rules that a learned one is held against; for a recipe to import. Starts no JAX."""

from __future__ import annotations

from purejax_mgtopo.plugins.registry import register_rule

_HOME = "purejax_mgtopo.universal.conditions"

register_rule(
    "misplaced",
    f"{_HOME}:Misplaced",
    "universal, its corrections on other edges",
    files=("member.universal.file",),
)
register_rule("closing", f"{_HOME}:Closing", "the shipped rule as a formula: close edges early")
register_rule("opening", f"{_HOME}:Opening", "the reverse of closing: open edges early")
register_rule("f_zero", f"{_HOME}:Uncorrected", "universal with f = 0, which is REINFORCE")
register_rule("random_eta", f"{_HOME}:Drawn", "universal with a random network, each seed's own")
