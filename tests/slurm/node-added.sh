#!/usr/bin/env bash
# `trimtab simulate --on-node-added "tests/slurm/node-added.sh DIR"`: an instance has
# booted, so there is a Slurm node of its name. One line of JSON on the input says
# which.
set -euo pipefail

dir=$1
here=$(dirname "${BASH_SOURCE[0]}")
line=$(cat)
name=$(sed -n 's/.*"name":"\([^"]*\)".*/\1/p' <<<"$line")
[ -n "$name" ] || { echo "no name in: $line" >&2; exit 1; }
printf '%s %s\n' "$(date +%s.%N)" "$line" >>"$dir/added.log"
"$here/agent.sh" "$dir" added "$name" </dev/null >>"$dir/log/agent.log" 2>&1 &
