"""Tests of operations that change nodes and groups."""

from cloud import MINUTE, echo, test


@test
def one_and_ninety_nine_nodes_go_and_a_hundred_do_not(cloud):
    ids = cloud.ids("main")
    assert len(ids) == 1000
    answer = cloud.delete("main", ids[:1])
    assert answer["Successful"] == ids[:1] and "Failed" not in answer
    before = cloud.group("main")["TargetCount"]
    assert before == 999, before
    answer = cloud.delete("main", ids[1:100])
    assert sorted(answer["Successful"]) == sorted(ids[1:100]) and "Failed" not in answer
    for n in (100, 250):
        cloud.refused(lambda: cloud.delete("main", ids[100 : 100 + n]), "ValidationException")
    group = cloud.group("main")
    assert (group["TargetCount"], group["CurrentCount"]) == (900, 1000), group
    assert "ActiveOperations" not in group
    assert cloud.cluster("main")["ClusterStatus"] == "InService"
    leaving = cloud.ids("main", status="ShuttingDown")
    assert sorted(leaving) == sorted(ids[:100])
    cloud.endpoint.advance(2 * MINUTE + 1000)
    assert len(cloud.nodes("main")) == 900
    assert cloud.group("main")["CurrentCount"] == 1000, "counts are updated later than the listing"
    cloud.endpoint.advance(MINUTE)
    assert cloud.group("main")["CurrentCount"] == 900


@test
def some_bad_ids_fail_by_themselves_and_all_bad_ids_fail_the_request(cloud):
    good = cloud.ids("main")[:2]
    head = cloud.ids("main", "head")
    unknown = ["i-00000000000000000", "i-0a1b2c3d"]
    cloud.delete("main", good[:1])
    answer = cloud.delete("main", [good[1], good[0], head[0], *unknown])
    assert answer["Successful"] == [good[1]]
    codes = {f["NodeId"]: f["Code"] for f in answer["Failed"]}
    assert codes == {
        good[0]: "InvalidNodeStatus",
        head[0]: "InvalidNodeStatus",
        unknown[0]: "NodeIdNotFound",
        unknown[1]: "NodeIdNotFound",
    }, codes
    bad = [head[0], *unknown]
    error = cloud.refused(lambda: cloud.delete("main", bad), "ValidationException", unknown[0])
    assert "Failed" not in error
    assert head == cloud.ids("main", "head")
    cloud.refused(lambda: cloud.delete("nowhere", good), "ResourceNotFound")


@test
def a_classic_cluster_takes_one_operation_at_a_time(cloud):
    ids = cloud.ids("classic")
    cloud.delete("classic", ids[:2])
    described = cloud.cluster("classic")
    assert described["ClusterStatus"] == "Updating"
    cloud.refused(lambda: cloud.delete("classic", ids[2:3]), "ConflictException")
    group = cloud.group("classic")
    update = lambda: cloud.api.update_cluster(
        ClusterName="classic", InstanceGroups=[echo(group, InstanceCount=12)]
    )
    cloud.refused(update, "ConflictException")
    logical = lambda: cloud.delete("classic", logical=["node-0123456789abcdef"])
    cloud.refused(logical, "ValidationException", "Continuous")
    cloud.refused(
        lambda: cloud.api.list_cluster_events(ClusterName="classic"), "ValidationException"
    )
    add = lambda: cloud.api.batch_add_cluster_nodes(
        ClusterName="classic",
        NodesToAdd=[{"InstanceGroupName": "workers", "IncrementTargetCountBy": 1}],
    )
    cloud.refused(add, "ValidationException", "Continuous")
    cloud.endpoint.advance(4 * MINUTE)
    assert cloud.cluster("classic")["ClusterStatus"] == "InService"
    assert cloud.group("classic")["CurrentCount"] == 10


@test
def a_cluster_that_was_never_patched_refuses_deletes_until_it_is(cloud):
    ids = cloud.ids("unpatched")
    cloud.refused(
        lambda: cloud.delete("unpatched", ids[:1]), "ValidationException", "UpdateClusterSoftware"
    )
    arn = cloud.api.update_cluster_software(ClusterName="unpatched")["ClusterArn"]
    described = cloud.cluster("unpatched")
    assert arn == described["ClusterArn"] and described["ClusterStatus"] == "SystemUpdating"
    workers = cloud.group("unpatched")
    assert workers["SoftwareUpdateStatus"] == "InProgress"
    assert workers["DesiredImageReleaseVersion"] != workers["CurrentImageReleaseVersion"]
    assert cloud.ids("unpatched", status="SystemUpdating") == ids
    again = lambda: cloud.api.update_cluster_software(ClusterName="unpatched")
    cloud.refused(again, "ConflictException")
    cloud.endpoint.advance(41 * MINUTE)
    assert cloud.group("unpatched")["CurrentImageReleaseVersion"] == "1.0.4"
    node = cloud.nodes("unpatched")[0]
    assert node["LastSoftwareUpdateTime"] > node["LaunchTime"]
    assert cloud.delete("unpatched", ids[:1])["Successful"] == ids[:1]


