"""The endpoint under test, its clients, and the record of raw bodies."""

import http.client
import json
import os
import re
import signal
import subprocess

import boto3
import botocore.config
import botocore.exceptions

import walker
import worlds

OPERATIONS = [
    "ListClusters",
    "DescribeCluster",
    "ListClusterNodes",
    "DescribeClusterNode",
    "BatchDeleteClusterNodes",
    "UpdateCluster",
    "BatchAddClusterNodes",
    "UpdateClusterSoftware",
    "ListClusterEvents",
    "ListTags",
]
# Start of all worlds, in milliseconds: 2026-03-02T00:00:00Z.
START = 1_772_409_600_000
HOUR = 3_600_000
MINUTE = 60_000
TESTS = []


def test(function):
    TESTS.append(function)
    return function


class Bodies:
    """The raw bodies of all responses, and their violations of the model."""

    def __init__(self, model):
        self.model = model
        self.checked = 0
        self.operations = set()
        self.complaints = []
        self.expected = None

    def see(self, operation, status, headers, raw):
        body = json.loads(raw)
        self.checked += 1
        self.operations.add((operation, status))
        shape = self.model.operation_model(operation).output_shape
        wrong = walker.walk(body, shape) if status == 200 else self.of_error(headers, body)
        wrong = [f"{operation}: {what}" for what in wrong]
        if self.expected is not None:
            self.expected.extend(wrong)
        else:
            self.complaints.extend(wrong)

    def of_error(self, headers, body):
        """Checks an error: it must have its code in the body and in a header, and the
        members of the model if the model has this error."""
        code = body.get("__type")
        if not code or headers.get("x-amzn-errortype") != code:
            yield f"error {body} with x-amzn-errortype {headers.get('x-amzn-errortype')}"
            return
        if not headers.get("x-amzn-requestid"):
            yield "error without x-amzn-requestid"
        shape = next((s for s in self.model.error_shapes if s.name == code), None)
        if shape is None:
            if not isinstance(body.get("message"), str):
                yield f"error {code} without a message"
            return
        yield from walker.walk({k: v for k, v in body.items() if k != "__type"}, shape)


