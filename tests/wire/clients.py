"""Tests of the AWS CLI, of faults as a client sees them, and of `/_world`."""

import http.client
import http.server
import json
import os
import subprocess
import sys
import threading

import botocore.exceptions

import worlds
from cloud import echo, test


class Tap(http.server.BaseHTTPRequestHandler):
    """A proxy between the AWS CLI and the endpoint that records raw bodies."""

    cloud = None

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        connection = http.client.HTTPConnection("127.0.0.1", self.cloud.endpoint.port, timeout=60)
        headers = {k: v for k, v in self.headers.items() if k.lower() != "host"}
        connection.request("POST", self.path, body=body, headers=headers)
        answer = connection.getresponse()
        raw = answer.read()
        connection.close()
        lower = {k.lower(): v for k, v in answer.getheaders()}
        operation = self.headers["X-Amz-Target"].split(".")[1]
        self.cloud.bodies.see(operation, answer.status, lower, raw)
        self.send_response(answer.status)
        for name, value in lower.items():
            if name not in ("date", "connection"):
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_):
        pass


@test
def the_aws_command_line_can_call_every_operation(cloud):
    Tap.cloud = cloud
    tap = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Tap)
    threading.Thread(target=tap.serve_forever, daemon=True).start()
    aws = [sys.executable, "-m", "awscli", "--region", "us-west-2", "--output", "json"]
    aws += ["--endpoint-url", f"http://127.0.0.1:{tap.server_address[1]}", "sagemaker"]
    environment = {
        **os.environ,
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_MAX_ATTEMPTS": "1",
    }

    def run(*arguments, code=0):
        done = subprocess.run(
            [*aws, *arguments], env=environment, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == code, (arguments, done.returncode, done.stderr)
        return json.loads(done.stdout) if code == 0 else done.stderr

    named = ("--cluster-name", "main")
    arn = run("describe-cluster", *named)["ClusterArn"]
    assert len(run("list-clusters")["ClusterSummaries"]) == len(worlds.WORLDS) - 1
    nodes = run("list-cluster-nodes", *named, "--instance-group-name-contains", "workers")
    ids = [n["InstanceId"] for n in nodes["ClusterNodeSummaries"]]
    assert len(ids) == len(cloud.nodes("main")), "the AWS CLI reads all pages"
    node = run("describe-cluster-node", *named, "--node-id", ids[0])["NodeDetails"]
    assert node["InstanceStatus"]["Status"] == "Running"
    answer = run("batch-delete-cluster-nodes", *named, "--node-ids", ids[0], "i-0a1b2c3d")
    assert answer["Successful"] == ids[:1] and answer["Failed"][0]["Code"] == "NodeIdNotFound"
    said = run("batch-delete-cluster-nodes", *named, "--node-ids", "i-0a1b2c3d", code=255)
    assert "ValidationException" in said, said
    group = cloud.group("main", "spare")
    grown = json.dumps([echo(group, InstanceCount=1)])
    assert run("update-cluster", *named, "--instance-groups", grown)["ClusterArn"] == arn
    add = json.dumps([{"InstanceGroupName": "spare", "IncrementTargetCountBy": 1}])
    added = run("batch-add-cluster-nodes", *named, "--nodes-to-add", add)
    assert len(added["Successful"]) == 1
    assert run("list-cluster-events", *named)["Events"]
    assert run("list-tags", "--resource-arn", arn)["Tags"]
    assert run("update-cluster-software", *named)["ClusterArn"] == arn
    said = run("update-cluster-software", *named, code=255)
    assert "ConflictException" in said, said
    tap.shutdown()
    tap.server_close()


@test
def faults_of_the_world_show_as_a_client_of_aws_would_see_them(cloud):
    api, endpoint = cloud.api, cloud.endpoint
    listing = lambda: api.list_cluster_nodes(ClusterName="faulty", MaxResults=100)
    describe = lambda: cloud.cluster("faulty")
    add = lambda: api.batch_add_cluster_nodes(
        ClusterName="faulty",
        ClientToken="t",
        NodesToAdd=[{"InstanceGroupName": "workers", "IncrementTargetCountBy": 1}],
    )
    all_ids = cloud.ids("faulty")
    assert len(all_ids) == 12
    endpoint.hour(41.1)
    cloud.refused(listing, "ThrottlingException", "Rate")
    endpoint.hour(42.1)
    for call in (listing, describe, lambda: cloud.delete("faulty", all_ids[:1]), add):
        cloud.refused(call, "AccessDeniedException")
    endpoint.hour(43.1)
    assert len(cloud.nodes("faulty", "", size=3)) == 8, "two thirds of 13 nodes, and no token"
    endpoint.hour(44.1)
    for size in (1, 13, 100):
        ids = [n["InstanceId"] for n in cloud.nodes("faulty", "", size=size)]
        assert (len(ids), len(set(ids))) == (14, 13), ids
    endpoint.hour(45.1)
    silent = (botocore.exceptions.ConnectionClosedError, botocore.exceptions.EndpointConnectionError)

    def hung_up(call):
        try:
            answer = call()
        except silent:
            return
        raise AssertionError(f"expected no response, got {answer}")

    hung_up(lambda: cloud.delete("faulty", all_ids[:1]))
    assert cloud.ids("faulty", status="ShuttingDown") == all_ids[:1], "the request took effect without a response"
    hung_up(add)
    assert cloud.group("faulty")["TargetCount"] == 12, "one node deleted, one added"
    endpoint.hour(46.1)
    hung_up(lambda: cloud.delete("faulty", all_ids[1:2]))
    assert all_ids[1] in cloud.ids("faulty"), "the request had no effect"
    endpoint.hour(46.9)
    assert len(add()["Successful"]) == 1
    assert cloud.group("faulty")["TargetCount"] == 12, "the token prevents a second addition"
    endpoint.hour(47.1)
    nodes, found = cloud.with_faults(lambda: cloud.nodes("faulty", ""))
    statuses = [n["InstanceStatus"]["Status"] for n in nodes]
    assert statuses.count("Mending") == 1 and len(found) == 1 and "Mending" in found[0], found
    endpoint.hour(48.1)
    assert listing()["ClusterNodeSummaries"] == []
    endpoint.hour(49.1)
    cloud.refused(lambda: cloud.delete("faulty", all_ids[1:2]), "ThrottlingException", "Rate")
    endpoint.hour(50.1)
    assert describe()["ClusterStatus"] == "SystemUpdating"
    cloud.refused(lambda: cloud.delete("faulty", all_ids[1:2]), "ConflictException")
    endpoint.hour(51.1)
    assert describe()["AutoScaling"]["Mode"] == "Enable"
    endpoint.hour(52.1)
    try:
        answer = endpoint.world_api("GET", "/faulty/workload")
        raise AssertionError(f"expected no response, got status {answer[0]}")
    except (http.client.RemoteDisconnected, ConnectionResetError):
        pass
    endpoint.hour(53.1)
    ids = cloud.ids("faulty")
    answer, found = cloud.with_faults(lambda: cloud.delete("faulty", ids))
    assert answer["Successful"] and answer["Failed"], answer
    assert all("not one of" in what for what in found), found
    endpoint.hour(54.1)
    cloud.refused(lambda: cloud.delete("faulty", all_ids[1:4]), "ValidationException", "Invalid")


@test
def the_world_api_shows_the_scheduler_and_takes_cordons(cloud):
    world_api = cloud.endpoint.world_api
    status, here, headers = world_api("GET", "")
    assert status == 200 and len(here["clusters"]) == len(worlds.WORLDS)
    status, load, headers = world_api("GET", "/wide/workload")
    assert status == 200 and int(headers["x-trimtab-world-now"]) == load["at"]
    idle = next(n for n in load["nodes"] if not n["claims"])
    order = {"ledger": "l-1", "orders": [{"name": idle["name"], "action": 7}]}
    assert world_api("POST", "/wide/cordon", order)[0] == 200
    drained = lambda: next(
        n["drained"] for n in world_api("GET", "/wide/workload")[1]["nodes"] if n["name"] == idle["name"]
    )
    assert drained() == "trimtab:l-1:7"
    assert world_api("GET", "/wide/truth")[1]["cordons"] == [
        {"name": idle["name"], "reason": "trimtab:l-1:7"}
    ]
    assert world_api("POST", "/wide/release", {**order, "ledger": "l-2"})[0] == 200
    assert drained() == "trimtab:l-1:7", "release does not change a cordon of another ledger"
    world_api("POST", "/wide/release", order)
    assert drained() is None
    assert world_api("GET", "/wide/prices")[1]["workers"] == 3_060_000
    slept = world_api("POST", "/wide/sleep", {"every": 60_000})[1]
    assert slept["ring"] == "schedule" and slept["now"] > load["at"]
    for method, path, body, wanted in [
        ("GET", "/nowhere/clock", None, 404),
        ("GET", "/main/clock", None, 404),
        ("GET", "/wide/nothing", None, 404),
        ("POST", "/wide/advance", {"to": 0}, 400),
        ("POST", "/wide/cordon", {"ledger": "l-1"}, 400),
    ]:
        status, said, _ = world_api(method, path, body)
        assert status == wanted and said["why"], (method, path, status, said)


@test
def the_program_prints_how_to_call_it_and_ends_on_sigterm(cloud):
    assert f"--endpoint-url {cloud.endpoint.url} sagemaker list-clusters" in cloud.endpoint.hint
    assert cloud.endpoint.stop() == 0
