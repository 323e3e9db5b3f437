#!/usr/bin/env bash
# Real components that tests use where they are installed, and say SKIPPED where
# they are not. Run once; when everything is there it ends at once.
#
#     scripts/components.sh            # all of them
#     scripts/components.sh wire       # one of them, by name
#
# wire      boto3, botocore and the aws command line in target/components/venv: clients
#           of the endpoint that we did not write (tests/wire); jsonschema, which judges
#           the configuration's schema
# slurm     slurmctld, slurmd, slurmdbd with a MariaDB, and clients (Debian's packages), for
#           the Slurm adapter; the tests start daemons of their own (tests/slurm/cluster.sh)
# hooks     jq (Debian's package), for the shipped example of a gate
# systemd   systemd-analyze and systemd --user, for the unit (Debian's packages)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

components=target/components

say() { printf '%s: %s\n' "$0" "$*" >&2; }
fail() { say "$*"; exit 1; }

# Installs Debian's packages, if any are named.
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

# The versions are pinned, dependencies included, by a file that stands beside the
# program that uses them; a changed file is installed anew.
wire() {
    local venv=$components/venv pins=tests/wire/requirements.txt
    if cmp -s "$pins" "$venv/installed.txt"; then
        return
    fi
    local missing=()
    command -v python3 >/dev/null || missing+=(python3)
    # Debian ships the module without what it takes to make one.
    python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
    packages "${missing[@]}"
    mkdir -p "$components"
    rm -rf "$venv"
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check --no-deps -r "$pins"
    "$venv/bin/pip" --disable-pip-version-check check
    # Last, so that an installation that was cut short is begun again.
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
