#!/usr/bin/env bash
# Installs the real components that tests use. A test prints SKIPPED if its component is not
# installed. If everything is installed, this script ends at once.
#
#     scripts/components.sh            # all components
#     scripts/components.sh wire       # one component, by name
#
# wire      boto3, botocore and the aws command line in target/components/venv: clients of
#           the endpoint that are not ours (tests/wire); jsonschema, which validates the
#           schema of the configuration
# slurm     slurmctld, slurmd, slurmdbd with MariaDB, and the Slurm commands (Debian's
#           packages), for the Slurm adapter; the tests start their own daemons
#           (tests/slurm/cluster.sh)
# hooks     jq (Debian's package), for the shipped example of a gate
# systemd   systemd-analyze and systemd --user, for the unit (Debian's packages)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

components=target/components

say() { printf '%s: %s\n' "$0" "$*" >&2; }
fail() { say "$*"; exit 1; }

# Installs the named Debian packages.
packages() {
    [ $# -gt 0 ] || return 0
    command -v apt-get >/dev/null || fail "install $*: there is no apt-get here"
    local as_root=()
    if [ "$(id -u)" -ne 0 ]; then as_root=(sudo); fi
    "${as_root[@]}" apt-get update -q
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -q --no-install-recommends "$@"
}

systemd() {
    if command -v systemd-analyze >/dev/null && [ -x /lib/systemd/systemd ]; then
        return
    fi
    packages systemd
}

hooks() {
    command -v jq >/dev/null || packages jq
}

slurm() {
    local missing=() program
    for program in slurmctld slurmd slurmdbd scontrol munged mariadbd; do
        command -v "$program" >/dev/null || missing+=("$program")
    done
    if [ ${#missing[@]} -eq 0 ]; then
        return
    fi
    packages mariadb-server munge slurm-client slurm-wlm-basic-plugins slurm-wlm-mysql-plugin \
        slurmctld slurmd slurmdbd
}

# A file in tests/wire pins all versions, also of dependencies. If it has changed, everything
# is installed again.
wire() {
    local venv=$components/venv pins=tests/wire/requirements.txt
    if cmp -s "$pins" "$venv/installed.txt"; then
        return
    fi
    local missing=()
    command -v python3 >/dev/null || missing+=(python3)
    # Debian has the module venv in one package and ensurepip, which it needs, in another.
    python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
    packages "${missing[@]}"
    mkdir -p "$components"
    rm -rf "$venv"
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check --no-deps -r "$pins"
    "$venv/bin/pip" --disable-pip-version-check check
    # Last, so that an interrupted installation starts again at the next run.
    cp "$pins" "$venv/installed.txt"
}

if [ $# -eq 0 ]; then
    set -- wire systemd slurm hooks
fi
for component in "$@"; do
    case $component in
        wire) wire ;;
        systemd) systemd ;;
        slurm) slurm ;;
        hooks) hooks ;;
        *) fail "no component is called $component: wire, systemd, slurm, hooks" ;;
    esac
done
