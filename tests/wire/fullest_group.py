"""The fullest instance group that the API's model allows, and what has to be sent back.

Everything is made from botocore's model file, and nothing from trimtab's code: every
member of ClusterInstanceGroupDetails gets a value, every member of
ClusterInstanceGroupSpecification is given the value that keeps it as it is. A member of
either shape that is in none of the tables below ends the program: the model has grown,
and somebody has to say what becomes of it.

Prints one JSON document: {"cases": [{"name", "group", "sent"}], "places": [...]}.
`sent` is without InstanceCount and MinInstanceCount. `places` are all the structures of
the fullest group, as JSON pointers, into which an unknown member can be put.
"""

import json
import sys

import botocore.session
from botocore.validate import ParamValidator

# Members that UpdateCluster calls otherwise (hyperpod facts, "Details to Specification").
RENAMED = {
    "InstanceCount": "TargetCount",
    "MinInstanceCount": "MinCount",
}
# Members that are wrapped in "desired" and "current" on the way out.
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
# A managed image is named by its release, a custom one by its id, never by both.
IMAGE = {"ImageReleaseVersion": "DesiredImageReleaseVersion", "ImageId": "DesiredImageId"}
# Members that only tell: there is nothing to send back.
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
# Texts whose pattern a made-up value has to match.
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
    """A value of this shape with every member set. Of a union, the variant's member."""
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
    sys.exit(f"a member of type {kind}, which this program does not know how to fill")


def expected(group, specification):
    """The request's entry, member by member of the request's own shape."""
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
                    sys.exit(f"{name} has new members in the request: {sorted(unknown)}")
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
        sys.exit(f"nobody says what becomes of {sorted(unexplained)}")
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
        sys.exit(f"the request has members that nobody shows: {sorted(missing)}")

    cases, places = [], []

    def case(name, group):
        sent = expected(group, specification)
        problems = ParamValidator().validate({"InstanceCount": 1, **sent}, specification)
        # A member without which the request would be refused by its own model.
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
