#!/usr/bin/env bash
# `trimtab simulate --on-node-gone "tests/slurm/node-gone.sh DIR"`: after an instance was
# terminated, kills everything on the Slurm node with its name: slurmd, slurmstepd and the
# processes of jobs. Then agent.sh removes the node from slurm.conf, after
# TRIMTAB_PRUNE_DELAY seconds. Standard input has one line of JSON with the node's name.
# The time from the request to the termination is the world's `delete_delay`.
set -euo pipefail

dir=$1
here=$(dirname "${BASH_SOURCE[0]}")
line=$(cat)
name=$(sed -n 's/.*"name":"\([^"]*\)".*/\1/p' <<<"$line")
[ -n "$name" ] || { echo "no node name in: $line" >&2; exit 1; }
printf '%s %s\n' "$(date +%s.%N)" "$line" >>"$dir/gone.log"
"$here/cluster.sh" gone "$dir" "$name"

# In the background, so that the next node does not wait for the agent.
(
    sleep "${TRIMTAB_PRUNE_DELAY:-0}"
    exec "$here/agent.sh" "$dir" gone "$name"
) </dev/null >>"$dir/log/agent.log" 2>&1 &