@test
def two_hundred_and_fifty_ids_go_where_the_world_lets_them(cloud):
    ids = cloud.ids("wide")
    answer = cloud.delete("wide", ids[:250])
    assert len(answer["Successful"]) == 250 and "Failed" not in answer
    assert cloud.group("wide")["TargetCount"] == 50
    many = cloud.ids("other")[:100]
    cloud.refused(lambda: cloud.delete("other", many), "ResourceLimitExceeded")


@test
def the_other_answer_to_every_question_of_a_delete_can_be_had(cloud):
    ids = cloud.ids("other")
    bad = ["i-00000000000000000"]
    error = cloud.refused(lambda: cloud.delete("other", bad), "ValidationException")
    raw = cloud.raw("BatchDeleteClusterNodes", {"ClusterName": "other", "NodeIds": bad})[1]
    assert [f["Code"] for f in raw["Failed"]] == ["NodeIdNotFound"], (raw, error)
    held = cloud.ids("other", "held")
    cloud.refused(lambda: cloud.delete("other", held[:2]), "ValidationException", "MinCount")
    cloud.delete("other", held[:1])
    cloud.delete("other", ids[:5])
    group = cloud.group("other")
    assert group["TargetCount"] == 150, "it falls when the nodes are terminated"
    assert group["ActiveOperations"] == {"Scaling": 1}
    cloud.endpoint.advance(2 * MINUTE + 1000)
    assert cloud.group("other")["TargetCount"] == 145
    assert cloud.api.list_cluster_events(ClusterName="other")["Events"] == []
    cloud.refused(lambda: cloud.delete("other-classic", bad), "NodeIdNotFound")
    classic = cloud.ids("other-classic")
    cloud.delete("other-classic", classic[:1])
    cloud.refused(lambda: cloud.delete("other-classic", classic[1:2]), "ValidationException")
    cloud.endpoint.advance(4 * MINUTE)


@test
def a_client_token_adds_nodes_once_within_eight_hours(cloud):
    request = {
        "ClusterName": "main",
        "ClientToken": "only-once",
        "NodesToAdd": [
            {"InstanceGroupName": "spare", "IncrementTargetCountBy": 3},
            {"InstanceGroupName": "nothing", "IncrementTargetCountBy": 2},
            {
                "InstanceGroupName": "spare",
                "IncrementTargetCountBy": 1,
                "AvailabilityZones": ["us-west-2c"],
            },
            {
                "InstanceGroupName": "spare",
                "IncrementTargetCountBy": 1,
                "InstanceTypes": ["ml.p5.48xlarge"],
            },
        ],
    }
    add = cloud.api.batch_add_cluster_nodes
    first = add(**request)
    assert [n["Status"] for n in first["Successful"]] == ["Pending"] * 3
    codes = [f["ErrorCode"] for f in first["Failed"]]
    assert codes == [
        "InstanceGroupNotFound",
        "IncompatibleAvailabilityZones",
        "IncompatibleInstanceTypes",
    ], codes
    group = cloud.group("main", "spare")
    assert group["TargetCount"] == 9 and group["ActiveOperations"] == {"Scaling": 1}
    logical = [n["NodeLogicalId"] for n in first["Successful"]]
    cloud.endpoint.advance(11 * MINUTE)
    second = add(**request)
    assert [n["NodeLogicalId"] for n in second["Successful"]] == logical
    assert [n["Status"] for n in second["Successful"]] == ["Running"] * 3
    assert cloud.group("main", "spare")["TargetCount"] == 9
    other = {**request, "NodesToAdd": request["NodesToAdd"][:1]}
    cloud.refused(lambda: add(**other), "ValidationException", "ClientToken")
    gone = cloud.delete("main", logical=logical[:1])
    assert gone["SuccessfulNodeLogicalIds"] == logical[:1] and "Successful" not in gone
    cloud.endpoint.advance(3 * MINUTE)
    assert [n["Status"] for n in add(**request)["Successful"]].count("NotFound") == 1
    too_many = [{"InstanceGroupName": "spare", "IncrementTargetCountBy": 26}] * 2
    cloud.refused(lambda: add(ClusterName="main", NodesToAdd=too_many), "ValidationException")
    beyond = [{"InstanceGroupName": "workers", "IncrementTargetCountBy": 30}]
    cloud.refused(lambda: add(ClusterName="late", NodesToAdd=beyond), "ResourceLimitExceeded")


