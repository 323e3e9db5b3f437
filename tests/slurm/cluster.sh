#!/usr/bin/env bash
# A real Slurm on this machine's loopback, for tests: slurmctld and so many slurmd,
# each a node with 8 GPUs that are empty files, named as HyperPod names them. Needs
# neither systemd nor root.
#
#     cluster.sh install         # what all that follows needs (Debian's packages)
#     cluster.sh start DIR NODES PORT [OPTION...]
#                                # slurmctld at PORT, the nodes at the ports after it
#     cluster.sh set DIR KEY=VALUE...   # settings while it runs
#     cluster.sh halt DIR        # slurmctld goes away
#     cluster.sh resume DIR      # and comes back
#     cluster.sh kill DIR        # slurmctld is killed as it stands
#     cluster.sh freeze DIR      # slurmctld is stopped, and answers nobody
#     cluster.sh thaw DIR        # and goes on
#     cluster.sh gone DIR NODE   # a node's machine is no more, nor what ran on it
#     cluster.sh back DIR NODE   # another machine of its name has started
#     cluster.sh stranger DIR    # DIR/stranger.conf has clients with another key
#     cluster.sh stop DIR
#
# 1 to 64 nodes are in the partition gpu, the last one in the partition last, too.
# Options:
#     names=group   nodes are called workers-1, workers-2 ... instead of ip-10-0-0-1 ...
#     others        two nodes more, in no partition but dev, which has all nodes: a
#                   login node, and one of this machine's own name, which is what
#                   slurmctld runs on
#     KEY=VALUE     takes the place of our lines of slurm.conf with that key. Two of them
#                   do more: another SlurmUser= owns what slurmctld writes, and
#                   AccountingStorageType=accounting_storage/slurmdbd brings a MariaDB,
#                   reached by its socket alone, and a slurmdbd at the port after the nodes'
# Lines of DIR/extra.conf, if there is one, become part of the configuration.
#
# Clients then need SLURM_CONF=DIR/slurm.conf.
set -euo pipefail

verb=$1
if [ "$verb" = install ]; then
    exec "$(dirname "${BASH_SOURCE[0]}")/../../scripts/components.sh" slurm
fi
dir=$2
export SLURM_CONF=$dir/slurm.conf

# Ended, or waiting to be reaped.
is_over() {
    local state
    state=$(awk '/^State:/ { print $2 }' "/proc/$1/status" 2>/dev/null) || return 0
    [ -z "$state" ] || [ "$state" = Z ]
}

# Ends the process of a pid file, by force after 10 seconds.
end() {
    local pid
    pid=$(cat "$1" 2>/dev/null) || return 0
    [ -n "$pid" ] || return 0
    kill "$pid" 2>/dev/null || return 0
    for _ in $(seq 100); do
        if is_over "$pid"; then return 0; fi
        sleep 0.1
    done
    kill -9 "$pid" 2>/dev/null || true
}

# The name of worker N.
worker() {
    case $names in
        group) echo "workers-$1" ;;
        *) echo "ip-10-0-0-$1" ;;
    esac
}

# The login node's name, as the others are called.
login() {
    case $names in
        group) echo "login-1" ;;
        *) echo "ip-10-0-1-1" ;;
    esac
}

configure() {
    local nodes=$1 port=$2 user n
    user=$(id -un)
    cat <<CONF
ClusterName=trimtab
SlurmctldHost=$(hostname -s)(127.0.0.1)
SlurmctldPort=$port
SlurmUser=$user
SlurmdUser=$user
AuthType=auth/munge
AuthInfo=socket=$dir/munge/socket
# Nothing listens beyond this machine.
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool/%n
SlurmctldPidFile=$dir/run/slurmctld.pid
SlurmdPidFile=$dir/run/node-%n.pid
SlurmctldLogFile=$dir/log/slurmctld.log
SlurmdLogFile=$dir/log/node-%n.log
SwitchType=switch/none
MpiDefault=none
ProctrackType=proctrack/pgid
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=1,sched_interval=1,batch_sched_delay=0,sched_min_interval=0
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
SlurmdTimeout=10
KillWait=2
MinJobAge=60
# A job whose node came back without it is missed soon: after this and 10 seconds.
BatchStartTimeout=1
MaxJobCount=30000
MaxArraySize=20001
# A node that is asked to restart does not, on this machine.
RebootProgram=/bin/true
# The machine has fewer processors than its nodes say.
SlurmdParameters=config_overrides
GresTypes=gpu
$([ ! -f "$dir/extra.conf" ] || cat "$dir/extra.conf")
NodeName=DEFAULT CPUs=8 Sockets=1 CoresPerSocket=8 ThreadsPerCore=1 RealMemory=32000 Gres=gpu:8
CONF
    for n in $(seq "$nodes"); do
        echo "NodeName=$(worker "$n") NodeHostname=localhost NodeAddr=127.0.0.1 Port=$((port + n))"
    done
    echo "PartitionName=gpu Nodes=$(worker "[1-$nodes]") Default=YES MaxTime=INFINITE State=UP"
    echo "PartitionName=last Nodes=$(worker "$nodes") MaxTime=02:00:00 State=UP"
    if [ -n "$others" ]; then
        echo "NodeName=$(login) NodeHostname=localhost NodeAddr=127.0.0.1 Port=$((port + nodes + 1))"
        echo "NodeName=$(hostname -s) NodeAddr=127.0.0.1 Port=$((port + nodes + 2))"
        echo "PartitionName=dev Nodes=ALL MaxTime=INFINITE State=UP"
    fi
}

