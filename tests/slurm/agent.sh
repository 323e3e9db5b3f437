#!/usr/bin/env bash
# Simulates HyperPod's agent on the controller of a cluster that cluster.sh started:
# removes a terminated node from slurm.conf, or adds a new node and starts its slurmd.
#
#     agent.sh DIR gone|added NAME
#
# Several instances may run at the same time: a lock serializes them, and one instance
# processes the changes of all that wait. Slurm 22.05 exits at a reconfigure that changes
# the number of nodes, so each change restarts slurmctld, and all slurmd then register.
set -euo pipefail

dir=$1
change=$2
name=$3
cluster=$(dirname "${BASH_SOURCE[0]}")/cluster.sh
export SLURM_CONF=$dir/slurm.conf

flock "$dir/changes.lock" sh -c 'echo "$1 $2" >>"$3"' - "$change" "$name" "$dir/changes"
exec 9>"$dir/agent.lock"
flock 9
flock "$dir/changes.lock" sh -c '[ ! -s "$1" ] || mv "$1" "$2"' - "$dir/changes" "$dir/changes.now"
# An earlier instance has already processed this change.
[ -e "$dir/changes.now" ] || exit 0

# The input files: the changes, slurm.conf to read the ports in use, slurm.conf to rewrite.
awk '
    FNR == 1 { file++ }
    file == 1 { change[$2] = $1; next }
    file == 2 {
        if (/^SlurmctldPort=/) first = substr($0, 15) + 1
        if (/Port=[0-9]+$/ && change[substr($1, 10)] != "gone") taken[port_of($0)] = 1
        next
    }
    # Nodes before the first partition are workers.
    /^NodeName=/ && $1 != "NodeName=DEFAULT" && !workers_end {
        name = substr($1, 10)
        if (change[name] == "gone") next
        known[name] = 1
        list = list (list == "" ? "" : ",") name
    }
    /^PartitionName=/ {
        if (!workers_end) for (name in change) if (change[name] == "added" && !(name in known)) {
            while (first in taken) first++
            taken[first] = 1
            print "NodeName=" name " NodeHostname=localhost NodeAddr=127.0.0.1 Port=" first
            list = list (list == "" ? "" : ",") name
        }
        workers_end = 1
        nodes = $2; sub(/^Nodes=/, "", nodes)
        if ($1 == "PartitionName=gpu") $2 = "Nodes=" list
        else if (change[nodes] == "gone") next
    }
    { print }
    function port_of(line) { sub(/.*Port=/, "", line); return line }
' "$dir/changes.now" "$dir/slurm.conf" "$dir/slurm.conf" >"$dir/slurm.conf.new"
mv "$dir/slurm.conf.new" "$dir/slurm.conf"

# Close the lock file (9>&-), so that the daemons do not keep the lock.
"$cluster" halt "$dir" 9>&-
"$cluster" resume "$dir" 9>&-
while read -r change name; do
    if [ "$change" = added ]; then "$cluster" back "$dir" "$name" 9>&-; fi
done <"$dir/changes.now"
for pid in "$dir"/run/node-*.pid; do
    kill -HUP "$(cat "$pid")" 2>/dev/null || true
done
rm "$dir/changes.now"