class Endpoint:
    """`trimtab simulate` with all worlds, in lock-step."""

    def __init__(self, program, folder):
        command = [program, "simulate", "--listen", "127.0.0.1:0", "--speed", "0"]
        for name, text in worlds.WORLDS.items():
            path = os.path.join(folder, f"{name}.toml")
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
            command += ["--world", path]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        first = self.process.stdout.readline()
        found = re.search(r"listening on (http://127\.0\.0\.1:(\d+))$", first.strip())
        if not found:
            raise SystemExit(f"no address in the first line of trimtab simulate: {first!r}")
        self.url, self.port = found[1], int(found[2])
        for line in self.process.stdout:
            if line.startswith("try: "):
                self.hint = line.strip()
                break

    def world_api(self, method, path, body=None):
        """Sends a request to /_world. Returns status, body and headers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        text = None if body is None else json.dumps(body)
        connection.request(method, f"/_world{path}", body=text)
        answer = connection.getresponse()
        raw = answer.read()
        connection.close()
        return answer.status, json.loads(raw), dict(answer.getheaders())

    def advance(self, millis):
        status, body, _ = self.world_api("POST", "/classic/advance", {"by": millis})
        assert status == 200, body

    def hour(self, hour):
        """Advances all worlds to this many hours after their start."""
        status, body, _ = self.world_api("GET", "/classic/clock")
        to = START + int(hour * HOUR)
        assert status == 200 and body["true_now"] <= to, (body, hour)
        status, body, _ = self.world_api("POST", "/classic/advance", {"to": to})
        assert status == 200, body

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=30)


class Cloud:
    """The endpoint, a boto3 client and the record of raw bodies."""

    def __init__(self, program, folder):
        self.endpoint = Endpoint(program, folder)
        self.api = self.client("us-west-2")
        self.bodies = Bodies(self.api.meta.service_model)
        self.record(self.api)

    def client(self, region, key="AKIDEXAMPLE"):
        return boto3.client(
            "sagemaker",
            region_name=region,
            endpoint_url=self.endpoint.url,
            aws_access_key_id=key,
            aws_secret_access_key="x",
            config=botocore.config.Config(
                retries={"total_max_attempts": 1}, read_timeout=30, parameter_validation=True
            ),
        )

    def record(self, client):
        def after(http_response, model, **_):
            headers = {k.lower(): v for k, v in http_response.headers.items()}
            self.bodies.see(model.name, http_response.status_code, headers, http_response.content)

        client.meta.events.register("after-call.sagemaker", after)

    def with_faults(self, call):
        """The result of a call, and the violations in the bodies of its responses."""
        self.bodies.expected = []
        try:
            answer = call()
        finally:
            found, self.bodies.expected = self.bodies.expected, None
        return answer, found

    def raw(self, operation, body):
        """Sends a request that no client would send. Returns status and body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.endpoint.port, timeout=60)
        text = body if isinstance(body, (bytes, str)) else json.dumps(body)
        headers = {
            "X-Amz-Target": f"SageMaker.{operation}",
            "Content-Type": "application/x-amz-json-1.1",
        }
        connection.request("POST", "/", body=text, headers=headers)
        answer = connection.getresponse()
        raw = answer.read()
        connection.close()
        if operation in OPERATIONS:
            lower = {k.lower(): v for k, v in answer.getheaders()}
            self.bodies.see(operation, answer.status, lower, raw)
        return answer.status, json.loads(raw)

    def nodes(self, cluster, group="workers", size=100, **more):
        """All nodes of a group, or of all groups, from all pages."""
        found = []
        if group:
            more["InstanceGroupNameContains"] = group
        pages = self.api.get_paginator("list_cluster_nodes").paginate(
            ClusterName=cluster, PaginationConfig={"PageSize": size}, **more
        )
        for page in pages:
            found += page["ClusterNodeSummaries"]
        return found

    def ids(self, cluster, group="workers", status="Running"):
        nodes = self.nodes(cluster, group)
        return [n["InstanceId"] for n in nodes if n["InstanceStatus"]["Status"] == status]

    def cluster(self, name):
        return self.api.describe_cluster(ClusterName=name)

    def group(self, cluster, name="workers"):
        groups = self.cluster(cluster)["InstanceGroups"]
        return next((g for g in groups if g["InstanceGroupName"] == name), None)

    def refused(self, call, code, text=""):
        """Checks that a call fails with this code and text. Returns the error response."""
        try:
            answer = call()
        except botocore.exceptions.ClientError as error:
            said = error.response["Error"]
            assert said["Code"] == code and text in said["Message"], said
            assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 400, error.response
            return error.response
        raise AssertionError(f"expected error {code}, got {answer}")

    def delete(self, cluster, ids=(), logical=()):
        request = {"ClusterName": cluster}
        if ids:
            request["NodeIds"] = list(ids)
        if logical:
            request["NodeLogicalIds"] = list(logical)
        return self.api.batch_delete_cluster_nodes(**request)


def echo(group, **changes):
    """An entry for UpdateCluster with the current values of a group of DescribeCluster."""
    same = [
        "InstanceGroupName",
        "InstanceType",
        "LifeCycleConfig",
        "ExecutionRole",
        "ThreadsPerCore",
        "InstanceStorageConfigs",
        "OnStartDeepHealthChecks",
        "TrainingPlanArn",
        "OverrideVpcConfig",
        "ScheduledUpdateConfig",
        "CapacityRequirements",
        "SlurmConfig",
        "NetworkInterface",
    ]
    sent = {name: group[name] for name in same if name in group}
    sent["InstanceCount"] = group["TargetCount"]
    if "MinCount" in group:
        sent["MinInstanceCount"] = group["MinCount"]
    if "AutoPatchConfig" in group:
        patch = dict(group["AutoPatchConfig"])
        patch.pop("CurrentPatchSchedule", None)
        desired = patch.pop("DesiredPatchSchedule", None)
        sent["AutoPatchConfig"] = {**patch, **({"PatchSchedule": desired} if desired else {})}
    if "KubernetesConfig" in group:
        config = group["KubernetesConfig"]
        sent["KubernetesConfig"] = {
            "Labels": config["DesiredLabels"],
            "Taints": config["DesiredTaints"],
        }
    sent.update(changes)
    return {name: value for name, value in sent.items() if value is not None}
