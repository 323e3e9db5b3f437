#!/usr/bin/env bash
# `trimtab simulate --on-node-added "tests/slurm/node-added.sh DIR"`: after an instance has
# booted, adds a Slurm node with its name. Standard input has one line of JSON with the
# name.
set -euo pipefail

dir=$1
here=$(dirname "${BASH_SOURCE[0]}")
line=$(cat)
name=$(sed -n 's/.*"name":"\([^"]*\)".*/\1/p' <<<"$line")
[ -n "$name" ] || { echo "no node name in: $line" >&2; exit 1; }
printf '%s %s\n' "$(date +%s.%N)" "$line" >>"$dir/added.log"
"$here/agent.sh" "$dir" added "$name" </dev/null >>"$dir/log/agent.log" 2>&1 &
