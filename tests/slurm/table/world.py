"""The world of every contender: a cluster, and jobs from one seed.

Times are in simulated seconds. The load is difficult for any program that deletes idle
nodes. A burst fills the group and ends within minutes. When its nodes have been idle for
the idle timer, and their deletion begins, a rush of short jobs needs nearly all of them.
Most of these jobs arrive at the beginning of a minute, as cron jobs do; trimtab and the
recipe also look at that time. Then there are no jobs for a while.
"""

import dataclasses
import random

MINUTE = 60.0
# Idle time after which every contender deletes a node.
TIMER = 5 * MINUTE
# Number of nodes that every contender keeps.
FLOOR = 4
GPUS = 8
# The last job arrives this long before the end, so that it can finish.
LAST_ARRIVAL = 10 * MINUTE

WORLD = """
start = "{start}"
duration = "7d"
cluster = "research"
provisioning = "continuous"
# Random for each node, within these bounds.
delete_delay = {{ min = "30s", max = "3m" }}

# ip-10-0-0-0: runs slurmctld.
[[group]]
name = "controller"
role = "controller"
count = 1

# ip-10-0-0-1 and so on; a node that is added gets the next number.
[[group]]
name = "workers"
count = {nodes}
instance_type = "ml.g5.48xlarge"
gpus_per_node = {gpus}
price_usd_per_hour = 20.36
boot = {{ min = "3m", max = "5m" }}
"""


@dataclasses.dataclass
class Job:
    """One job to submit."""

    number: int
    at: float
    nodes: int
    gpus_per_node: int
    length: float


def jobs(seed, minutes, nodes):
    """All jobs of a world, in the order of their arrival."""
    chance = random.Random(seed)
    end = minutes * MINUTE - LAST_ARRIVAL
    found = []

    def add(at, of_nodes, gpus, length):
        if at < end:
            found.append(Job(0, at, min(of_nodes, nodes), gpus, length))

    at = chance.uniform(30, 90)
    while at < end:
        over = at + burst(chance, at, nodes, add)
        for _ in range(chance.randint(1, 2)):
            over = rush(chance, over + TIMER, nodes, add)
        at = over + chance.uniform(2, 9) * MINUTE
    found.sort(key=lambda job: job.at)
    for number, job in enumerate(found):
        job.number = number
    return found


def burst(chance, at, nodes, add):
    """Adds jobs of many shapes within 20 s. Returns the length of the longest short job."""
    longest = 0.0
    taken = 0
    while taken < nodes:
        size = chance.choice([1, 1, 2, 4, 6])
        length = chance.uniform(60, 240)
        add(at + chance.uniform(0, 20), size, GPUS, length)
        taken += size
        longest = max(longest, length)
    for _ in range(chance.randint(4, 10)):
        add(at + chance.uniform(0, 20), 1, chance.choice([1, 1, 2, 4]), chance.uniform(30, 240))
    if chance.random() < 0.5:
        add(at + chance.uniform(0, 20), 2, GPUS, chance.uniform(12, 20) * MINUTE)
    return longest


def rush(chance, due, nodes, add):
    """Adds short jobs for nearly all nodes, up to 4 minutes after the nodes' deletion is due.
    Returns the time at which they end if they must wait for a boot."""
    minute = -(-due // MINUTE) * MINUTE + chance.randint(0, 3) * MINUTE
    taken = 0
    while taken < nodes - 2:
        size = chance.choice([1, 1, 2, 3, 4])
        # At a full minute, as from cron; within a settle time and a look after it; any time.
        at = chance.choice([(0, 1), (0, 1), (0, 1), (28, 45), (0, 60)])
        add(minute + chance.uniform(*at), size, GPUS, chance.uniform(30, 90))
        taken += size
    return minute + 90 + 5.5 * MINUTE
