#!/usr/bin/env bash
# Runs Slurm 24.11 of Debian trixie on the loopback address of this machine, for tests. It
# runs in a chroot, because its packages conflict with those of another release. Needs root,
# and debootstrap for the chroot; no systemd.
#
#     slurm-24.11.sh create [ROOT]           # makes the chroot; about a minute, 300 MB, once
#     slurm-24.11.sh start DIR NODES PORT [OPTION...]   # slurmrestd at PORT+NODES+4
#     slurm-24.11.sh halt-rest|resume-rest DIR   # stops and restarts slurmrestd
#     slurm-24.11.sh VERB DIR ...            # every other verb of tests/slurm/cluster.sh
#
# The default of ROOT is target/components/slurm-24.11. DIR is a folder in ROOT. The cluster
# is that of tests/slurm/cluster.sh, and in addition:
#
#     ROOT/bin-outside   its commands, for use outside with SLURM_CONF=DIR/slurm.conf
#     DIR/token          a token (JWT) of root, valid for a day
#     DIR/rest/address   TCP address of slurmrestd: http://127.0.0.1:N
#     DIR/rest/socket    socket of slurmrestd
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
say() { printf '%s: %s\n' "$0" "$*" >&2; }
fail() { say "$*"; exit 1; }

[ $# -ge 1 ] || fail "no verb: create, start, halt-rest, resume-rest, stop, or one of cluster.sh"
[ "$(id -u)" -eq 0 ] || fail "a chroot needs root"

# Runs a command in the chroot. The mounts exist only for this command and its children, so
# nothing stays mounted on this machine.
inside() {
    unshare --mount --propagation private -- \
        sh -c 'mount -t proc proc "$1/proc" && exec chroot "$@"' sh "$root" "$@"
}

# Wrappers that run its commands from outside, with the path that the configuration has inside.
wrap_commands() {
    local program
    mkdir -p "$root/bin-outside" "$root/clusters"
    for program in scontrol squeue sinfo sbatch scancel; do
        cat >"$root/bin-outside/$program" <<WRAPPER
#!/bin/sh
exec /usr/sbin/chroot "$root" /usr/bin/env SLURM_CONF="\${SLURM_CONF#"$root"}" \\
    TZ="\${TZ:-UTC}" LC_ALL=C.UTF-8 /usr/bin/$program "\$@"
WRAPPER
        chmod 755 "$root/bin-outside/$program"
    done
}

create() {
    if [ -f "$root/complete" ]; then
        return
    fi
    command -v debootstrap >/dev/null || fail "install debootstrap (Debian's package)"
    rm -rf --one-file-system "$root"
    mkdir -p "$root"
    debootstrap --variant=minbase \
        --include=slurmctld,slurmd,slurm-client,slurmrestd,munge,slurm-wlm-jwt-plugin \
        trixie "$root" http://deb.debian.org/debian
    local version
    version=$(inside slurmctld -V)
    case $version in
        "slurm-wlm 24.11."* | "slurm 24.11."*) say "$version" ;;
        *) fail "trixie has $version, and not 24.11" ;;
    esac
    # Last, so that an interrupted creation starts again at the next run.
    touch "$root/complete"
}

# Finds the chroot of a folder, and the path of the folder inside it.
find_root() {
    root=$dir
    while [ ! -f "$root/complete" ]; do
        root=$(dirname "$root")
        [ "$root" != / ] || fail "$dir is in no chroot of 'create'"
    done
    within=${dir#"$root"}
}

cluster() {
    # The name of this machine must resolve inside.
    cp /etc/hosts "$root/etc/hosts"
    cp "$here/tests/slurm/cluster.sh" "$root/cluster.sh"
    local verb=$1
    shift
    inside bash /cluster.sh "$verb" "$within" "$@"
}

# slurmrestd does not run as root. The token of a request says which user sends it.
start_rest() {
    local address
    address=$(cat "$dir/rest/address")
    # slurmrestd writes no pid file, and several processes start it.
    inside sh -c 'echo $$ >"$0/run/slurmrestd.pid" && exec "$@"' "$within" \
        setpriv --reuid=65534 --regid=65534 --clear-groups \
        env SLURM_CONF="$within/slurm.conf" SLURM_JWT=daemon \
        slurmrestd -s slurmctld -a rest_auth/jwt \
        "${address#http://}" "unix:$within/rest/socket" \
        </dev/null >"$dir/log/slurmrestd.log" 2>&1 &
    for _ in $(seq 100); do
        if (exec 3<>"/dev/tcp/127.0.0.1/${address##*:}") 2>/dev/null; then return; fi
        sleep 0.1
    done
    cat "$dir/log/slurmrestd.log" >&2
    fail "slurmrestd does not listen"
}

stop_rest() {
    local pid
    pid=$(cat "$dir/run/slurmrestd.pid" 2>/dev/null) || return 0
    kill "$pid" 2>/dev/null || true
    for _ in $(seq 50); do
        [ -d "/proc/$pid" ] && ! grep -qs '^State:.Z' "/proc/$pid/status" || break
        sleep 0.1
    done
    rm -f "$dir/run/slurmrestd.pid" "$dir/rest/socket"
}

start() {
    local nodes=$1 port=$2
    mkdir -p "$dir"/{state,run,log,rest}
    chown 65534:65534 "$dir/rest"
    (umask 077 && head -c 32 /dev/urandom >"$dir/state/jwt.key")
    cat >"$dir/extra.conf" <<CONF
AuthAltTypes=auth/jwt
AuthAltParameters=jwt_key=$within/state/jwt.key
CONF
    echo 'CgroupPlugin=disabled' >"$dir/cgroup.conf"
    cluster start "$@"
    local token
    token=$(inside env SLURM_CONF="$within/slurm.conf" \
        scontrol token username=root lifespan=86400)
    (umask 077 && printf '%s\n' "${token#SLURM_JWT=}" >"$dir/token")
    echo "http://127.0.0.1:$((port + nodes + 4))" >"$dir/rest/address"
    start_rest
}

verb=$1
if [ "$verb" = create ]; then
    root=${2:-$here/target/components/slurm-24.11}
    mkdir -p "$(dirname "$root")"
    # Without symbolic links: file names are compared with this path as a prefix.
    root=$(realpath -m "$root")
    create
    wrap_commands
    exit
fi
[ $# -ge 2 ] || fail "$verb what folder?"
mkdir -p "$2"
dir=$(realpath "$2")
find_root
shift 2
case $verb in
    start) start "$@" ;;
    halt-rest) stop_rest ;;
    resume-rest) start_rest ;;
    stop)
        stop_rest
        cluster stop
        ;;
    *) cluster "$verb" "$@" ;;
esac
