#!/usr/bin/env bash
# The table that docs/slurm-comparison.md quotes: trimtab, Slurm's power saving and the
# shell recipe of HyperPod's guides on real Slurms in the same worlds. Arguments go to
# tests/slurm/table/table.py:
#
#     scripts/slurm-table.sh --minutes 60               # what is quoted, 9 minutes
#     scripts/slurm-table.sh --seeds 2 --minutes 75     # for more, 21 minutes
#     scripts/slurm-table.sh --minutes 30               # for trying, 5 minutes
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

scripts/components.sh wire slurm
cargo build -q -p trimtab
exec target/components/venv/bin/python tests/slurm/table/table.py --trimtab target/debug/trimtab "$@"
