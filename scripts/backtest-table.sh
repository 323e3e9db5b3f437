#!/usr/bin/env bash
# The tables that docs/backtest.md quotes: policies side by side on the recorded
# clusters of traces/. Further arguments go to every backtest, such as
# `--boot 30m --delay-value 4`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

cargo build -q -p trimtab
backtest() { target/debug/trimtab backtest "$@"; }

backtest --trace traces/philly_cluster.nodes.csv.gz "$@"
backtest --trace traces/philly_vc.jobs.csv.gz --days 21-107 --min-jobs 300 "$@"
backtest --trace traces/alibaba_fgd_2023.jobs.csv.gz --group-by all "$@"
backtest --trace traces/surf_lisa_2022.jobs.csv.gz --days 2-122 "$@"
