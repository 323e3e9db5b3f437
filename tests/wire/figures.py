"""Measures what trimtab costs: one tick of ten clusters with 1,000 nodes each, and an idle
daemon.

    python3 tests/wire/figures.py target/debug/trimtab [MINUTES]

All requests go over HTTP, through the AWS SDKs, to `trimtab simulate` on this machine.
Memory is the kernel's peak value (VmHWM); CPU time is that of the process.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.request

WORLD = """
seed = {seed}
start = "2026-03-02T00:00:00Z"
duration = "30d"
cluster = "cluster-{number}"
keep_log = false
[[group]]
name = "workers"
count = {nodes}
price_usd_per_hour = 1.0
gpus_per_node = 8
partition = "gpu"
instance_type = "ml.g5.48xlarge"
"""
# On average, four of five nodes are busy.
JOBS = """
[[generate]]
per_day = {jobs}
length_median = "20h"
length_spread = 0.2
mix = [{{ weight = 1, gpus = 8 }}]
"""
TOP = """
config_version = 1
mode = "observe"
schedule = "0 */2 * * * *"
[state]
path = "{state}"
"""
CLUSTER = """
[[cluster]]
name = "cluster-{number}"
region = "us-west-2"
account_id = "123456789012"
endpoint_url = "{url}"
scheduler = {{ kind = "simulated" }}
utilization = [{{ kind = "cloudwatch", preset = "cwagent-nvidia", idle_below_percent = 5, window = "20m" }}]
[[cluster.group]]
name = "workers"
size = {nodes}
min_nodes = 0
max_delete_per_hour = 8
capacity = "on-demand"
boot = "20m"
node_local_data = "disposable"
gpus_per_node = 8
partitions = ["gpu"]
"""


class Endpoint:
    def __init__(self, program, folder, clusters, nodes, speed, jobs=""):
        command = [program, "simulate", "--listen", "127.0.0.1:0", "--speed", str(speed)]
        for number in range(clusters):
            path = os.path.join(folder, f"world-{number}.toml")
            with open(path, "w", encoding="utf-8") as file:
                file.write(WORLD.format(seed=number + 1, number=number, nodes=nodes) + jobs)
            command += ["--world", path]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.url = re.search(r"http://\S+", self.process.stdout.readline())[0]
        self.config = os.path.join(folder, "trimtab.toml")
        with open(self.config, "w", encoding="utf-8") as file:
            file.write(TOP.format(state=os.path.join(folder, "trimtab.db")))
            for number in range(clusters):
                file.write(CLUSTER.format(number=number, url=self.url, nodes=nodes))

    def ask(self, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(self.url + path, data=data) as answer:
            return json.loads(answer.read())

    def stop(self):
        self.process.terminate()
        self.process.wait()


def status(pid):
    """Peak and current memory in kB."""
    with open(f"/proc/{pid}/status", encoding="utf-8") as file:
        found = dict(re.findall(r"^(VmHWM|VmRSS):\s+(\d+) kB$", file.read(), re.M))
    return int(found["VmHWM"]), int(found["VmRSS"])


def seconds_in_use(pid):
    with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def one_tick(program, clusters, nodes):
    with tempfile.TemporaryDirectory() as folder:
        endpoint = Endpoint(program, folder, clusters, nodes, 0)
        began = time.monotonic()
        command = [program, "plan", "--brief", "--warm-up", "0s", "--config", endpoint.config]
        plan = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        peak = 0
        while plan.poll() is None:
            try:
                peak = max(peak, status(plan.pid)[0])
            except (KeyError, FileNotFoundError, ProcessLookupError):
                pass
            time.sleep(0.002)
        took = time.monotonic() - began
        calls = endpoint.ask("/_calls")
        endpoint.stop()
    print(f"one tick of {clusters} clusters x {nodes} nodes: {took:.2f} s, peak {peak / 1000:.1f} MB")
    print(f"  API requests: {', '.join(f'{name} {count}' for name, count in sorted(calls.items()))}")
    print("  (DescribeCluster: one per cluster at start, one per cluster for the tick)")


def idle_daemon(program, nodes, minutes):
    with tempfile.TemporaryDirectory() as folder:
        # This many jobs keep four of five nodes busy on average.
        jobs = JOBS.format(jobs=round(nodes * 0.8 * 24 / 20.4))
        endpoint = Endpoint(program, folder, 1, nodes, 1, jobs)
        daemon = subprocess.Popen(
            [program, "run", "--config", endpoint.config],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        # The first tick belongs to the start and is not measured.
        time.sleep(20)
        before, began = seconds_in_use(daemon.pid), time.monotonic()
        time.sleep(minutes * 60)
        used, took = seconds_in_use(daemon.pid) - before, time.monotonic() - began
        peak, now = status(daemon.pid)
        calls = endpoint.ask("/_calls")
        daemon.terminate()
        daemon.wait()
        endpoint.stop()
    share = 100 * used / took
    print(f"idle daemon with {nodes} nodes, {minutes} minutes, one tick every two minutes:")
    print(f"  {share:.2f} % of a core, {now / 1000:.1f} MB, peak {peak / 1000:.1f} MB")
    print(f"  API requests: {', '.join(f'{name} {count}' for name, count in sorted(calls.items()))}")


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        raise SystemExit(__doc__)
    one_tick(sys.argv[1], 10, 1000)
    idle_daemon(sys.argv[1], 1000, int(sys.argv[2]) if len(sys.argv) == 3 else 10)
