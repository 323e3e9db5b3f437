"""Builds the fullest instance group that the API's model allows, and the UpdateCluster
entry that keeps it unchanged.

The script uses only botocore's model file, and none of trimtab's code. Every member of
ClusterInstanceGroupDetails gets a value, and every member of
ClusterInstanceGroupSpecification gets the value that keeps it unchanged. The script fails
if one of these shapes has a member that is in none of the tables below: the model has a
new member, and a developer must add it to a table.

Prints one JSON document: {"cases": [{"name", "group", "sent"}], "places": [...]}.
`sent` does not contain InstanceCount and MinInstanceCount. `places` are JSON pointers to
all structures of the fullest group, where a test can insert an unknown member.
"""

import json
import sys

import botocore.session
from botocore.validate import ParamValidator

# Members with different names in UpdateCluster and DescribeCluster.
RENAMED = {
    "InstanceCount": "TargetCount",
    "MinInstanceCount": "MinCount",
}
# Members whose values DescribeCluster returns as "Desired…" and "Current…".
DESIRED = {
    "InstanceRequirements": {"InstanceTypes": "DesiredInstanceTypes"},
    "KubernetesConfig": {"Labels": "DesiredLabels", "Taints": "DesiredTaints"},
    "AutoPatchConfig": {
        "PatchingStrategy": "PatchingStrategy",
        "PatchSchedule": "DesiredPatchSchedule",
        "DeploymentConfig": "DeploymentConfig",
        "IdleWaitWindowInSeconds": "IdleWaitWindowInSeconds",
        "DrainPolicy": "DrainPolicy",
    },
}
# A managed image has a release version, a custom image has an id; no image has both.
IMAGE = {"ImageReleaseVersion": "DesiredImageReleaseVersion", "ImageId": "DesiredImageId"}
# Read-only members, which UpdateCluster does not have.
READ_ONLY = {
    "CurrentCount",
    "InstanceTypeDetails",
    "Status",
    "TrainingPlanStatus",
    "CurrentImageId",
    "CurrentImageReleaseVersion",
    "ImageVersionStatus",
    "ActiveOperations",
    "TargetStateCount",
    "SoftwareUpdateStatus",
    "ActiveSoftwareUpdateConfig",
}
# Values for texts whose pattern a generated value would not match.
TEXTS = {
    "ClusterInstanceGroupName": "workers-1",
    "RoleArn": "arn:aws:iam::123456789012:role/workers",
    "TrainingPlanArn": "arn:aws:sagemaker:us-west-2:123456789012:training-plan/plan-1",
    "S3Uri": "s3://bucket/lifecycle",
    "ImageReleaseVersion": "1.2.3",
    "ImageId": "ami-0123456789abcdef0",
    "CronScheduleExpression": "cron(0 2 * * ? *)",
    "SecurityGroupId": "sg-0123456789abcdef0",
    "SubnetId": "subnet-0123456789abcdef0",
    "AlarmName": "alarm",
}


def fill(shape, name="x", variant=0, path="", places=None):
    """A value of this shape with every member set. A union has one member, which `variant`
    selects."""
    kind = shape.type_name
    if kind == "structure":
        if places is not None:
            places.append(path)
        members = dict(shape.members)
        if getattr(shape, "is_tagged_union", False):
            names = list(members)
            members = {names[variant % len(names)]: members[names[variant % len(names)]]}
        return {
            key: fill(member, key, variant, f"{path}/{key}", places)
            for key, member in members.items()
        }
    if kind == "list":
        most = shape.metadata.get("max", 2)
        return [
            fill(shape.member, f"{name}{n}", variant + n, f"{path}/{n}", places)
            for n in range(min(most, 3))
        ]
    if kind == "map":
        return {f"{name.lower()}-{n}": fill(shape.value, f"v{n}", variant) for n in range(2)}
    if kind == "string":
        if shape.enum:
            return shape.enum[variant % len(shape.enum)]
        text = TEXTS.get(shape.name, f"{name.lower()}-1")
        return text.ljust(shape.metadata.get("min", 0), "x")
    if kind in ("integer", "long"):
        least, most = shape.metadata.get("min", 0), shape.metadata.get("max", 1 << 20)
        return max(least, min(most, least + 1 + variant))
    if kind == "boolean":
        return variant % 2 == 0
    if kind == "timestamp":
        return 1_790_000_000.25 + variant
    sys.exit(f"no value for a member of type {kind}: add this type to fill()")


def expected(group, specification):
    """The entry for UpdateCluster that keeps the group unchanged."""
    sent, used = {}, set()
    for name in specification.members:
        if name in RENAMED:
            used.add(RENAMED[name])
        elif name in IMAGE:
            used.add(IMAGE[name])
        elif name in DESIRED:
            used.add(name)
            if name in group:
                inner = {
                    to: group[name][source]
                    for to, source in DESIRED[name].items()
                    if source in group[name]
                }
                unknown = set(specification.members[name].members) - set(DESIRED[name])
                if unknown:
                    sys.exit(f"new members of {name}, add to DESIRED: {sorted(unknown)}")
                sent[name] = inner
        else:
            used.add(name)
            if name in group:
                sent[name] = group[name]
    if "DesiredImageReleaseVersion" in group:
        sent["ImageReleaseVersion"] = group["DesiredImageReleaseVersion"]
    elif "DesiredImageId" in group:
        sent["ImageId"] = group["DesiredImageId"]
    unexplained = set(group) - used - READ_ONLY
    if unexplained:
        sys.exit(f"new members of the group, add them to a table: {sorted(unexplained)}")
    return sent


def main():
    model = botocore.session.get_session().get_service_model("sagemaker")
    details = model.shape_for("ClusterInstanceGroupDetails")
    specification = model.shape_for("ClusterInstanceGroupSpecification")
    missing = (
        set(specification.members)
        - set(details.members)
        - set(RENAMED)
        - set(IMAGE)
    )
    if missing:
        sys.exit(f"the request has members that the group does not have: {sorted(missing)}")

    cases, places = [], []

    def case(name, group):
        sent = expected(group, specification)
        problems = ParamValidator().validate({"InstanceCount": 1, **sent}, specification)
        # Without ExecutionRole the request would be invalid.
        if problems.has_errors() and "ExecutionRole" in group:
            sys.exit(f"{name}: {problems.generate_report()}")
        cases.append({"name": name, "group": group, "sent": sent})

    for variant in range(8):
        kept = places if variant == 0 else None
        group = fill(details, variant=variant, places=kept)
        group["CurrentCount"] = group["TargetCount"] = 7
        group["MinCount"] = 5
        group["CurrentImageId"] = group["DesiredImageId"]
        group["CurrentImageReleaseVersion"] = group["DesiredImageReleaseVersion"]
        case(f"fullest, variant {variant}", group)
        for name in details.members:
            if name in ("InstanceGroupName", "ExecutionRole", "TargetCount"):
                continue
            less = {key: value for key, value in group.items() if key != name}
            if name == "DesiredImageReleaseVersion":
                less.pop("CurrentImageReleaseVersion")
            if name == "DesiredImageId":
                less.pop("CurrentImageId")
            case(f"without {name}, variant {variant}", less)
        plain = {
            key: group[key]
            for key in ("InstanceGroupName", "ExecutionRole", "TargetCount", "CurrentCount")
        }
        for name in details.members:
            if name.startswith("Current") or name in plain or name == "MinCount":
                continue
            only = {**plain, name: group[name]}
            case(f"only {name}, variant {variant}", only)
    json.dump({"cases": cases, "places": places}, sys.stdout)


main()
