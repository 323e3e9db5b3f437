"""The place of one contender: a real Slurm, a simulated cluster with the same nodes, and
threads that submit jobs and grow the group back."""

import datetime
import http.client
import json
import os
import pathlib
import re
import signal
import subprocess
import threading
import time

import boto3

import world

HERE = pathlib.Path(__file__).resolve().parent
SLURM = HERE.parent
ROOT = SLURM.parent.parent
CLUSTER, GROUP = "research", "workers"
# Ports of a contender: slurmctld, then the nodes; the last one is the endpoint.
PORTS = 56
# Seconds from the termination of an instance until HyperPod's agent has removed it from
# slurm.conf.
PRUNE_DELAY = 30.0
# Seconds between two checks for jobs that wait. A check acts on jobs that also waited at
# the check before.
REGROW_EVERY = 60.0
# MinJobAge keeps every job until it is judged at the end. ReturnToService=1, because with 2
# a node that an operator set DOWN is used again once its slurmd registers. That happens at
# every restart of slurmctld, so the recipe could not work.
SETTINGS = ["MinJobAge=86400", "ReturnToService=1"]


class Place:
    """A place that `start` starts and `stop` stops."""

    def __init__(self, folder, port, options, seed):
        self.folder, self.port, self.options, self.seed = folder, port, options, seed
        self.speed = options.speed
        self.conf = folder / "slurm.conf"
        self.endpoint = f"http://127.0.0.1:{port + PORTS - 1}"
        folder.mkdir(parents=True)
        self.submitted = {}
        self.starved = {}
        self.stopping = threading.Event()
        self.threads = []
        self.simulated = None
        aws = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"}
        aws |= {"AWS_DEFAULT_REGION": "us-west-2", "AWS_EC2_METADATA_DISABLED": "true"}
        self.environment = {**os.environ, **aws, "SLURM_CONF": str(self.conf), "TZ": "UTC"}
        self.environment["TRIMTAB_PRUNE_DELAY"] = str(PRUNE_DELAY / self.speed)
        self.environment["SITE"] = str(folder)
        self.environment["ENDPOINT"] = self.endpoint
        self.api = boto3.client(
            "sagemaker",
            endpoint_url=self.endpoint,
            region_name="us-west-2",
            aws_access_key_id="x",
            aws_secret_access_key="x",
        )

    def start(self, settings):
        """Starts Slurm, with these additional lines of slurm.conf, and the endpoint."""
        (self.folder / "jobs").mkdir()
        nodes = str(self.options.nodes)
        command = [str(SLURM / "cluster.sh"), "start", str(self.folder), nodes, str(self.port)]
        self.run(*command, *SETTINGS, *settings)
        now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:00Z")
        text = world.WORLD.format(start=now, nodes=nodes, gpus=world.GPUS)
        (self.folder / "world.toml").write_text(text)
        self.simulated = self.spawn(
            *[str(self.options.trimtab), "simulate", "--listen", self.endpoint[len("http://") :]],
            *["--world", str(self.folder / "world.toml")],
            *["--speed", str(self.speed), "--seed", str(self.seed)],
            *["--on-node-gone", f"{SLURM}/node-gone.sh {self.folder}"],
            *["--on-node-added", f"{SLURM}/node-added.sh {self.folder}"],
            log="endpoint",
        )
        self.began = self.read_clock()

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join()
        if self.simulated is not None:
            end(self.simulated)
        # The agent may still be about to restart slurmctld.
        time.sleep(PRUNE_DELAY / self.speed + 1)
        subprocess.run(["flock", self.folder / "agent.lock", "true"], check=False)
        subprocess.run([SLURM / "cluster.sh", "stop", self.folder], check=False)

    def read_clock(self):
        """Real time at which the world began. In simulated time it begins at a full minute."""
        for _ in range(100):
            try:
                before = time.time()
                clock = self.ask("clock")
                ran = clock["true_now"] - self.ask("truth")["since"]
                return before - ran / 1000 / self.speed
            except OSError:
                time.sleep(0.1)
        raise SystemExit(f"{self.endpoint} did not answer within 10 seconds: see log/endpoint.log")

    def now(self):
        """Simulated seconds since the world began."""
        return (time.time() - self.began) * self.speed

    def sleep_until(self, at):
        """Sleeps until this simulated time. Returns False if the place stops before."""
        return not self.stopping.wait(max(at - self.now(), 0) / self.speed)

    def ask(self, what):
        connection = http.client.HTTPConnection("127.0.0.1", self.port + PORTS - 1, timeout=20)
        try:
            connection.request("GET", f"/_world/{CLUSTER}/{what}")
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()

    def run(self, *command, attempts=1):
        """Runs a command and returns its output. Retries it, because slurmctld is unavailable
        for a moment at each restart."""
        for attempt in range(attempts):
            done = subprocess.run(
                command, env=self.environment, cwd="/tmp", capture_output=True, text=True
            )
            if done.returncode == 0:
                return done.stdout
            if attempt + 1 < attempts:
                time.sleep(0.2)
        raise RuntimeError(f"{command}: {done.stderr.strip()}")

    def spawn(self, *command, log, **more):
        with open(self.folder / "log" / f"{log}.log", "a") as out:
            environment = {**self.environment, **more}
            return subprocess.Popen(command, env=environment, stdout=out, stderr=out, cwd=ROOT)

    def thread(self, function, *arguments):
        thread = threading.Thread(target=function, args=arguments, daemon=True)
        thread.start()
        self.threads.append(thread)

    # Jobs.

    def play(self, jobs):
        """Submits every job at its time."""
        for job in jobs:
            if not self.sleep_until(job.at):
                return
            self.thread(self.submit, job)

    def submit(self, job):
        """Submits a job. The job writes its starts and ends to its own log, which the judge
        reads."""
        log = self.folder / "jobs" / str(job.number)
        script = (
            f"echo start $(date +%s.%N) $SLURM_JOB_NODELIST >>{log}; "
            f"sleep {job.length / self.speed:.3f}; echo end $(date +%s.%N) >>{log}"
        )
        command = ["sbatch", "--parsable", "--output=/dev/null", f"--job-name=j{job.number}"]
        command += [f"--nodes={job.nodes}", f"--gres=gpu:{job.gpus_per_node}", "--wrap", script]
        at = self.now()
        try:
            number = self.run(*command, attempts=40).strip()
        except RuntimeError as why:
            self.submitted[job.number] = (at, None, str(why))
            return
        self.submitted[job.number] = (at, number, None)

    # Growing back.

    def regrow(self):
        """Grows the group when jobs wait for nodes, as an operator or a pipeline would. This is
        the same for every contender. Slurm's ResumeProgram cannot do it, because HyperPod gives
        a new instance a new name."""
        at = REGROW_EVERY / 2
        while self.sleep_until(at):
            try:
                self.grow_by(self.shortage())
            except Exception as why:  # Slurm or the endpoint is unavailable; retry.
                self.note(f"regrow: {why}")
            at += REGROW_EVERY

    def shortage(self):
        """Number of nodes for jobs that wait now and waited at the check before."""
        pending = {}
        text = self.run("squeue", "-h", "-t", "PD", "-o", "%i|%D|%b|%r")
        for line in text.splitlines():
            number, nodes, gres, reason = line.split("|")
            # These reasons mean that the job was requeued and may not start yet.
            if reason not in ("BeginTime", "JobHeldAdmin", "JobHeldUser"):
                pending[number] = (int(nodes), int(gres.rsplit(":", 1)[1]))
        long = [need for number, need in pending.items() if number in self.starved]
        self.starved = pending
        whole = sum(nodes for nodes, gpus in long if gpus == world.GPUS)
        parts = sum(gpus for nodes, gpus in long if gpus < world.GPUS)
        return whole + -(-parts // world.GPUS)

    def grow_by(self, wanted):
        if wanted == 0:
            return
        listed = self.listed()
        usable = set(self.nodes_in("idle"))
        known = {name for name, _, _ in self.slurm_nodes()}
        coming = [n for n in listed if n["status"] == "Pending" or n["name"] not in known]
        coming = [n for n in coming if n["status"] != "ShuttingDown"]
        members = [n for n in listed if n["status"] != "ShuttingDown"]
        room = self.options.nodes - len(members)
        by = min(wanted - len(usable) - len(coming), room)
        if by > 0:
            added = [{"InstanceGroupName": GROUP, "IncrementTargetCountBy": by}]
            self.api.batch_add_cluster_nodes(ClusterName=CLUSTER, NodesToAdd=added)
            self.note(f"regrow: added {by} nodes, because jobs wait for {wanted}")

    def listed(self):
        """The nodes of the group in ListClusterNodes."""
        pages = self.api.get_paginator("list_cluster_nodes").paginate(ClusterName=CLUSTER)
        return [
            {
                "id": node["InstanceId"],
                "name": node["PrivateDnsHostname"].split(".")[0],
                "status": node["InstanceStatus"]["Status"],
            }
            for page in pages
            for node in page["ClusterNodeSummaries"]
            if node["InstanceGroupName"] == GROUP
        ]

    def slurm_nodes(self):
        """Name, state and reason of every node."""
        text = self.run("sinfo", "-h", "-N", "-p", "gpu", "-o", "%N|%T|%E", attempts=20)
        return [tuple(line.split("|", 2)) for line in text.splitlines()]

    def nodes_in(self, state):
        return [name for name, its, _ in self.slurm_nodes() if its == state]

    def note(self, text):
        with open(self.folder / "log" / "site.log", "a") as log:
            log.write(f"{self.now():.0f} {text}\n")

    # The end.

    def wait_until_all_is_over(self, patience):
        """Waits until no job runs or waits. Returns False after `patience` simulated seconds."""
        until = self.now() + patience
        while self.now() < until and not self.stopping.is_set():
            try:
                if not self.run("squeue", "-h", "-t", "PD,R,CF,S").strip():
                    return True
            except RuntimeError:
                pass
            time.sleep(0.5)
        return False

    def billed_hours(self):
        """Node-hours of the group billed so far, including boot and termination."""
        return self.ask("truth")["groups"][GROUP]["billed"] / 3_600_000


def end(process):
    """Stops a process, with SIGKILL after 20 seconds."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def hosts(text):
    """Expands `ip-10-0-0-[1-3,7]` to names. Each part has at most one bracket, as Slurm prints
    these names."""
    names = []
    for part in re.findall(r"[^,\[]+(?:\[[^\]]*\])?", text):
        prefix, bracket, ranges = part.partition("[")
        if not bracket:
            names.append(part)
            continue
        for one in ranges.rstrip("]").split(","):
            low, _, high = one.partition("-")
            names += [f"{prefix}{n}" for n in range(int(low), int(high or low) + 1)]
    return names
