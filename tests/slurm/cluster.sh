#!/usr/bin/env bash
# A real Slurm on this machine's loopback, for tests: slurmctld and so many slurmd,
# each a node with 8 GPUs that are empty files, named as HyperPod names them. Needs
# neither systemd nor root.
#
#     cluster.sh start DIR NODES PORT   # slurmctld at PORT, the nodes at the ports after it
#     cluster.sh halt DIR               # slurmctld goes away
#     cluster.sh resume DIR             # and comes back
#     cluster.sh stop DIR
#
# Lines of DIR/extra.conf, if there is one, become part of the configuration.
# Clients then need SLURM_CONF=DIR/slurm.conf.
set -euo pipefail

verb=$1
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

configure() {
    local nodes=$1 port=$2 user n
    user=$(id -un)
    cat <<CONF
ClusterName=trimtab
SlurmctldHost=localhost(127.0.0.1)
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
SlurmdPidFile=$dir/run/%n.pid
SlurmctldLogFile=$dir/log/slurmctld.log
SlurmdLogFile=$dir/log/%n.log
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
# The machine has fewer processors than its nodes say.
SlurmdParameters=config_overrides
GresTypes=gpu
$([ ! -f "$dir/extra.conf" ] || cat "$dir/extra.conf")
NodeName=DEFAULT CPUs=8 Sockets=1 CoresPerSocket=8 ThreadsPerCore=1 RealMemory=32000 Gres=gpu:8
CONF
    for n in $(seq "$nodes"); do
        echo "NodeName=ip-10-0-0-$n NodeHostname=localhost NodeAddr=127.0.0.1 Port=$((port + n))"
    done
    echo "PartitionName=gpu Nodes=ip-10-0-0-[1-$nodes] Default=YES MaxTime=INFINITE State=UP"
    echo "PartitionName=last Nodes=ip-10-0-0-$nodes MaxTime=02:00:00 State=UP"
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

case $verb in
    start)
        nodes=$3
        port=$4
        mkdir -p "$dir"/{munge,state,spool,run,log,gpus}
        chmod 711 "$dir" "$dir/munge"
        touch "$dir"/gpus/gpu{0..7}
        configure "$nodes" "$port" >"$dir/slurm.conf"
        printf 'AutoDetect=off\nName=gpu File=%s/gpus/gpu[0-7]\n' "$dir" >"$dir/gres.conf"
        (umask 077 && head -c 128 /dev/urandom >"$dir/munge/key")
        munged --force --key-file="$dir/munge/key" --socket="$dir/munge/socket" \
            --pid-file="$dir/run/munged.pid" --log-file="$dir/log/munged.log" \
            --seed-file="$dir/munge/seed"
        slurmctld -i
        for n in $(seq "$nodes"); do
            mkdir -p "$dir/spool/ip-10-0-0-$n"
            slurmd -N "ip-10-0-0-$n"
        done
        wait_for_idle "$nodes"
        ;;
    halt) end "$dir/run/slurmctld.pid" ;;
    resume) slurmctld ;;
    stop)
        # Steps of jobs outlive their slurmd.
        if scontrol ping >/dev/null 2>&1; then
            scancel --user="$(id -un)" 2>/dev/null || true
            for _ in $(seq 50); do
                [ -n "$(squeue -h)" ] || break
                sleep 0.1
            done
        fi
        for pid in "$dir"/run/ip-*.pid "$dir/run/slurmctld.pid" "$dir/run/munged.pid"; do
            end "$pid"
        done
        ;;
    *)
        echo "no such verb: $verb" >&2
        exit 64
        ;;
esac
