"""Compares trimtab with Slurm's power saving and with the shell recipe of HyperPod's guides.
Each contender has its own real Slurm and its own simulated cluster. All have the same world
and are judged in the same way.

    table.py --trimtab target/debug/trimtab [--seeds N] [--first-seed N] [--nodes N]
             [--minutes M] [--speed N] [--only NAME,…] [--port P] [--keep FOLDER]

The contenders of one seed run at the same time. Prints a table in Markdown.
`--json FILE` writes all figures, and the number of each lost job.
"""

import argparse
import json
import pathlib
import os
import platform
import signal
import statistics
import tempfile
import threading
import traceback

import contenders
import judge
import place
import world

# Real seconds. Slurm starts a requeued job again after two minutes at the earliest.
PATIENCE_WALL = 150


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--trimtab", type=lambda p: pathlib.Path(p).resolve(), required=True)
    parser.add_argument("--seeds", type=int, default=1, help="number of worlds")
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--nodes", type=int, default=16)
    parser.add_argument("--minutes", type=int, default=90, help="simulated minutes of each world")
    parser.add_argument("--speed", type=float, default=10.0, help="simulated seconds per second")
    parser.add_argument("--only", default="", help="names of contenders, with commas")
    parser.add_argument("--port", type=int, default=23000, help="first port; each contender uses 56")
    parser.add_argument("--keep", type=pathlib.Path, help="keep the logs in this folder")
    parser.add_argument("--json", type=pathlib.Path, help="write all figures here")
    return parser.parse_args()


def run_one(contender, own, jobs, options, figures):
    """Runs one contender in one world, from start to judgement."""
    end = options.minutes * world.MINUTE
    try:
        own.start(contender.settings(own))
        contender.begin(own)
        own.thread(own.regrow)
        own.play(jobs)
        own.sleep_until(end)
        billed = own.billed_hours()
        contender.end(own)
        own.wait_until_all_is_over(PATIENCE_WALL * own.speed)
        # Wait until pending deletions end and the agent has removed the nodes.
        if not own.sleep_until(own.now() + 5 * world.MINUTE):
            return
        figures[contender.name] = judge.judge(own, jobs, billed)
    except Exception:
        traceback.print_exc()
    finally:
        own.stop()


def run_seed(seed, options, folder):
    """Runs all contenders in one world at the same time."""
    jobs = world.jobs(seed, options.minutes, options.nodes)
    figures, threads, places = {}, [], []
    only = [name for name in options.only.split(",") if name]
    for number, contender in enumerate(contenders.all_contenders()):
        if only and contender.name not in only:
            continue
        port = options.port + number * place.PORTS
        own = place.Place(folder / f"{seed}-{contender.name}", port, options, seed)
        places.append(own)
        arguments = (contender, own, jobs, options, figures)
        threads.append(threading.Thread(target=run_one, args=arguments))
        threads[-1].start()
    try:
        for thread in threads:
            thread.join()
    except KeyboardInterrupt:
        # Stop all processes that this script started.
        for own in places:
            own.stopping.set()
        for thread in threads:
            thread.join()
        raise
    return figures


def percentile(values, share):
    """The percentile by the nearest-rank method."""
    ordered = sorted(values)
    return ordered[max(-(-len(ordered) * share // 100), 1) - 1]


def minutes(seconds):
    return f"{seconds / 60:.1f} min"


def table(found):
    """The Markdown table: one row per contender, with the sum over all seeds."""
    head = ["", "jobs lost", "of them killed at work", "node-hours saved", "nodes deleted"]
    head += ["idle to gone, median", "p95", "mean wait of a job", "left out of use"]
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
    names = [one.name for one in contenders.all_contenders()]
    for name in names:
        runs = [figures[name] for figures in found.values() if name in figures]
        if not runs:
            continue
        total = lambda key, runs=runs: sum(run[key] for run in runs)
        took = [one for run in runs for one in run["idle_to_gone_secs"]]
        both = [(f["never"], f[name]) for f in found.values() if "never" in f and name in f]
        full = sum(never["node_hours_billed"] for never, _ in both)
        saved = full - sum(own["node_hours_billed"] for _, own in both)
        waits = [run["wait_mean_secs"] for run in runs if run["wait_mean_secs"] is not None]
        cells = [
            f"`{name}`",
            f"{total('jobs_lost')} of {total('jobs')}",
            str(total("jobs_killed_at_work")),
            f"{saved:.1f} of {full:.1f}" if both else "",
            str(total("nodes_deleted")),
            minutes(statistics.median(took)) if took else "",
            minutes(percentile(took, 95)) if took else "",
            minutes(statistics.fmean(waits)) if waits else "",
            str(sum(len(run["nodes_left_out"]) for run in runs)),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def machine():
    with open("/proc/cpuinfo") as text:
        models = [line.split(":", 1)[1].strip() for line in text if line.startswith("model name")]
    return f"{os.cpu_count()} processors ({models[0] if models else '?'}), {platform.release()}"


def main():
    options = arguments()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="trimtab-table-") as scratch:
        folder = options.keep.resolve() if options.keep else pathlib.Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        seeds = range(options.first_seed, options.first_seed + options.seeds)
        found = {seed: run_seed(seed, options, folder) for seed in seeds}
    print(table(found))
    if options.json:
        said = {"nodes": options.nodes, "minutes": options.minutes, "speed": options.speed}
        said |= {"timer_secs": world.TIMER, "floor": world.FLOOR, "machine": machine()}
        options.json.write_text(json.dumps({**said, "seeds": found}, indent=1) + "\n")
    verdict(found, options)


def verdict(found, options):
    """Fails if the table proves nothing, or if trimtab lost a job or left a node drained."""
    chosen = [name for name in options.only.split(",") if name]
    expected = len(chosen) or len(contenders.all_contenders())
    if any(len(figures) < expected for figures in found.values()):
        raise SystemExit("a contender did not finish: its row is missing in the table above")
    runs = lambda name: [figures[name] for figures in found.values() if name in figures]
    for run in runs("trimtab") + runs("trimtab-cooldown-5m"):
        if run["lost"] or run["nodes_left_out"]:
            raise SystemExit(f"trimtab: jobs lost {run['lost']}, nodes left out {run['nodes_left_out']}")
    controls = runs("trimtab-uncordoned")
    if controls and not any(run["lost"] for run in controls):
        raise SystemExit("trimtab lost no job without its cordon, so this load proves nothing")


if __name__ == "__main__":
    main()
