"""Tests of the walker, of operations that only read, and of invalid requests."""

import re

import walker
import worlds
from cloud import test


@test
def the_walker_finds_every_planted_fault_and_nothing_in_a_good_body(cloud):
    for what, operation, body, expected in walker.planted_faults():
        shape = cloud.bodies.model.operation_model(operation).output_shape
        found = walker.walk(body, shape)
        if expected is None:
            assert found == [], (what, found)
        else:
            assert len(found) == 1 and re.search(expected, found[0]), (what, found)


@test
def clusters_are_listed_filtered_sorted_and_paged(cloud):
    here = [name for name in worlds.WORLDS if name != "elsewhere"]
    names = []
    for page in cloud.api.get_paginator("list_clusters").paginate(
        SortBy="NAME", SortOrder="Ascending", PaginationConfig={"PageSize": 2}
    ):
        assert len(page["ClusterSummaries"]) <= 2
        names += [c["ClusterName"] for c in page["ClusterSummaries"]]
    assert names == sorted(here), names
    found = cloud.api.list_clusters(NameContains="classic", MaxResults=100)["ClusterSummaries"]
    assert {c["ClusterName"] for c in found} == {"classic", "other-classic"}
    old = cloud.api.list_clusters(CreationTimeBefore=1_718_841_600)["ClusterSummaries"]
    assert [c["ClusterName"] for c in old] == ["unpatched"]
    plan = cloud.group("other", "planned")["TrainingPlanArn"]
    planned = cloud.api.list_clusters(TrainingPlanArn=plan)["ClusterSummaries"]
    assert [c["TrainingPlanArns"] for c in planned] == [[plan]], planned


@test
def each_account_and_region_has_its_own_clusters(cloud):
    far = cloud.client("eu-central-1")
    cloud.record(far)
    assert len(far.list_clusters()["ClusterSummaries"]) == 1
    theirs = far.describe_cluster(ClusterName="main")
    assert ":eu-central-1:210987654321:cluster/" in theirs["ClusterArn"]
    ours = cloud.cluster("main")
    assert ours["ClusterArn"] != theirs["ClusterArn"]
    assert cloud.cluster(ours["ClusterArn"])["ClusterName"] == "main"
    cloud.refused(lambda: cloud.cluster(theirs["ClusterArn"]), "ResourceNotFound")
    stranger = cloud.client("us-west-2", key="AKIA210987654321")
    assert stranger.list_clusters()["ClusterSummaries"] == []


@test
def a_cluster_shows_its_groups_by_its_kind(cloud):
    main = cloud.cluster("main")
    assert main["NodeProvisioningMode"] == "Continuous" and "Slurm" in main["Orchestrator"]
    by_name = {g["InstanceGroupName"]: g for g in main["InstanceGroups"]}
    assert by_name["head"]["SlurmConfig"] == {"NodeType": "Controller"}
    workers = by_name["workers"]
    assert workers["SlurmConfig"] == {"NodeType": "Compute", "PartitionNames": ["workers"]}
    assert (workers["CurrentCount"], workers["TargetCount"]) == (1000, 1000)
    assert workers["CapacityRequirements"] == {"OnDemand": {}}
    classic = cloud.cluster("classic")
    assert "NodeProvisioningMode" not in classic and "Orchestrator" not in classic
    assert all("SlurmConfig" not in g for g in classic["InstanceGroups"])
    assert "Eks" in cloud.cluster("full")["Orchestrator"]
    assert cloud.group("other", "planned")["TrainingPlanStatus"] == "Active"
    assert cloud.group("other", "held")["MinCount"] == 3
    cloud.refused(lambda: cloud.cluster("nowhere"), "ResourceNotFound", "nowhere")


@test
def the_fullest_group_fits_the_model_and_a_member_of_no_model_is_served(cloud):
    ask = lambda name: cloud.raw("DescribeCluster", {"ClusterName": name})[1]
    odd, found = cloud.with_faults(lambda: ask("odd"))
    assert len(found) == 1 and "Novelty is not a member" in found[0], found
    assert odd["InstanceGroups"][1]["Novelty"] == {"Much": 1}
    raw = ask("full")
    fullest = next(g for g in raw["InstanceGroups"] if g["InstanceGroupName"] == "fullest")
    shape = cloud.bodies.model.shape_for("ClusterInstanceGroupDetails")
    missing = set(shape.members) - set(fullest)
    # Members of flexible groups, of Slurm groups, and of operations in progress.
    assert missing == {
        "InstanceRequirements",
        "SlurmConfig",
        "ActiveOperations",
        "SoftwareUpdateStatus",
        "ActiveSoftwareUpdateConfig",
    }, missing


@test
def a_thousand_nodes_come_over_pages_of_any_size_each_once(cloud):
    everything = None
    for size in (100, 33, 7):
        pages = cloud.api.get_paginator("list_cluster_nodes").paginate(
            ClusterName="main", PaginationConfig={"PageSize": size}
        )
        ids = []
        for page in pages:
            assert len(page["ClusterNodeSummaries"]) <= size
            ids += [n["InstanceId"] for n in page["ClusterNodeSummaries"]]
        assert len(ids) == len(set(ids)) == 1007, len(ids)
        assert everything in (None, ids)
        everything = ids
    first = cloud.api.list_cluster_nodes(ClusterName="main")
    assert len(first["ClusterNodeSummaries"]) == 10 and "NextToken" in first


