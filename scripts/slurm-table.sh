#!/usr/bin/env bash
# Prints the table of docs/slurm-comparison.md: trimtab, Slurm's power saving and the shell
# recipe of HyperPod's guides, each on a real Slurm in the same simulated world. Arguments
# are passed to tests/slurm/table/table.py:
#
#     scripts/slurm-table.sh --minutes 60               # the published table; takes 9 minutes
#     scripts/slurm-table.sh --seeds 2 --minutes 75     # more data; takes 21 minutes
#     scripts/slurm-table.sh --minutes 30               # a short run; takes 5 minutes
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

scripts/components.sh wire slurm
cargo build -q -p trimtab
exec target/components/venv/bin/python tests/slurm/table/table.py --trimtab target/debug/trimtab "$@"
