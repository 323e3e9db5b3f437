#!/usr/bin/env bash
# Runs a real Slurm on this machine's loopback interface for tests: slurmctld and one
# slurmd per node. Each node has 8 GPUs, which are empty files, and a node name as on
# HyperPod. Needs neither systemd nor root.
#
#     cluster.sh install         # installs the required Debian packages
#     cluster.sh start DIR NODES PORT [OPTION...]
#                                # starts slurmctld on PORT and the nodes on the next ports
#     cluster.sh set DIR KEY=VALUE...   # changes settings of a running cluster
#     cluster.sh halt DIR        # stops slurmctld
#     cluster.sh resume DIR      # starts slurmctld again
#     cluster.sh kill DIR        # kills slurmctld (SIGKILL)
#     cluster.sh freeze DIR      # suspends slurmctld (SIGSTOP), so that it does not answer
#     cluster.sh thaw DIR        # continues slurmctld (SIGCONT)
#     cluster.sh gone DIR NODE   # kills everything that runs on a node
#     cluster.sh back DIR NODE   # starts a new machine with the name of this node
#     cluster.sh stranger DIR    # writes DIR/stranger.conf: clients with a different key
#     cluster.sh stop DIR        # stops the cluster
#
# The 1 to 64 nodes are in partition gpu; the last node is also in partition last.
# Options:
#     names=group   name the nodes workers-1, workers-2 ... instead of ip-10-0-0-1 ...
#     others        add two nodes: a login node, and a node with this machine's own name,
#                   where slurmctld runs. They are only in partition dev, which has all
#                   nodes
#     KEY=VALUE     replace the lines of slurm.conf with this key. Two keys have further
#                   effects: with another SlurmUser=, that user owns the files that
#                   slurmctld writes; AccountingStorageType=accounting_storage/slurmdbd
#                   starts a MariaDB, reachable by its socket only, and a slurmdbd on the
#                   port after those of the nodes
# If DIR/extra.conf exists, its lines are added to slurm.conf.
#
# Clients need SLURM_CONF=DIR/slurm.conf.
set -euo pipefail

verb=$1
if [ "$verb" = install ]; then
    exec "$(dirname "${BASH_SOURCE[0]}")/../../scripts/components.sh" slurm
fi
dir=$2
export SLURM_CONF=$dir/slurm.conf

# Whether a process has ended or is a zombie.
is_over() {
    local state
    state=$(awk '/^State:/ { print $2 }' "/proc/$1/status" 2>/dev/null) || return 0
    [ -z "$state" ] || [ "$state" = Z ]
}

# Stops the process of a pid file, with SIGKILL after 10 seconds.
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

# The name of the login node, in the same style.
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
# Listen on the loopback interface only.
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
# Slurm notices that a job of a restarted node is lost after this time plus 10 seconds.
BatchStartTimeout=1
MaxJobCount=30000
MaxArraySize=20001
# A reboot request does nothing on this machine.
RebootProgram=/bin/true
# The machine has fewer CPUs than its nodes are configured with.
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

# All processes of a node: its slurmd and its job steps have its log open, and its jobs have
# its name and this cluster's slurm.conf in their environment.
processes_of() {
    find /proc/[0-9]*/fd -lname "$dir/log/node-$1.log" 2>/dev/null | cut -d/ -f3
    grep -lszxF "SLURM_CONF=$dir/slurm.conf" /proc/[0-9]*/environ 2>/dev/null |
        xargs -r grep -lszxF "SLURMD_NODENAME=$1" 2>/dev/null | cut -d/ -f3
}

# Replaces settings in slurm.conf.
settings() {
    local line
    for line in "$@"; do
        sed -i "/^${line%%=*}=/d" "$dir/slurm.conf"
        echo "$line" >>"$dir/slurm.conf"
    done
}

# Prints the value of a key in slurm.conf.
setting() { sed -n "s/^$1=//p" "$dir/slurm.conf"; }

# Waits up to 15 seconds until a command succeeds.
wait_for() {
    for _ in $(seq 150); do
        if "$@" >/dev/null 2>&1; then return; fi
        sleep 0.1
    done
    echo "command still fails after 15 seconds: $*" >&2
    exit 1
}

# Starts a MariaDB, which authenticates SlurmUser by its socket, without a password; and a
# slurmdbd on this port.
start_accounting() {
    local port=$1 slurm_user owner server database=$dir/database
    slurm_user=$(setting SlurmUser)
    owner=$(id -un)
    # MariaDB does not run as root.
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

# Waits up to 30 seconds until slurmctld answers and reports every node as idle.
wait_for_idle() {
    local nodes=$1
    for _ in $(seq 150); do
        # `scontrol ping` returns immediately; other clients wait 9 seconds for slurmctld.
        if scontrol ping >/dev/null 2>&1 &&
            [ "$(sinfo -h -N -p gpu -o %T | grep -cx idle)" = "$nodes" ]; then
            return
        fi
        sleep 0.2
    done
    echo "the $nodes nodes did not become idle within 30 seconds; state of the nodes:" >&2
    sinfo >&2
    exit 1
}

# Starts a munged in a folder, with its own key.
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
                    echo "unknown option: $option" >&2
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
        # Twice, because a job may start in between.
        for _ in 1 2; do
            # Ignore a process that has ended in the meantime.
            for pid in $(processes_of "$3"); do kill -9 "$pid" 2>/dev/null || true; done
        done
        # The new machine does not have the files of the old one.
        rm -rf "$dir/spool/$3" "$dir/run/node-$3.pid"
        ;;
    # -b reports a reboot, so slurmctld knows that the node's jobs have ended.
    back) start_node "$3" -b ;;
    stranger)
        mkdir -p "$dir/strange"
        chmod 711 "$dir/strange"
        start_munged strange stranger
        sed "s|^AuthInfo=.*|AuthInfo=socket=$dir/strange/socket|" "$dir/slurm.conf" >"$dir/stranger.conf"
        ;;
    stop)
        # Cancel the jobs first: job steps continue to run without slurmd.
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
        echo "unknown command: $verb" >&2
        exit 64
        ;;
esac
