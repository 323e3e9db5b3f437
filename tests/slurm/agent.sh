#!/usr/bin/env bash
# What HyperPod's agent does on the controller of a cluster that cluster.sh started:
# takes a node that is gone out of slurm.conf, or puts a new one in and starts it.
#
#     agent.sh DIR gone|added NAME
#
# Several may run at once: they take turns, and one does the work of all that wait.
# Slurm 22.05 ends itself at a reconfigure that changes the number of nodes, so
# slurmctld is started anew each time, and all slurmd report to it at once.
set -euo pipefail

dir=$1
change=$2
name=$3
here=$(dirname "${BASH_SOURCE[0]}")
export SLURM_CONF=$dir/slurm.conf

flock "$dir/changes.lock" sh -c 'echo "$1 $2" >>"$3"' - "$change" "$name" "$dir/changes"
exec 9>"$dir/agent.lock"
flock 9
flock "$dir/changes.lock" sh -c '[ ! -s "$1" ] || mv "$1" "$2"' - "$dir/changes" "$dir/changes.now"
# Whoever was before us has done ours, too.
[ -e "$dir/changes.now" ] || exit 0

awk '
    FNR == NR { change[$2] = $1; next }
    /^SlurmctldPort=/ { first = substr($0, 15) + 1 }
    /^NodeName=ip-/ {
        name = substr($1, 10)
        port = $0; sub(/.*Port=/, "", port)
        if (change[name] == "gone") next
        taken[port] = 1; names[name] = 1
        list = list (list == "" ? "" : ",") name
    }
    /^PartitionName=/ {
        # Once, before the first partition, when all nodes are known.
        if (!is_added) for (name in change) if (change[name] == "added" && !(name in names)) {
            while (first in taken) first++
            taken[first] = 1; names[name] = 1
            print "NodeName=" name " NodeHostname=localhost NodeAddr=127.0.0.1 Port=" first
            list = list (list == "" ? "" : ",") name
        }
        is_added = 1
        nodes = $2; sub(/^Nodes=/, "", nodes)
        if ($1 == "PartitionName=gpu") $2 = "Nodes=" list
        else if (!(nodes in names)) next
    }
    { print }
' "$dir/changes.now" "$dir/slurm.conf" >"$dir/slurm.conf.new"
mv "$dir/slurm.conf.new" "$dir/slurm.conf"

"$here/cluster.sh" halt "$dir"
"$here/cluster.sh" resume "$dir"
while read -r change name; do
    [ "$change" = added ] || continue
    mkdir -p "$dir/spool/$name"
    # -b: as a machine that has just booted. The lock is not for a daemon to keep.
    slurmd -b -N "$name" 9>&-
done <"$dir/changes.now"
for pid in "$dir"/run/ip-*.pid; do
    kill -HUP "$(cat "$pid")" 2>/dev/null || true
done
rm "$dir/changes.now"
