#!/bin/sh
# The paper's Figure 3, whole: etas learned on two tasks, early and late, then those, fixed, beside one that goes on
# learning. Called in the repository's folder; called again, it goes on where it stopped.
#   sh runs/paper_fixed/figure3.sh [EARLY LATE [what `mgtopo sweep` takes ...]]
#   sh runs/paper_fixed/figure3.sh 5000 20000 --seeds 8 --episodes 20000      # a part that a CPU can do
set -e
early=${1:-10000} late=${2:-50000} home=runs/paper_fixed results=runs/paper_fixed/results
[ $# -lt 2 ] || shift 2
for task in navigation_N6_l6 predator_prey_N6_l1; do
  run=$results/learned/$task first=$results/eta/${task}_early.npz last=$results/eta/${task}_late.npz
  if [ ! -f $first ]; then
    if [ -d $run ]; then mgtopo resume $run; else
      mgtopo train --task $task --method meta --seeds 1 --episodes $early --out $run
    fi
    mgtopo export $run --seed 0 --part eta --out $first
  fi
  if [ ! -f $last ]; then
    mgtopo resume $run --episodes $late
    mgtopo export $run --seed 0 --part eta --out $last
  fi
done
mgtopo sweep $home --out $results/fixed "$@"
mgtopo verdicts $results/fixed
