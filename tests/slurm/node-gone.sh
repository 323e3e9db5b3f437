#!/usr/bin/env bash
# `trimtab simulate --on-node-gone "tests/slurm/node-gone.sh DIR"`: an instance was
# terminated, so everything on the Slurm node of its name ends in that moment, slurmd,
# slurmstepd and the processes of jobs, and HyperPod's agent takes it out of slurm.conf.
# One line of JSON on the input says which node. The time from the request to here is
# the world's `delete_delay`; TRIMTAB_PRUNE_DELAY is the agent's, in seconds.
set -euo pipefail

dir=$1
here=$(dirname "${BASH_SOURCE[0]}")
line=$(cat)
name=$(sed -n 's/.*"name":"\([^"]*\)".*/\1/p' <<<"$line")
[ -n "$name" ] || { echo "no name in: $line" >&2; exit 1; }
printf '%s %s\n' "$(date +%s.%N)" "$line" >>"$dir/gone.log"
"$here/cluster.sh" gone "$dir" "$name"

# The next node does not wait for the agent.
(
    sleep "${TRIMTAB_PRUNE_DELAY:-0}"
    exec "$here/agent.sh" "$dir" gone "$name"
) </dev/null >>"$dir/log/agent.log" 2>&1 &