@test
def a_listing_is_filtered_and_sorted_as_asked(cloud):
    nodes = cloud.nodes("main", "")
    times = [n["LaunchTime"] for n in nodes]
    assert times == sorted(times)
    back = cloud.nodes("main", "", SortOrder="Descending")
    assert [n["InstanceId"] for n in back] == [n["InstanceId"] for n in reversed(nodes)]
    named = [n["InstanceGroupName"] for n in cloud.nodes("main", "", SortBy="NAME")]
    assert named == sorted(named)
    assert {n["InstanceGroupName"] for n in cloud.nodes("main", "pare")} == {"spare"}
    middle = times[500]
    assert len(cloud.nodes("main", "", CreationTimeAfter=middle)) == 506
    assert len(cloud.nodes("main", "", CreationTimeBefore=middle)) == 500
    assert all("NodeLogicalId" not in n for n in nodes)
    with_ids = cloud.nodes("main", "spare", IncludeNodeLogicalIds=True)
    assert len({n["NodeLogicalId"] for n in with_ids}) == 6


@test
def a_token_of_another_list_is_refused(cloud):
    token = cloud.api.list_cluster_nodes(ClusterName="main")["NextToken"]
    for request in [
        {"ClusterName": "wide", "NextToken": token},
        {"ClusterName": "main", "NextToken": token, "SortBy": "NAME"},
        {"ClusterName": "main", "NextToken": token[:-1] + "g"},
        {"ClusterName": "main", "NextToken": "bogus"},
    ]:
        call = lambda request=request: cloud.api.list_cluster_nodes(**request)
        cloud.refused(call, "ValidationException", "NextToken")


@test
def one_node_is_described_by_either_id(cloud):
    node = cloud.nodes("main", "spare", IncludeNodeLogicalIds=True)[0]
    by_id = cloud.api.describe_cluster_node(ClusterName="main", NodeId=node["InstanceId"])
    by_id = by_id["NodeDetails"]
    logical = cloud.api.describe_cluster_node(
        ClusterName="main", NodeLogicalId=node["NodeLogicalId"]
    )
    assert logical["NodeDetails"] == by_id
    label = by_id["PrivateDnsHostname"].split(".", 1)
    assert label[0] == "ip-" + by_id["PrivatePrimaryIp"].replace(".", "-")
    assert label[1] == "us-west-2.compute.internal"
    assert by_id["CapacityType"] == "OnDemand"
    spot = cloud.ids("full", "fullest")[0]
    spot = cloud.api.describe_cluster_node(ClusterName="full", NodeId=spot)["NodeDetails"]
    assert spot["CapacityType"] == "Spot" and spot["KubernetesConfig"]["CurrentLabels"]
    describe = cloud.api.describe_cluster_node
    both = {"NodeId": node["InstanceId"], "NodeLogicalId": node["NodeLogicalId"]}
    cloud.refused(lambda: describe(ClusterName="main", **both), "ValidationException")
    cloud.refused(lambda: describe(ClusterName="main"), "ValidationException")
    unknown = "i-00000000000000000"
    cloud.refused(lambda: describe(ClusterName="main", NodeId=unknown), "ResourceNotFound")


@test
def tags_are_the_worlds(cloud):
    arn = cloud.cluster("main")["ClusterArn"]
    tags = cloud.api.list_tags(ResourceArn=arn)["Tags"]
    assert tags == [{"Key": "team", "Value": "research"}], tags
    cloud.refused(
        lambda: cloud.api.list_tags(ResourceArn=arn[:-1] + "_"), "ValidationException"
    )


@test
def a_bad_request_is_refused_in_the_words_of_the_service(cloud):
    status, body = cloud.raw(
        "BatchDeleteClusterNodes", {"ClusterName": "main", "NodeIds": ["i-111112222233333"]}
    )
    assert status == 400 and body["__type"] == "ValidationException"
    assert body["message"].startswith(
        "1 validation error detected: Value '[i-111112222233333]' at 'nodeIds' failed to satisfy "
        "constraint: Member must satisfy constraint: [Member must have length less than or equal"
    ), body
    for operation, request, part in [
        ("DescribeCluster", {}, "'clusterName' failed to satisfy constraint: Member must not be"),
        ("DescribeCluster", {"ClusterName": "a b"}, "regular expression pattern"),
        ("ListClusterNodes", {"ClusterName": "main", "MaxResults": 101}, "less than or equal to 100"),
        ("ListClusterNodes", {"ClusterName": "main", "MaxResults": 0}, "greater than or equal to 1"),
        ("ListClusterNodes", {"ClusterName": "main", "SortBy": "AGE"}, "enum value set"),
        ("BatchDeleteClusterNodes", {"ClusterName": "main", "NodeIds": []}, "length greater"),
        ("BatchDeleteClusterNodes", {"ClusterName": "main"}, "NodeIds or NodeLogicalIds"),
        (
            "UpdateCluster",
            {"ClusterName": "main", "InstanceGroups": [{"InstanceGroupName": "workers"}]},
            "'instanceGroups.1.member.instanceCount'",
        ),
    ]:
        status, body = cloud.raw(operation, request)
        said = body.get("message", "")
        assert status == 400 and body["__type"] == "ValidationException" and part in said, body
    for request in ['{"ClusterName": 7}', "[]", "{", '{"ClusterName": "main", "MaxResults": "5"}']:
        status, body = cloud.raw("ListClusterNodes", request)
        assert status == 400 and body["__type"] == "SerializationException", body
    status, body = cloud.raw("DeleteCluster", {"ClusterName": "main"})
    assert status == 400 and body["__type"] == "UnknownOperationException", body
    status, body = cloud.raw("ListClusterNodes", {"ClusterName": "main", "Newer": True})
    assert status == 200
