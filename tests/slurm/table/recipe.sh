#!/usr/bin/env bash
# The recipe of HyperPod's guides for Slurm clusters, as an operator's cron job: list the
# idle nodes with sinfo, set them DOWN with a reason, look up their instance ids, delete
# them. It runs once a minute. It deletes a node that was idle in every run for TIMER
# seconds, and keeps FLOOR nodes. Environment: SITE (a folder), ENDPOINT, TIMER, FLOOR, AWS
# (the aws command).
set -euo pipefail

mkdir -p "$SITE/idle"
now=${EPOCHREALTIME/./}
idle=$(sinfo --noheader --Node --state=idle -o %N | sort -u -V)
for seen in "$SITE"/idle/*; do
    grep -qx "$(basename "$seen")" <<<"$idle" || rm -f "$seen"
done
names=()
for name in $idle; do
    [ -e "$SITE/idle/$name" ] || echo "$now" >"$SITE/idle/$name"
    since=$(<"$SITE/idle/$name")
    awk "BEGIN { exit !(($now - $since) / 1e6 >= $TIMER) }" && names+=("$name")
done
working=$(sinfo --noheader --Node --state=idle,alloc,mix,comp -o %N | sort -u | wc -l)
spare=$((working - FLOOR))
[ "$spare" -gt 0 ] && [ ${#names[@]} -gt 0 ] || exit 0
# Nodes with the highest numbers first, so that the same nodes always stay.
mapfile -t names < <(printf '%s\n' "${names[@]}" | sort -r -V | head -n "$spare")

list=$(IFS=,; echo "${names[*]}")
scontrol update NodeName="$list" State=DOWN Reason=Termination
sinfo -R
ids=()
while read -r id name; do
    for one in "${names[@]}"; do
        if [ "${name%%.*}" = "$one" ]; then ids+=("$id"); fi
    done
done < <("$AWS" --endpoint-url "$ENDPOINT" sagemaker list-cluster-nodes --cluster-name research \
    --query 'ClusterNodeSummaries[].[InstanceId,PrivateDnsHostname]' --output text)
"$AWS" --endpoint-url "$ENDPOINT" sagemaker batch-delete-cluster-nodes --cluster-name research \
    --node-ids "${ids[@]}"
