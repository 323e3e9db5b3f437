"""The simulated clusters of the wire tests, one of each kind."""

# Fixed delays, so that a test knows when a change becomes visible.
COMMON = """
seed = {seed}
duration = "30d"
cluster = "{name}"
provisioning = "{mode}"
delete_delay = "2m"
prune_delay = "1m"
join_delay = "0s"
listing_lag = "0s"
count_lag = "1m"
"""
HEAD = """
[[group]]
name = "head"
role = "controller"
count = 1
instance_type = "ml.m5.xlarge"
"""
GROUP = """
[[group]]
name = "{name}"
count = {count}
instance_type = "ml.g5.8xlarge"
gpus_per_node = 1
price_usd_per_hour = 3.06
boot = "10m"
"""


def world(seed, name, count, mode="continuous", api="", more=""):
    """The text of a world file."""
    text = COMMON.format(seed=seed, name=name, mode=mode)
    text += f"[api]\n{api}\n" + HEAD + GROUP.format(name="workers", count=count) + more
    return text


def fault(hour, kind, length="30m"):
    """The text of a fault that begins at this hour."""
    return f'[[fault]]\nat = "{hour}h"\nfor = "{length}"\nkind = {kind}\n'


# These begin after the last hour that any other test reaches.
FAULTS = [
    (41, '"throttled-reads"'),
    (42, '"access-denied"'),
    (43, '"listing-truncated"'),
    (44, '"listing-duplicate"'),
    (45, '"write-times-out-after-acting"'),
    (46, '"write-times-out-before-acting"'),
    (47, '"listing-odd-status"'),
    (48, '"listing-empty"'),
    (49, '"throttled-writes"'),
    (50, '"cluster-updating"'),
    (51, '"rival-autoscaler"'),
    (52, '"scheduler-silent"'),
    (53, "{ delete-partial-failure = { percent = 50 } }"),
    (54, '"delete-total-failure"'),
]

WORLDS = {
    "main": world(
        1, "main", 1000, api='tags = { team = "research" }', more=GROUP.format(name="spare", count=6)
    ),
    "classic": world(2, "classic", 12, "classic", api='orchestrator = "slurm-legacy"'),
    "unpatched": world(
        3,
        "unpatched",
        6,
        "classic",
        api='created = "2023-12-01T00:00:00Z"\nsoftware_update = "40m"',
    ),
    # The alternative setting of each switch for undocumented behaviour.
    "other": world(
        4,
        "other",
        150,
        api='busy = "validation"\nall_failed = "lists"\nover_limit = "resource-limit"\n'
        'target_falls = "at-end"\nbelow_min = "refused"\necho = "refused"\nomission = "clears"\n'
        'events = "empty"\ndeletes_show_as_scaling = true\n',
        more=GROUP.format(name="held", count=4)
        + "min_count = 3\n"
        + GROUP.format(name="planned", count=2)
        + 'capacity = "training-plan"\n',
    ),
    "other-classic": world(
        5, "other-classic", 6, "classic", api='busy = "validation"\nall_failed = "code"'
    ),
    "wide": world(6, "wide", 300, api='over_limit = "accepted"'),
    "late": world(7, "late", 3, api='instance_delay = "5m"\nmax_nodes = 20'),
    "faulty": world(8, "faulty", 12, more="".join(fault(hour, kind) for hour, kind in FAULTS)),
    # A group with every member that DescribeCluster can return.
    "full": world(
        9,
        "full",
        3,
        api='orchestrator = "eks"',
        more=GROUP.format(name="fullest", count=2)
        + """capacity = "spot"
min_count = 1
[group.details]
OnStartDeepHealthChecks = ["InstanceStress", "InstanceConnectivity"]
TrainingPlanArn = "arn:aws:sagemaker:us-west-2:123456789012:training-plan/fullest"
TrainingPlanStatus = "Active"
CurrentImageId = "ami-0123456789abcdef0"
DesiredImageId = "ami-0123456789abcdef0"
InstanceTypeDetails = [
    { InstanceType = "ml.g5.8xlarge", CurrentCount = 2, ThreadsPerCore = 1 },
]
NetworkInterface = { InterfaceType = "efa" }
LifeCycleConfig = { SourceS3Uri = "s3://b/x", OnCreate = "a.sh", OnInitComplete = "b.sh" }
[group.details.AutoPatchConfig]
PatchingStrategy = "WhenIdle"
IdleWaitWindowInSeconds = 7200
DesiredPatchSchedule = { NextPatchDate = 1772500000 }
[group.details.KubernetesConfig]
CurrentLabels = { pool = "a" }
DesiredLabels = { pool = "b" }
CurrentTaints = []
DesiredTaints = [{ Key = "gpu", Value = "yes", Effect = "NoSchedule" }]
[group.details.ScheduledUpdateConfig]
ScheduleExpression = "cron(0 0 ? * SUN *)"
"""
    ),
    "odd": world(11, "odd", 1, more="details = { Novelty = { Much = 1 } }\n"),
    "elsewhere": world(10, "main", 2, api='account = "210987654321"\nregion = "eu-central-1"'),
}
