"""The contenders: each deletes idle nodes after the same time and down to the same floor."""

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
# In this test the whole group may become idle at once.
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
# The other contenders have no such limits.
min_age = "0s"
post_job_grace = "0s"
"""
COOLDOWN = """
[cluster.timing]
cooldown = "{timer:.0f}s"
"""


class Contender:
    """Deletes nothing. The other contenders are subclasses."""

    name = "never"

    def settings(self, own):
        """Lines to add to slurm.conf."""
        del own
        return []

    def begin(self, own):
        """Starts the contender in a place that is running."""

    def end(self, own):
        """Stops the contender as an operator would."""


class Trimtab(Contender):
    """The daemon with its default settings, but without the limits that others do not have."""

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
        assert self.daemon.poll() is None, f"trimtab has exited: see {own.folder}/log/trimtab.log"
        place.end(self.daemon)


class TrimtabCooldown(Trimtab):
    """With a shorter cooldown: a released node may be deleted again after the idle timer, as
    with the other contenders."""

    name = "trimtab-cooldown-5m"
    timing = COOLDOWN


class TrimtabUncordoned(TrimtabCooldown):
    """The negative control: its drains have no effect."""

    name = "trimtab-uncordoned"
    bin_dir = str(place.HERE / "uncordoned")


class PowerSaving(Contender):
    """Slurm's power saving, with a SuspendProgram that calls the API."""

    name = "power-saving"
    # In seconds: longer than a deletion takes, as Slurm's documentation requires.
    timeout = 300.0

    def settings(self, own):
        python, script = sys.executable, place.HERE / "suspend.py"
        log = own.folder / "log" / "suspend.log"
        suspend = own.folder / "suspend"
        # In a separate session, so that a restart of slurmctld does not kill it.
        suspend.write_text(
            f'#!/bin/bash\nsetsid {python} {script} {own.endpoint} "$1" >>{log} 2>&1 &\n'
        )
        resume = own.folder / "resume"
        # Place.regrow adds nodes to the group, as for all contenders.
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
            # The default of 10 s, in simulated time.
            f"SlurmctldParameters=power_save_interval={seconds(10)}",
        ]


class PowerSavingDefaults(PowerSaving):
    """Power saving with Slurm's default SuspendTimeout."""

    name = "power-saving-30s"
    timeout = 30.0


class Recipe(Contender):
    """Runs recipe.sh every minute."""

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
    """One contender of each kind."""
    return [
        Contender(),
        Trimtab(),
        TrimtabCooldown(),
        PowerSaving(),
        PowerSavingDefaults(),
        Recipe(),
        TrimtabUncordoned(),
    ]
