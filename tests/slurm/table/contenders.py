"""Who deletes idle nodes, each after the same time and down to the same floor."""

import subprocess
import sys

import place
import world

CONFIG = """
config_version = 1
mode = "enforce"
schedule = "0 * * * * *"
pause_file = "{folder}/PAUSE"
state = {{ path = "{folder}/trimtab.db" }}
[[cluster]]
name = "research"
region = "us-west-2"
account_id = "123456789012"
endpoint_url = "{endpoint}"
scheduler = {{ kind = "slurm", conf = "{folder}/slurm.conf", bin_dir = "{bin_dir}" }}
# The whole group may turn idle at once here.
mass_change = {{ nodes = 100, percent = 100 }}
{timing}
[[cluster.group]]
name = "workers"
size = {size}
min_nodes = {floor}
max_delete_per_hour = 1000
max_delete_per_day = 1000
max_delete_per_request = 99
max_leaving_percent = 100
capacity = "on-demand"
regain = "plentiful"
price_usd_per_hour = 20.36
boot = "5m"
node_local_data = "disposable"
gpus_per_node = {gpus}
partitions = ["gpu"]
idle_timer = "{timer:.0f}s"
# The others have neither.
min_age = "0s"
post_job_grace = "0s"
"""
COOLDOWN = """
[cluster.timing]
cooldown = "{timer:.0f}s"
"""


class Contender:
    """Nobody, unless a subclass is somebody."""

    name = "never"

    def settings(self, own):
        """Lines of slurm.conf."""
        del own
        return []

    def begin(self, own):
        """Starts it beside a place that runs."""

    def end(self, own):
        """Ends it as an operator would."""


class Trimtab(Contender):
    """The daemon, as it is shipped except for budgets that the others lack."""

    name = "trimtab"
    bin_dir = "/usr/bin"
    timing = ""

    def begin(self, own):
        config = own.folder / "trimtab.toml"
        values = {"folder": own.folder, "endpoint": own.endpoint, "bin_dir": self.bin_dir}
        values |= {"size": own.options.nodes, "floor": world.FLOOR, "gpus": world.GPUS}
        values |= {"timer": world.TIMER, "timing": self.timing.format(timer=world.TIMER)}
        config.write_text(CONFIG.format(**values))
        program = str(own.options.trimtab)
        self.daemon = own.spawn(program, "run", "--config", str(config), log="trimtab")

    def end(self, own):
        assert self.daemon.poll() is None, f"the daemon ended: see {own.folder}/log/trimtab.log"
        place.end(self.daemon)


class TrimtabCooldown(Trimtab):
    """A node that it has released may go again after the timer, as with the others."""

    name = "trimtab-cooldown-5m"
    timing = COOLDOWN


class TrimtabUncordond(TrimtabCooldown):
    """The negative control: its drains are only pretended."""

    name = "trimtab-uncordoned"
    bin_dir = str(place.HERE / "uncordoned")


class PowerSaving(Contender):
    """Slurm itself, its SuspendProgram calling the API."""

    name = "power-saving"
    # Longer than a deletion takes, as Slurm's documentation asks.
    timeout = 300.0

    def settings(self, own):
        python, script = sys.executable, place.HERE / "suspend.py"
        log = own.folder / "log" / "suspend.log"
        suspend = own.folder / "suspend"
        # In a session of its own, so that a restart of slurmctld does not end it.
        suspend.write_text(
            f'#!/bin/bash\nsetsid {python} {script} {own.endpoint} "$1" >>{log} 2>&1 &\n'
        )
        resume = own.folder / "resume"
        # The group is grown by whoever does it for the others: see Place.regrow.
        resume.write_text(f'#!/bin/bash\necho "resume $1" >>{log}\n')
        suspend.chmod(0o755)
        resume.chmod(0o755)
        seconds = lambda of_world: max(round(of_world / own.speed), 1)
        return [
            f"SuspendTime={seconds(world.TIMER)}",
            f"SuspendTimeout={seconds(self.timeout)}",
            f"ResumeTimeout={seconds(self.timeout)}",
            f"SuspendProgram={suspend}",
            f"ResumeProgram={resume}",
            f"SuspendExcNodes=ip-10-0-0-[1-{world.FLOOR}]",
            # Its default of 10 s, in time of the world.
            f"SlurmctldParameters=power_save_interval={seconds(10)}",
        ]


class PowerSavingDefaults(PowerSaving):
    """The same with Slurm's default for SuspendTimeout."""

    name = "power-saving-30s"
    timeout = 30.0


class Recipe(Contender):
    """The guide's recipe, each minute."""

    name = "recipe"
    is_over = False

    def begin(self, own):
        own.thread(self.cron, own)

    def cron(self, own):
        minute = 1
        log = own.folder / "log" / "recipe.log"
        aws = str(place.ROOT / "target/components/venv/bin/aws")
        values = {"TIMER": str(world.TIMER / own.speed), "FLOOR": str(world.FLOOR), "AWS": aws}
        while own.sleep_until(minute * world.MINUTE) and not self.is_over:
            with open(log, "a") as out:
                subprocess.run(
                    [place.HERE / "recipe.sh"],
                    env={**own.environment, **values},
                    stdout=out,
                    stderr=out,
                    check=False,
                )
            minute = max(minute + 1, int(own.now() // world.MINUTE) + 1)

    def end(self, own):
        self.is_over = True


def all_contenders():
    """One of each."""
    return [
        Contender(),
        Trimtab(),
        TrimtabCooldown(),
        PowerSaving(),
        PowerSavingDefaults(),
        Recipe(),
        TrimtabUncordond(),
    ]