@test
def a_node_without_an_instance_is_listed_and_deleted_by_its_logical_id(cloud):
    one = [{"InstanceGroupName": "workers", "IncrementTargetCountBy": 2}]
    added = cloud.api.batch_add_cluster_nodes(ClusterName="late", NodesToAdd=one)["Successful"]
    logical = [n["NodeLogicalId"] for n in added]
    assert len(cloud.nodes("late")) == 3
    everything = cloud.nodes("late", IncludeNodeLogicalIds=True)
    without = [n for n in everything if not n["InstanceId"]]
    assert sorted(n["NodeLogicalId"] for n in without) == sorted(logical), everything
    answer = cloud.delete("late", logical=[logical[0], "node-that-is-unknown"])
    assert answer["SuccessfulNodeLogicalIds"] == logical[:1]
    assert [f["Code"] for f in answer["FailedNodeLogicalIds"]] == ["NodeIdNotFound"]
    cloud.refused(
        lambda: cloud.delete("late", logical=["node-that-is-unknown"]), "ValidationException"
    )
    cloud.endpoint.advance(6 * MINUTE)
    booting = cloud.ids("late", status="Pending")
    assert len(booting) == 1
    cloud.refused(lambda: cloud.delete("late", booting), "ValidationException", "InvalidNodeStatus")
    main = cloud.ids("main")
    cloud.refused(
        lambda: cloud.delete("main", main[:30], [f"node-{n}" for n in range(21)]),
        "ValidationException",
        "51 identifiers",
    )
    cloud.endpoint.advance(10 * MINUTE)
    assert len(cloud.ids("late")) == 4


@test
def events_are_listed_newest_first(cloud):
    events = cloud.api.list_cluster_events(ClusterName="late", MaxResults=100)["Events"]
    times = [e["EventTime"] for e in events]
    assert times == sorted(times, reverse=True) and len(events) >= 5, events
    node = next(e["InstanceId"] for e in events if "terminated" in e["Description"])
    own = cloud.api.list_cluster_events(ClusterName="late", NodeId=node)["Events"]
    assert {e["InstanceId"] for e in own} == {node} and len(own) == 3, own
    groups = cloud.api.list_cluster_events(ClusterName="late", ResourceType="InstanceGroup")
    assert all("InstanceId" not in e for e in groups["Events"]) and groups["Events"]
    first = cloud.api.list_cluster_events(ClusterName="late", MaxResults=1)
    second = cloud.api.list_cluster_events(
        ClusterName="late", MaxResults=1, NextToken=first["NextToken"]
    )
    assert [first["Events"][0], second["Events"][0]] == events[:2]


def update(cloud, cluster, *groups, **more):
    if groups:
        more["InstanceGroups"] = list(groups)
    return cloud.api.update_cluster(ClusterName=cluster, **more)


@test
def a_group_goes_up_down_and_to_zero_by_its_count_and_stays(cloud):
    ids = cloud.ids("main", "spare")
    group = cloud.group("main", "spare")
    before = group["TargetCount"]
    arn = update(cloud, "main", echo(group, InstanceCount=before + 2))["ClusterArn"]
    assert arn == cloud.cluster("main")["ClusterArn"]
    cloud.endpoint.advance(12 * MINUTE)
    assert len(cloud.ids("main", "spare")) == before + 2
    group = cloud.group("main", "spare")
    update(cloud, "main", echo(group, InstanceCount=3))
    leaving = cloud.ids("main", "spare", "ShuttingDown")
    assert len(leaving) == before - 1
    assert leaving != (ids + leaving)[: len(leaving)], "the service does not delete the oldest nodes"
    assert cloud.group("main", "spare")["TargetCount"] == 3
    cloud.endpoint.advance(4 * MINUTE)
    left = cloud.group("main", "spare")
    assert (left["CurrentCount"], left["TargetCount"]) == (3, 3)
    unchanged = {k: v for k, v in group.items() if "Count" not in k}
    assert {k: v for k, v in left.items() if "Count" not in k} == unchanged
    update(cloud, "main", echo(left, InstanceCount=0))
    cloud.endpoint.advance(4 * MINUTE)
    empty = cloud.group("main", "spare")
    assert (empty["CurrentCount"], empty["TargetCount"]) == (0, 0)
    assert cloud.nodes("main", "spare") == []


