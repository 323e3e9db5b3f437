#!/usr/bin/env bash
# Real components that tests use where they are installed, and say SKIPPED where
# they are not. Run once; when everything is there it ends at once.
#
#     scripts/components.sh            # all of them
#     scripts/components.sh wire       # one of them, by name
#
# wire   boto3, botocore and the aws command line in target/components/venv: clients
#        of the endpoint that we did not write (tests/wire)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

components=target/components

say() { printf '%s: %s\n' "$0" "$*" >&2; }
fail() { say "$*"; exit 1; }

# The versions are pinned, dependencies included, by a file that stands beside the
# program that uses them; a changed file is installed anew.
wire() {
    local venv=$components/venv pins=tests/wire/requirements.txt
    if cmp -s "$pins" "$venv/installed.txt"; then
        return
    fi
    command -v python3 >/dev/null || fail "python3 is missing: apt-get install python3 python3-venv"
    mkdir -p "$components"
    rm -rf "$venv"
    python3 -m venv "$venv" || fail "python3 cannot make a venv: apt-get install python3-venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check --no-deps -r "$pins"
    "$venv/bin/pip" --disable-pip-version-check check
    # Last, so that an installation that was cut short is begun again.
    cp "$pins" "$venv/installed.txt"
}

if [ $# -eq 0 ]; then
    set -- wire
fi
for component in "$@"; do
    case $component in
        wire) wire ;;
        *) fail "no component is called $component: wire" ;;
    esac
done