# Whatever runs for a node: its slurmd and its steps write its log, its jobs have its
# name and this cluster in their environment.
processes_of() {
    find /proc/[0-9]*/fd -lname "$dir/log/node-$1.log" 2>/dev/null | cut -d/ -f3
    grep -lszxF "SLURM_CONF=$dir/slurm.conf" /proc/[0-9]*/environ 2>/dev/null |
        xargs -r grep -lszxF "SLURMD_NODENAME=$1" 2>/dev/null | cut -d/ -f3
}

# Puts settings in the place of those that are in slurm.conf.
settings() {
    local line
    for line in "$@"; do
        sed -i "/^${line%%=*}=/d" "$dir/slurm.conf"
        echo "$line" >>"$dir/slurm.conf"
    done
}

# What slurm.conf says about a key.
setting() { sed -n "s/^$1=//p" "$dir/slurm.conf"; }

# Waits for up to 15 seconds for a command to succeed.
wait_for() {
    for _ in $(seq 150); do
        if "$@" >/dev/null 2>&1; then return; fi
        sleep 0.1
    done
    echo "in vain: $*" >&2
    exit 1
}

# A MariaDB that knows SlurmUser by its socket, so that there is no password, and a
# slurmdbd at this port.
start_accounting() {
    local port=$1 slurm_user owner server database=$dir/database
    slurm_user=$(setting SlurmUser)
    owner=$(id -un)
    # MariaDB does not like to be root.
    if [ "$(id -u)" -eq 0 ]; then owner=mysql; fi
    mkdir -p "$database"
    chmod 711 "$database"
    if [ "$(id -u)" -eq 0 ]; then chown "$owner" "$database"; fi
    server=(--no-defaults --user="$owner" --datadir="$database/data")
    mariadb-install-db "${server[@]}" --skip-test-db --skip-name-resolve >"$database/install.log"
    mariadbd "${server[@]}" --socket="$database/socket" --pid-file="$database/mariadbd.pid" \
        --skip-networking --innodb-buffer-pool-size=64M --innodb-log-file-size=16M \
        --innodb-lock-wait-timeout=900 --innodb-flush-log-at-trx-commit=0 \
        >"$database/mariadbd.log" 2>&1 </dev/null &
    local client=(mariadb --no-defaults --socket="$database/socket")
    wait_for "${client[@]}" -e 'select 1'
    "${client[@]}" -e "
        create user if not exists '$slurm_user'@localhost identified via unix_socket;
        grant all on slurm_acct_db.* to '$slurm_user'@localhost;"
    settings AccountingStorageHost=127.0.0.1 "AccountingStoragePort=$port" \
        "AccountingStoragePass=$dir/munge/socket" AccountingStorageTRES=gres/gpu
    (umask 077 && cat >"$dir/slurmdbd.conf") <<CONF
AuthType=auth/munge
AuthInfo=socket=$dir/munge/socket
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort=$port
SlurmUser=$slurm_user
CommunicationParameters=NoInAddrAny
LogFile=$dir/log/slurmdbd.log
PidFile=$dir/run/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=localhost
CONF
    if [ "$(id -u)" -eq 0 ]; then chown "$slurm_user" "$dir/slurmdbd.conf"; fi
    MYSQL_UNIX_PORT=$database/socket slurmdbd
    wait_for sacctmgr -n show cluster
    sacctmgr -i -Q add cluster trimtab >/dev/null
}