@test
def a_new_name_adds_a_group_and_only_the_delete_list_takes_one_away(cloud):
    like = cloud.group("main", "spare")
    kept = len(cloud.cluster("main")["InstanceGroups"])
    fresh = echo(like, InstanceGroupName="fresh", InstanceCount=2)
    fresh["CapacityRequirements"] = {"Spot": {}}
    update(cloud, "main", fresh)
    group = cloud.group("main", "fresh")
    assert (group["TargetCount"], group["CurrentCount"]) == (2, 0)
    cloud.endpoint.advance(25 * MINUTE)
    node = cloud.ids("main", "fresh")[0]
    node = cloud.api.describe_cluster_node(ClusterName="main", NodeId=node)["NodeDetails"]
    assert node["CapacityType"] == "Spot"
    assert len(cloud.cluster("main")["InstanceGroups"]) == kept + 1
    both = lambda: update(
        cloud, "main", echo(cloud.group("main", "fresh")), InstanceGroupsToDelete=["fresh"]
    )
    cloud.refused(both, "ValidationException", "fresh")
    everything = [g["InstanceGroupName"] for g in cloud.cluster("wide")["InstanceGroups"]]
    cloud.refused(
        lambda: update(cloud, "wide", InstanceGroupsToDelete=everything),
        "ValidationException",
        "at least one",
    )
    cloud.refused(
        lambda: update(cloud, "main", InstanceGroupsToDelete=["unknown"]), "ValidationException"
    )
    update(cloud, "main", InstanceGroupsToDelete=["fresh"])
    assert cloud.group("main", "fresh")["Status"] == "Deleting"
    again = lambda: update(cloud, "main", echo(cloud.group("main", "fresh"), InstanceCount=1))
    cloud.refused(again, "ConflictException")
    cloud.endpoint.advance(4 * MINUTE)
    assert cloud.group("main", "fresh") is None
    assert len(cloud.cluster("main")["InstanceGroups"]) == kept


@test
def what_may_not_change_is_refused(cloud):
    group = cloud.group("main")
    role = "arn:aws:iam::123456789012:role/Another"
    network = {"SecurityGroupIds": ["sg-1"], "Subnets": ["subnet-1"]}
    for changes, text in [
        ({"InstanceType": "ml.p5.48xlarge"}, "InstanceType"),
        ({"ExecutionRole": role}, "ExecutionRole"),
        ({"ThreadsPerCore": 2}, "ThreadsPerCore"),
        ({"OverrideVpcConfig": network}, "Updating fields OverrideVpcConfig on an InstanceGroup"),
        ({"CapacityRequirements": {"Spot": {}}}, "CapacityRequirements"),
        ({"SlurmConfig": {"NodeType": "Login"}}, "NodeType"),
        ({"MinInstanceCount": 5, "InstanceCount": 4}, "MinInstanceCount"),
        ({"InstanceType": None}, "InstanceRequirements"),
    ]:
        call = lambda changes=changes: update(cloud, "main", echo(group, **changes))
        cloud.refused(call, "ValidationException", text)
    head = cloud.group("main", "head")
    cloud.refused(
        lambda: update(cloud, "main", echo(head, InstanceCount=0)), "ValidationException", "controller"
    )
    one = echo(group)
    cloud.refused(lambda: update(cloud, "main", one, one), "ValidationException", "twice")
    strategy = {"Slurm": {"SlurmConfigStrategy": "Merge"}}
    cloud.refused(lambda: update(cloud, "main", Orchestrator=strategy), "ValidationException")
    mode = {"NodeProvisioningMode": "Continuous"}
    cloud.refused(lambda: update(cloud, "classic", **mode), "ValidationException")
    held = cloud.group("other", "held")
    low = echo(held, InstanceCount=1, MinInstanceCount=None)
    low.pop("OverrideVpcConfig"), low.pop("CapacityRequirements")
    cloud.refused(lambda: update(cloud, "other", low), "ValidationException", "MinCount")


@test
def an_echo_is_refused_and_an_omission_clears_where_the_world_says_so(cloud):
    planned = cloud.group("other", "planned")
    plain = echo(planned)
    cloud.refused(
        lambda: update(cloud, "other", plain), "ValidationException", "OverrideVpcConfig"
    )
    plain.pop("OverrideVpcConfig")
    update(cloud, "other", plain)
    assert cloud.group("other", "planned")["TrainingPlanArn"] == planned["TrainingPlanArn"]
    plain.pop("TrainingPlanArn")
    update(cloud, "other", plain)
    assert "TrainingPlanArn" not in cloud.group("other", "planned")


@test
def the_cluster_itself_is_updated_without_any_group(cloud):
    update(cloud, "main", NodeRecovery="None")
    assert cloud.cluster("main")["NodeRecovery"] == "None"
    refused = lambda: update(cloud, "main", AutoScaling={"Mode": "Enable"})
    cloud.refused(refused, "ValidationException")
    raw = lambda more: cloud.raw("UpdateCluster", {"ClusterName": "full", **more})
    role = "arn:aws:iam::123456789012:role/ClusterRole"
    assert raw({"ClusterRole": role, "AutoScaling": {"Mode": "Enable"}})[0] == 200
    status, body = raw({"ClusterRole": role})
    assert status == 400 and "autoscaling is enabled" in body["message"], body
