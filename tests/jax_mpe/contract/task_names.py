"""The names that the package must register, in order."""

TOYS = (
    "toy_crossed_goals",
    "toy_late_goals",
    "toy_follow_holder",
    "toy_follow_two",
    "toy_public",
    "toy_switch_riddle",
)
NAVIGATION = tuple(f"navigation_{s}" for s in ("N3_l3", "N6_l1", "N6_l6"))
PREDATOR_PREY = tuple(f"predator_prey_{s}" for s in ("N3_l3", "N6_l1", "N6_l6"))
PUSH = ("push_N3", "push_N6")
REFERENCE = ("reference_N2", "reference_N3", "reference_N6")
NAMED = (*NAVIGATION, *PREDATOR_PREY, *PUSH, *REFERENCE, *TOYS)

KNOWING = (*REFERENCE, "toy_follow_holder", "toy_follow_two", "toy_switch_riddle")
"""Those that know who should hear whom."""
