#!/usr/bin/env bash
# Prints the tables of docs/backtest.md: all policies on the recorded clusters of traces/.
# Arguments are passed to every backtest, for example `--boot 30m --delay-value 4`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

cargo build -q -p trimtab
backtest() { target/debug/trimtab backtest "$@"; }

backtest --trace traces/philly_cluster.nodes.csv.gz "$@"
backtest --trace traces/philly_vc.jobs.csv.gz --days 21-107 --min-jobs 300 "$@"
backtest --trace traces/alibaba_fgd_2023.jobs.csv.gz --group-by all "$@"
backtest --trace traces/surf_lisa_2022.jobs.csv.gz --days 2-122 "$@"
