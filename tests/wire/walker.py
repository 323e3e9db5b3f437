"""Checks a raw JSON body against botocore's model of the API, member by member.

botocore's clients do not check what they receive: they accept a wrong enum value, a
missing member or a timestamp as text. This walker uses only the shapes of the model, and
none of trimtab's code.
"""

import re

# Timestamps are in seconds. A time in milliseconds is far above this limit (year 2096).
LATEST_SECOND = 4_000_000_000
# Character classes of Java that Python's regular expressions do not have. The models use
# them inside brackets.
JAVA_CLASSES = {r"\p{L}": "a-zA-Z\u00c0-\uffff", r"\p{Z}": " ", r"\p{N}": "0-9"}


def pattern_of(shape):
    """The compiled pattern of a shape, or None."""
    text = shape.metadata.get("pattern")
    if text is None:
        return None
    for java, python in JAVA_CLASSES.items():
        text = text.replace(java, python)
    return re.compile(text, re.DOTALL)


def walk(body, shape, path=""):
    """All violations in a body, as a list of sentences."""
    return list(_walk(body, shape, path or shape.name))


def _walk(value, shape, path):
    kind = shape.type_name
    if kind == "structure":
        yield from _structure(value, shape, path)
    elif kind == "list":
        if not isinstance(value, list):
            yield f"{path}: {value!r} is not a list"
            return
        yield from _bounds(len(value), shape, path, "items")
        for number, item in enumerate(value):
            yield from _walk(item, shape.member, f"{path}[{number}]")
    elif kind == "map":
        if not isinstance(value, dict):
            yield f"{path}: {value!r} is not a map"
            return
        yield from _bounds(len(value), shape, path, "entries")
        for key, item in value.items():
            yield from _walk(key, shape.key, f"{path} key")
            yield from _walk(item, shape.value, f"{path}[{key}]")
    elif kind == "string":
        yield from _string(value, shape, path)
    elif kind in ("integer", "long"):
        if isinstance(value, bool) or not isinstance(value, int):
            yield f"{path}: {value!r} is not an integer"
            return
        yield from _bounds(value, shape, path, "")
    elif kind in ("float", "double"):
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            yield f"{path}: {value!r} is not a number"
            return
        yield from _bounds(value, shape, path, "")
    elif kind == "boolean":
        if not isinstance(value, bool):
            yield f"{path}: {value!r} is not a boolean"
    elif kind == "timestamp":
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            yield f"{path}: {value!r} is not a timestamp (a number of seconds)"
        elif not 0 <= value <= LATEST_SECOND:
            yield f"{path}: {value!r} is not a time in seconds"
    else:
        yield f"{path}: the walker does not support the type {kind}"


def _structure(value, shape, path):
    if not isinstance(value, dict):
        yield f"{path}: {value!r} is not a structure"
        return
    names = {
        member.serialization.get("name", name): member for name, member in shape.members.items()
    }
    by_case = {name.lower(): name for name in names}
    for name in value:
        if name in names:
            continue
        right = by_case.get(name.lower())
        if right:
            yield f"{path}: {name} is spelled {right} in the model"
        else:
            yield f"{path}: {name} is not a member of {shape.name}"
    for name in shape.required_members:
        if value.get(name) is None:
            yield f"{path}: the required member {name} is missing"
    for name, member in names.items():
        if name in value:
            if value[name] is None:
                yield f"{path}.{name}: null"
            else:
                yield from _walk(value[name], member, f"{path}.{name}")
    if getattr(shape, "is_tagged_union", False) and len(value) != 1:
        yield f"{path}: a union with {len(value)} members"


def _string(value, shape, path):
    if not isinstance(value, str):
        yield f"{path}: {value!r} is not a string"
        return
    enum = getattr(shape, "enum", None) or shape.metadata.get("enum")
    if enum and value not in enum:
        yield f"{path}: {value!r} is not one of {len(enum)} values"
    yield from _bounds(len(value), shape, path, "characters")
    pattern = pattern_of(shape)
    if pattern and not pattern.fullmatch(value):
        yield f"{path}: {value!r} does not match {pattern.pattern}"


def _bounds(size, shape, path, what):
    low, high = shape.metadata.get("min"), shape.metadata.get("max")
    if low is not None and size < low:
        yield f"{path}: {size} {what} below the minimum {low}"
    if high is not None and size > high:
        yield f"{path}: {size} {what} above the maximum {high}"


def planted_faults():
    """Bodies with one fault each: a name for the fault, the operation, the body, and a
    pattern for the sentence that the walker must report (None for no fault)."""
    node = {
        "InstanceGroupName": "workers",
        "InstanceId": "i-0123456789abcdef0",
        "InstanceType": "ml.g5.8xlarge",
        "LaunchTime": 1772409600.5,
        "InstanceStatus": {"Status": "Running"},
    }

    def nodes(**changes):
        changed = {**node, **changes}
        return {"ClusterNodeSummaries": [{k: v for k, v in changed.items() if v is not None}]}

    lists, deletes = "ListClusterNodes", "BatchDeleteClusterNodes"
    arn = "arn:aws:sagemaker:us-west-2:123456789012:cluster/abcdefghijkl"
    return [
        ("nothing", lists, nodes(), None),
        ("an unknown member", lists, nodes(Health=100), "not a member"),
        ("a member in another case", lists, nodes(launchTime=1.0), "is spelled LaunchTime"),
        ("a required member missing", lists, nodes(LaunchTime=None), "LaunchTime is missing"),
        ("a list for a structure", lists, nodes(InstanceStatus=[]), "not a structure"),
        ("an unknown status", lists, nodes(InstanceStatus={"Status": "Idle"}), "not one of"),
        ("a time as text", lists, nodes(LaunchTime="2026-03-02T00:00:00Z"), "not a timestamp"),
        ("a time in milliseconds", lists, nodes(LaunchTime=1772409600500), "in seconds"),
        ("a number for a text", lists, nodes(InstanceId=7), "not a string"),
        ("a bad name", lists, nodes(InstanceGroupName="-x"), "does not match"),
        ("a name too long", lists, nodes(InstanceGroupName="x" * 64), "above the maximum 63"),
        ("an empty list of failures", deletes, {"Failed": []}, "below the minimum 1"),
        ("a bad node id", deletes, {"Successful": ["i-111112222233333"]}, "does not match"),
        ("a null", deletes, {"Successful": None}, "null"),
        ("a text for a list", deletes, {"Successful": "i-0123456789abcdef0"}, "not a list"),
        (
            "a count as a float",
            "DescribeCluster",
            {
                "ClusterArn": arn,
                "ClusterStatus": "InService",
                "InstanceGroups": [{"CurrentCount": 1.0}],
            },
            "not an integer",
        ),
        (
            "a count out of range",
            "DescribeCluster",
            {
                "ClusterArn": arn,
                "ClusterStatus": "InService",
                "InstanceGroups": [{"TargetCount": 6759}],
            },
            "above the maximum|6759",
        ),
        (
            "a text for a boolean",
            "DescribeCluster",
            {
                "ClusterArn": arn,
                "ClusterStatus": "InService",
                "InstanceGroups": [
                    {"InstanceStorageConfigs": [{"EbsVolumeConfig": {"RootVolume": "yes"}}]}
                ],
            },
            "not a boolean",
        ),
    ]
