#!/usr/bin/env bash
# What is tested on Slurm 24.11: the adapter by its commands and by slurmrestd, and what
# only slurmrestd can do wrong. Makes the chroot where it is missing
# (scripts/slurm-24.11.sh, about a minute); needs root and debootstrap.
#
#     tests/slurm/suite-24.11.sh [ROOT]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

root=$(realpath -m "${1:-target/components/slurm-24.11}")
scripts/slurm-24.11.sh create "$root"
export TRIMTAB_SLURM_CHROOT=$root
for way in commands rest; do
    printf '\n=== Slurm 24.11, by %s ===\n' "$way"
    TRIMTAB_SLURM_WAY=$way cargo test -p trimtab-tests --test slurm -- adapter::
done
printf '\n=== slurmrestd ===\n'
cargo test -p trimtab-tests --test slurm -- --ignored rest::