# slurmctld answers, and says of every node that it is idle.
wait_for_idle() {
    local nodes=$1
    for _ in $(seq 150); do
        # Answers at once, where other clients wait 9 seconds for slurmctld.
        if scontrol ping >/dev/null 2>&1 &&
            [ "$(sinfo -h -N -p gpu -o %T | grep -cx idle)" = "$nodes" ]; then
            return
        fi
        sleep 0.2
    done
    echo "the nodes did not become idle" >&2
    sinfo >&2
    exit 1
}

# The munged of a folder, with a key of its own.
start_munged() {
    (umask 077 && head -c 128 /dev/urandom >"$dir/$1/key")
    munged --force --key-file="$dir/$1/key" --socket="$dir/$1/socket" \
        --pid-file="$dir/run/$2.pid" --log-file="$dir/$1/log" --seed-file="$dir/$1/seed"
}

start_node() {
    mkdir -p "$dir/spool/$1"
    slurmd -N "$@"
}

case $verb in
    start)
        nodes=$3
        port=$4
        shift 4
        names=ip others=
        given=()
        for option in "$@"; do
            case $option in
                names=ip | names=group) names=${option#names=} ;;
                others) others=yes ;;
                [A-Z]*=*) given+=("$option") ;;
                *)
                    echo "no such option: $option" >&2
                    exit 64
                    ;;
            esac
        done
        mkdir -p "$dir"/{munge,state,spool,run,log,gpus}
        chmod 711 "$dir" "$dir/munge"
        touch "$dir"/gpus/gpu{0..7}
        configure "$nodes" "$port" >"$dir/slurm.conf"
        settings "${given[@]}"
        if [ "$(setting SlurmUser)" != "$(id -un)" ]; then
            chown "$(setting SlurmUser)" "$dir"/{state,log,run}
        fi
        printf 'AutoDetect=off\nName=gpu File=%s/gpus/gpu[0-7]\n' "$dir" >"$dir/gres.conf"
        start_munged munge munged
        if [ "$(setting AccountingStorageType)" = accounting_storage/slurmdbd ]; then
            start_accounting "$((port + nodes + 3))"
        fi
        slurmctld -i
        for n in $(seq "$nodes"); do start_node "$(worker "$n")"; done
        if [ -n "$others" ]; then
            start_node "$(login)"
            start_node "$(hostname -s)"
        fi
        wait_for_idle "$nodes"
        ;;
    set)
        shift 2
        settings "$@"
        scontrol reconfigure
        ;;
    halt) end "$dir/run/slurmctld.pid" ;;
    resume) slurmctld ;;
    kill) kill -9 "$(cat "$dir/run/slurmctld.pid")" ;;
    freeze) kill -STOP "$(cat "$dir/run/slurmctld.pid")" ;;
    thaw) kill -CONT "$(cat "$dir/run/slurmctld.pid")" ;;
    gone)
        # Twice: a job may have been about to start.
        for _ in 1 2; do
            # One that ends by itself meanwhile is as good.
            for pid in $(processes_of "$3"); do kill -9 "$pid" 2>/dev/null || true; done
        done
        # Nothing of that machine's disk is on the next one's.
        rm -rf "$dir/spool/$3" "$dir/run/node-$3.pid"
        ;;
    # That it was booted (-b) is how slurmctld learns that its jobs are no more.
    back) start_node "$3" -b ;;
    stranger)
        mkdir -p "$dir/strange"
        chmod 711 "$dir/strange"
        start_munged strange stranger
        sed "s|^AuthInfo=.*|AuthInfo=socket=$dir/strange/socket|" "$dir/slurm.conf" >"$dir/stranger.conf"
        ;;
    stop)
        # Steps of jobs outlive their slurmd.
        if scontrol ping >/dev/null 2>&1; then
            squeue -h -a -o %A | sort -u | xargs -r scancel 2>/dev/null || true
            for _ in $(seq 50); do
                [ -n "$(squeue -h -a)" ] || break
                sleep 0.1
            done
        fi
        for pid in "$dir"/run/node-*.pid "$dir/run/slurmctld.pid" "$dir/run/slurmdbd.pid" \
            "$dir/database/mariadbd.pid" "$dir"/run/{munged,stranger}.pid; do
            end "$pid"
        done
        ;;
    *)
        echo "no such verb: $verb" >&2
        exit 64
        ;;
esac
