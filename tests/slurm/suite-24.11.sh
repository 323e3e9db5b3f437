#!/usr/bin/env bash
# Tests on Slurm 24.11: the adapter with Slurm's commands and with slurmrestd, and the tests
# of slurmrestd alone. Creates the chroot if it is missing (scripts/slurm-24.11.sh, about a
# minute). Needs root and debootstrap.
#
#     tests/slurm/suite-24.11.sh [ROOT]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

root=$(realpath -m "${1:-target/components/slurm-24.11}")
scripts/slurm-24.11.sh create "$root"
export TRIMTAB_SLURM_CHROOT=$root
for way in commands rest; do
    printf '\n=== Slurm 24.11, with %s ===\n' "$way"
    TRIMTAB_SLURM_WAY=$way cargo test -p trimtab-tests --test slurm -- adapter::
done
printf '\n=== slurmrestd ===\n'
cargo test -p trimtab-tests --test slurm -- --ignored rest::
