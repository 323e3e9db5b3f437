"""Judges the jobs and nodes of a place. The sources are the same for all contenders: each
job's own log, slurmctld's restart counts, the endpoint's bill, and the times when instances
were terminated. No data comes from a contender."""

import json
import statistics

from place import hosts


def judge(own, jobs, billed):
    """Computes the figures of one contender in one world."""
    runs = {job.number: read_log(own, job.number) for job in jobs}
    shown = read_slurm(own)
    lost, killed, unfinished, waits, refused = [], [], [], [], []
    for job in jobs:
        _, number, why = own.submitted.get(job.number, (None, None, "never submitted"))
        if number is None:
            refused.append(f"job {job.number}: {why}")
            continue
        restarts, state = shown[number]
        own_runs = runs[job.number]
        is_over = any(end is not None for _, _, end in own_runs)
        is_killed = any(end is None for _, _, end in own_runs) and state != "RUNNING"
        if restarts > 0 or state == "NODE_FAIL" or len(own_runs) > 1 or is_killed:
            lost.append(f"job {job.number}: {restarts} restarts, {len(own_runs)} starts, {state}")
        if is_killed:
            killed.append(job.number)
        if not is_over:
            unfinished.append(job.number)
        if own_runs:
            waits.append(in_world(own, own_runs[0][0]) - own.submitted[job.number][0])
    gone, took, busy = nodes_gone(own, runs)
    return {
        "jobs": len(jobs),
        "jobs_lost": len(lost),
        "jobs_killed_at_work": len(killed),
        "jobs_unfinished": len(unfinished),
        "jobs_refused": refused,
        "lost": lost,
        "wait_mean_secs": round(statistics.fmean(waits)) if waits else None,
        "node_hours_billed": billed,
        "nodes_deleted": gone,
        "nodes_deleted_with_a_job": busy,
        "nodes_added": len(read_changes(own, "added")),
        "idle_to_gone_secs": sorted(round(one) for one in took),
        "nodes_left_out": left_out(own),
    }


def in_world(own, wall):
    return (wall - own.began) * own.speed


def read_log(own, number):
    """The runs of a job in real time: start, nodes, and end (None if it did not end)."""
    runs = []
    try:
        lines = (own.folder / "jobs" / str(number)).read_text().splitlines()
    except FileNotFoundError:
        lines = []
    for line in lines:
        words = line.split()
        if words[0] == "start":
            runs.append((float(words[1]), hosts(words[2]), None))
        else:
            runs[-1] = (*runs[-1][:2], float(words[1]))
    return runs


def read_slurm(own):
    """Restart count and state of every job."""
    found = {}
    for line in own.run("scontrol", "show", "job", "-o", attempts=40).splitlines():
        words = dict(word.partition("=")[::2] for word in line.split() if "=" in word)
        found[words["JobId"]] = (int(words["Restarts"]), words["JobState"])
    return found


def read_changes(own, which):
    """Names of nodes that were added or terminated, each with the real time."""
    try:
        lines = (own.folder / f"{which}.log").read_text().splitlines()
    except FileNotFoundError:
        lines = []
    split = [line.split(" ", 1) for line in lines]
    return [(json.loads(text)["name"], float(wall)) for wall, text in split]


def nodes_gone(own, runs):
    """The number of deleted nodes, how long each of them was idle before, and how many had a
    job."""
    joined = dict(read_changes(own, "added"))
    stays = {}
    for of_job in runs.values():
        for (begin, names, end), after in zip(of_job, [*of_job[1:], (float("inf"), [], None)]):
            # An interrupted run ended at the latest when its job started again.
            until = end if end is not None else after[0]
            for name in names:
                stays.setdefault(name, []).append((begin, until))
    took, busy = [], 0
    gone = read_changes(own, "gone")
    for name, wall in gone:
        before = [until for begin, until in stays.get(name, []) if begin < wall]
        if any(until > wall for until in before):
            busy += 1
            continue
        idle_since = max([joined.get(name, own.began), *before])
        took.append((wall - idle_since) * own.speed)
    return len(gone), took, busy


def left_out(own):
    """Nodes that Slurm does not use but that still run: they cost money without any use."""
    running = {node["name"] for node in own.listed() if node["status"] == "Running"}
    lines = []
    for name, state, reason in own.slurm_nodes():
        is_out = any(word in state for word in ("drain", "down", "~", "%", "power"))
        if is_out and name in running:
            lines.append(f"{name} {state} {reason}")
    return lines
