"""Checks that the endpoint's CloudWatch works with real CloudWatch clients.

The clients are boto3, the AWS CLI, and botocore's serializer and parser of
smithy-rpc-v2-cbor. They do not validate responses, so a proxy checks every raw response
against botocore's model: unknown and missing members, types, enums, patterns, lengths,
ranges and timestamps.

    python cloudwatch_checks.py ENDPOINT_URL CLUSTER

`run(endpoint_url, cluster)` returns a list of (name, ok, detail). The script needs the
packages of cloudwatch_requirements.txt. The endpoint's world must have nodes and no
metrics fault. Its clock may run or be in lock-step; the checks read the time from
CloudWatch.
"""

import contextlib
import datetime
import gzip
import http.client
import http.server
import json
import math
import os
import re
import struct
import subprocess
import sys
import threading
import urllib.parse

import boto3
import botocore.exceptions
import botocore.parsers
import botocore.serialize
import botocore.session
from botocore.config import Config

JSON, CBOR = "json", "smithy-rpc-v2-cbor"
TARGET = "GraniteServiceVersion20100801."
PATH = "/service/GraniteServiceVersion20100801/operation/"
UTC = datetime.timezone.utc
# A timestamp outside of this range is probably not in seconds.
EARLIEST, LATEST = 946_684_800, 4_102_444_800
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "simulated",
    "AWS_SECRET_ACCESS_KEY": "simulated",
    "AWS_DEFAULT_REGION": "us-west-2",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
}

MODEL = botocore.session.get_session().get_service_model("cloudwatch")


# ---- A CBOR reader that keeps the type of every item ---------------------------------

class Tag:
    def __init__(self, number, content):
        self.number, self.content = number, content


class Reader:
    """Reads the part of CBOR (RFC 8949) that the protocol uses."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, size):
        if self.at + size > len(self.data):
            raise ValueError(f"CBOR ends inside an item at byte {self.at}")
        self.at += size
        return self.data[self.at - size:self.at]

    def item(self):
        first = self.take(1)[0]
        major, info = first >> 5, first & 31
        if major == 7:
            if info in (20, 21):
                return info == 21
            if info == 22:
                return None
            size, form = {25: (2, ">e"), 26: (4, ">f"), 27: (8, ">d")}[info]
            return float(struct.unpack(form, self.take(size))[0])
        if info == 31:
            return self.endless(major)
        number = info if info < 24 else int.from_bytes(self.take(1 << (info - 24)), "big")
        if major == 0:
            return number
        if major == 1:
            return -1 - number
        if major == 2:
            return self.take(number)
        if major == 3:
            return self.take(number).decode("utf-8")
        if major == 4:
            return [self.item() for _ in range(number)]
        if major == 5:
            return self.pairs((self.item(), self.item()) for _ in range(number))
        return Tag(number, self.item())

    def endless(self, major):
        items = []
        while self.data[self.at] != 0xFF:
            items.append((self.item(), self.item()) if major == 5 else self.item())
        self.at += 1
        if major == 5:
            return self.pairs(items)
        return items if major == 4 else (b"" if major == 2 else "").join(items)

    @staticmethod
    def pairs(items):
        found = {}
        for name, value in items:
            if name in found:
                raise ValueError(f"duplicate key {name}")
            found[name] = value
        return found


def read_cbor(data):
    reader = Reader(data)
    item = reader.item()
    if reader.at != len(data):
        raise ValueError(f"{len(data) - reader.at} bytes after the item")
    return item


# ---- Comparison of a response with the model ------------------------------------------

def walk(value, shape, protocol, path="$"):
    """All violations in a raw value, as texts."""
    kind, limits = shape.type_name, shape.metadata
    if kind == "structure":
        if not isinstance(value, dict):
            return [f"{path}: {value!r} is not a structure"]
        wrong = [f"{path}.{name}: unknown member" for name in value if name not in shape.members]
        wrong += [f"{path}.{name}: missing" for name in shape.required_members if name not in value]
        for name, member in shape.members.items():
            if value.get(name) is not None:
                wrong += walk(value[name], member, protocol, f"{path}.{name}")
            elif name in value:
                wrong.append(f"{path}.{name}: null")
        return wrong
    if kind == "list":
        if not isinstance(value, list):
            return [f"{path}: {value!r} is not a list"]
        wrong = size(len(value), limits, path)
        for n, item in enumerate(value):
            wrong += walk(item, shape.member, protocol, f"{path}[{n}]")
        return wrong
    if kind == "string":
        if not isinstance(value, str):
            return [f"{path}: {value!r} is not a string"]
        wrong = size(len(value), limits, path)
        if shape.enum and value not in shape.enum:
            wrong.append(f"{path}: {value!r} is not in {shape.enum}")
        if "pattern" in limits and not re.fullmatch(limits["pattern"], value):
            wrong.append(f"{path}: {value!r} does not match {limits['pattern']}")
        return wrong
    if kind in ("integer", "long"):
        if isinstance(value, bool) or not isinstance(value, int):
            return [f"{path}: {value!r} is not an integer"]
        return size(value, limits, path)
    if kind in ("double", "float"):
        # CBOR distinguishes integers and floats, and strict clients reject an integer here.
        kinds = (float,) if protocol == CBOR else (int, float)
        if isinstance(value, bool) or not isinstance(value, kinds):
            return [f"{path}: {value!r} is not a {kind}"]
        return [] if math.isfinite(value) else [f"{path}: {value!r} is not finite"]
    if kind == "boolean":
        return [] if isinstance(value, bool) else [f"{path}: {value!r} is not a boolean"]
    if kind == "timestamp":
        if protocol == CBOR:
            if not isinstance(value, Tag) or value.number != 1:
                return [f"{path}: {value!r} has no tag 1"]
            value = value.content
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return [f"{path}: {value!r} is not a number of seconds"]
        in_range = EARLIEST <= value <= LATEST
        return [] if in_range else [f"{path}: {value!r} is not a time in seconds since the epoch"]
    return [f"{path}: the model has the type {kind}, which this script does not support"]


def size(value, limits, path):
    wrong = []
    if "min" in limits and value < limits["min"]:
        wrong.append(f"{path}: {value} is below {limits['min']}")
    if "max" in limits and value > limits["max"]:
        wrong.append(f"{path}: {value} is above {limits['max']}")
    return wrong


def check_answer(operation, protocol, asked, status, headers, body):
    """All violations in one raw response."""
    wrong = []
    if not headers.get("x-amzn-requestid"):
        wrong.append("no x-amzn-requestid")
    if protocol == CBOR and headers.get("smithy-protocol") != "rpc-v2-cbor":
        wrong.append(f"smithy-protocol is {headers.get('smithy-protocol')}")
    output = MODEL.operation_model(operation).output_shape
    if status == 200 and output is None and protocol == CBOR:
        return wrong + ([f"a body of {len(body)} bytes, but the operation has no output"] if body else [])
    expected = "application/cbor" if protocol == CBOR else "application/x-amz-json-1.0"
    if headers.get("content-type") != expected:
        wrong.append(f"content-type is {headers.get('content-type')}")
    try:
        value = read_cbor(body) if protocol == CBOR else json.loads(body)
    except (ValueError, KeyError, IndexError, struct.error) as error:
        return wrong + [f"unreadable: {error}: {body[:80]!r}"]
    if status == 200:
        if output is None:
            return wrong + ([] if value == {} else [f"{value!r}, but the operation has no output"])
        return wrong + walk(value, output, protocol)
    return wrong + check_error(operation, asked, status, headers, value)


def check_error(operation, asked, status, headers, value):
    wrong = []
    if not isinstance(value, dict) or not isinstance(value.get("__type"), str):
        return [f"error without __type: {value!r}"]
    namespace, _, name = value.pop("__type").rpartition("#")
    if not namespace:
        wrong.append(f"{name} is not an absolute shape id")
    if not 400 <= status < 600:
        wrong.append(f"error with status {status}")
    query_error = headers.get("x-amzn-query-error")
    if asked.get("x-amzn-query-mode") == "true":
        if not re.fullmatch(r"[A-Za-z.]+;(Sender|Receiver)", query_error or ""):
            wrong.append(f"x-amzn-query-error is {query_error!r}")
    elif query_error is not None:
        wrong.append("x-amzn-query-error, but the client did not request query mode")
    shape = next((s for s in MODEL.operation_model(operation).error_shapes if s.name == name), None)
    if shape is None:
        text = value.get("message")
        return wrong + ([] if isinstance(text, str) and text else [f"{name} without a message"])
    error = shape.metadata.get("error", {})
    if status != error.get("httpStatusCode", status):
        wrong.append(f"{name} with status {status}")
    if query_error and query_error.split(";")[0] != error.get("code", name):
        wrong.append(f"{name} with the query error code {query_error}")
    return wrong + walk(value, shape, JSON)


# ---- The proxy between the clients and the endpoint -----------------------------------

class Proxy:
    """Forwards requests and records violations in the responses."""

    def __init__(self, endpoint):
        self.seen, self.wrong = [], []
        target = urllib.parse.urlsplit(endpoint)
        proxy = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                headers = {name.lower(): value for name, value in self.headers.items()}
                connection = http.client.HTTPConnection(target.hostname, target.port, timeout=60)
                passed = {k: v for k, v in headers.items() if k not in ("host", "connection", "content-length")}
                connection.request("POST", self.path, body, {**passed, "connection": "close"})
                answer = connection.getresponse()
                data = answer.read()
                connection.close()
                back = {name.lower(): value for name, value in answer.getheaders()}
                proxy.keep(self.path, headers, answer.status, back, data)
                self.send_response(answer.status)
                for name, value in back.items():
                    if name not in ("connection", "content-length", "transfer-encoding", "date", "server"):
                        self.send_header(name, value)
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def keep(self, path, asked, status, headers, body):
        if path.startswith(PATH):
            protocol, operation = CBOR, path[len(PATH):]
        else:
            protocol, operation = JSON, asked.get("x-amz-target", "").removeprefix(TARGET)
        self.seen.append((operation, protocol, asked, status, body))
        if operation not in MODEL.operation_names:
            return
        for wrong in check_answer(operation, protocol, asked, status, headers, body):
            self.wrong.append(f"{operation} over {protocol}, status {status}: {wrong}")

    def close(self):
        self.server.shutdown()
        self.server.server_close()


# ---- Three clients with the same interface --------------------------------------------

class Refused(Exception):
    def __init__(self, code, message):
        super().__init__(f"{code}: {message}")
        self.code = code


class Boto3:
    name = "boto3"

    def __init__(self, url):
        config = Config(retries={"max_attempts": 0}, request_min_compression_size_bytes=1)
        self.client = boto3.client("cloudwatch", endpoint_url=url, config=config)

    def call(self, operation, **arguments):
        method = re.sub(r"(?<!^)(?=[A-Z])", "_", operation).lower()
        try:
            return getattr(self.client, method)(**arguments)
        except botocore.exceptions.ClientError as error:
            raise Refused(error.response["Error"]["Code"], error.response["Error"]["Message"]) from error


class Botocore:
    """Botocore's serializer and parser for one protocol, without its client."""

    def __init__(self, url, protocol, query_mode):
        self.url, self.protocol, self.query_mode = url, protocol, query_mode
        self.name = f"botocore's {protocol}" + (" in query mode" if query_mode else "")

    def call(self, operation, **arguments):
        model = MODEL.operation_model(operation)
        made = botocore.serialize.create_serializer(self.protocol).serialize_to_request(arguments, model)
        body = made["body"] if isinstance(made["body"], bytes) else made["body"].encode()
        headers = dict(made["headers"])
        if self.query_mode:
            headers["x-amzn-query-mode"] = "true"
        if operation == "PutMetricData":
            body, headers["content-encoding"] = gzip.compress(body), "gzip"
        target = urllib.parse.urlsplit(self.url)
        connection = http.client.HTTPConnection(target.hostname, target.port, timeout=60)
        connection.request(made["method"], made["url_path"], body, headers)
        answer = connection.getresponse()
        raw = {"status_code": answer.status, "headers": dict((k.lower(), v) for k, v in answer.getheaders()), "body": answer.read()}
        connection.close()
        parsed = botocore.parsers.create_parser(self.protocol).parse(raw, model.output_shape)
        if "Error" in parsed:
            raise Refused(parsed["Error"]["Code"], parsed["Error"]["Message"])
        return parsed


class CommandLine:
    name = "aws"

    def __init__(self, url):
        self.url = url

    def call(self, operation, **arguments):
        command = re.sub(r"(?<!^)(?=[A-Z])", "-", operation).lower()
        program = os.path.join(os.path.dirname(sys.executable), "aws")
        given = json.dumps(arguments, default=lambda time: time.isoformat())
        ran = subprocess.run(
            [program, "cloudwatch", command, "--endpoint-url", self.url, "--output", "json",
             "--no-paginate", "--cli-input-json", given],
            env={**os.environ, **CREDENTIALS, "AWS_MAX_ATTEMPTS": "1"},
            capture_output=True, text=True, timeout=120, check=False,
        )
        if ran.returncode != 0:
            found = re.search(r"error occurred \((\w+)\)[^:]*: (.*)", ran.stderr)
            raise Refused(*found.groups()) if found else RuntimeError(ran.stderr)
        return json.loads(ran.stdout) if ran.stdout.strip() else {}


# ---- The checks ----------------------------------------------------------------------

def seconds(time):
    """Converts a timestamp of any client to seconds."""
    if isinstance(time, (int, float)):
        return int(time)
    if isinstance(time, str):
        time = datetime.datetime.fromisoformat(time)
    return int(time.timestamp())


def at(second):
    return datetime.datetime.fromtimestamp(second, UTC)


def query(ident, namespace, metric, dimensions=(), stat="Maximum", period=60):
    return {
        "Id": ident,
        "MetricStat": {
            "Metric": {"Namespace": namespace, "MetricName": metric, "Dimensions": list(dimensions)},
            "Period": period,
            "Stat": stat,
        },
    }


def expect(is_so, what):
    if not is_so:
        raise AssertionError(what)


def refused(client, code, operation, **arguments):
    try:
        client.call(operation, **arguments)
    except Refused as refusal:
        expect(refusal.code in code, f"expected {' or '.join(code)}, got {refusal}")
        return
    raise AssertionError(f"expected {' or '.join(code)}, got no error")


class Checks:
    def __init__(self, url, cluster):
        self.cluster = cluster
        self.clients = [
            Boto3(url),
            CommandLine(url),
            Botocore(url, CBOR, False),
            Botocore(url, CBOR, True),
            Botocore(url, JSON, True),
        ]
        self.fast = [client for client in self.clients if client.name != "aws"]
        # A namespace per run, so that series of an earlier run on this endpoint do not count.
        self.own = f"WireChecks{os.getpid()}"

    def clock(self):
        """The endpoint's time: the timestamp that CloudWatch sets on a datum without one."""
        client = self.fast[0]
        client.call("PutMetricData", Namespace=self.own, MetricData=[{"MetricName": "clock", "Value": 1.0}])
        answer = client.call("GetMetricData", StartTime=at(EARLIEST), EndTime=at(LATEST), MetricDataQueries=[query("clock", self.own, "clock")])
        return seconds(answer["MetricDataResults"][0]["Timestamps"][0])

    def pages(self, client, operation, key, **arguments):
        found, token, count = [], None, 0
        while True:
            more = {"NextToken": token} if token else {}
            answer = client.call(operation, **arguments, **more)
            found += answer[key]
            count += 1
            token = answer.get("NextToken")
            if not token:
                return found, count

    def the_walker_notices_planted_faults(self):
        good = {"MetricDataResults": [{"Id": "a", "Label": "l", "StatusCode": "Complete", "Timestamps": [1_772_409_600], "Values": [1.5]}]}
        shape = MODEL.operation_model("GetMetricData").output_shape
        expect(walk(good, shape, JSON) == [], "a valid response is reported as invalid")
        planted = [
            ("StatusCode", "Done"), ("StatusCode", 1), ("Timestamps", ["2026-03-02T00:00:00Z"]),
            ("Timestamps", [1_772_409_600_000]), ("Values", ["1.5"]), ("Values", [True]),
            ("Values", {}), ("values", [1.5]), ("Id", ""), ("Label", None),
        ]
        for name, value in planted:
            bad = {"MetricDataResults": [{**good["MetricDataResults"][0], name: value}]}
            expect(walk(bad, shape, JSON), f"{name} = {value!r} is not reported")
        metric = {"Namespace": ":x", "MetricName": "m", "Dimensions": [{"Name": "n"}]}
        wrong = walk({"Metrics": [metric]}, MODEL.operation_model("ListMetrics").output_shape, JSON)
        expect(len(wrong) == 2, f"{wrong}")
        for raw in (b"\xa1\x66Values\x81\x01", b"\xa1\x6aTimestamps\x81\x01", b"\xa1\x62Id"):
            with contextlib.suppress(ValueError):
                result = read_cbor(raw)
                inner = shape.members["MetricDataResults"].member
                expect(walk(result, inner, CBOR), f"{raw!r} is not reported")
        error = check_answer("GetMetricData", JSON, {"x-amzn-query-mode": "true"}, 400, {"content-type": "application/x-amz-json-1.0", "x-amzn-requestid": "1"}, b'{"__type":"X"}')
        expect(len(error) == 3, f"{error}")

    def listing_has_every_series_once_in_pages_of_500(self):
        many = [{"MetricName": f"many{n}", "Value": 1.0} for n in range(600)]
        self.fast[0].call("PutMetricData", Namespace=self.own, MetricData=many)
        kept = None
        for client in self.fast:
            # Series of the world may be added or removed while its clock runs.
            found, _ = self.pages(client, "ListMetrics", "Metrics")
            texts = {json.dumps(metric, sort_keys=True) for metric in found}
            expect(len(texts) == len(found), f"{client.name}: duplicate series")
            expect(len(found) > 600, f"only {len(found)}")
            found, count = self.pages(client, "ListMetrics", "Metrics", Namespace=self.own)
            texts = {json.dumps(metric, sort_keys=True) for metric in found}
            expect(count == math.ceil(len(found) / 500), f"{client.name}: {len(found)} in {count} pages")
            expect(kept in (None, texts), f"{client.name}: different series")
            kept = texts

    def filters_leave_what_fits(self):
        for client in self.clients:
            answer = client.call("ListMetrics", MetricName="cpu_usage_active", Namespace="CWAgent", RecentlyActive="PT3H")
            expect(answer["Metrics"], f"{client.name}: no host")
            dimensions = {d["Name"]: d["Value"] for d in answer["Metrics"][0]["Dimensions"]}
            expect(set(dimensions) == {"InstanceId", "InstanceType", "cpu"}, f"{dimensions}")
            node = [{"Name": "InstanceId", "Value": dimensions["InstanceId"]}, {"Name": "cpu"}]
            answer = client.call("ListMetrics", Namespace="CWAgent", Dimensions=node)
            expect(len(answer["Metrics"]) == 1, f"{client.name}: {len(answer['Metrics'])}")
            answer = client.call("ListMetrics", Namespace="NoSuchNamespace")
            expect(answer["Metrics"] == [], f"{client.name}: series in an unknown namespace")

    def series_of_the_world_have_minutes_newest_first(self):
        now = self.clock()
        namespaces = set()
        metrics, _ = self.pages(self.fast[0], "ListMetrics", "Metrics", RecentlyActive="PT3H")
        of_world = {m["MetricName"]: m for m in metrics if m["Namespace"] in ("CWAgent", "ContainerInsights")}
        expect(len(of_world) >= 4, f"{sorted(of_world)}")
        for client in self.clients:
            queries = [query(f"q{n}", m["Namespace"], name, m["Dimensions"]) for n, (name, m) in enumerate(sorted(of_world.items()))]
            answer = client.call("GetMetricData", StartTime=at(now - 1800), EndTime=at(now), MetricDataQueries=queries)
            for result, asked in zip(answer["MetricDataResults"], queries, strict=True):
                stamps = [seconds(time) for time in result["Timestamps"]]
                name = asked["MetricStat"]["Metric"]["MetricName"]
                expect(len(stamps) >= 2, f"{client.name}: {name} has {len(stamps)}")
                expect(len(stamps) == len(result["Values"]), f"{name}: stamps and values differ")
                expect(stamps == sorted(stamps, reverse=True), f"{name}: not newest first")
                expect(all(stamp % 60 == 0 for stamp in stamps), f"{name}: not on the minute")
                expect(result["StatusCode"] == "Complete", f"{name}: {result['StatusCode']}")
                namespaces.add(asked["MetricStat"]["Metric"]["Namespace"])
        expect(namespaces == {"CWAgent", "ContainerInsights"}, f"{namespaces}")

    def all_protocols_give_the_same_values(self):
        now = self.clock()
        answer = self.fast[0].call("ListMetrics", Namespace="CWAgent", MetricName="mem_used_percent")
        queries = [query(f"q{n}", "CWAgent", "mem_used_percent", m["Dimensions"]) for n, m in enumerate(answer["Metrics"][:20])]
        kept = None
        for client in self.clients:
            answer = client.call("GetMetricData", StartTime=at(now - 3600), EndTime=at(now - 1200), MetricDataQueries=queries)
            values = [(r["Id"], [seconds(t) for t in r["Timestamps"]], r["Values"]) for r in answer["MetricDataResults"]]
            expect(kept in (None, values), f"{client.name}: different values")
            kept = values
        expect(any(stamps for _, stamps, _ in kept), "no values at all")

    def containers_insights_names_the_cluster(self):
        answer = self.fast[0].call("ListMetrics", Namespace="ContainerInsights", Dimensions=[{"Name": "ClusterName", "Value": self.cluster}])
        expect(answer["Metrics"], f"no series of cluster {self.cluster}")

    def data_put_by_each_client_can_be_read_in_every_statistic(self):
        now = self.clock()
        for n, client in enumerate(self.clients):
            name, dimensions = f"put{n}", [{"Name": "a", "Value": "1"}, {"Name": "b", "Value": "2"}]
            client.call("PutMetricData", Namespace=self.own, MetricData=[
                {"MetricName": name, "Dimensions": dimensions, "Value": 4.0, "Unit": "Percent", "Timestamp": at(now - 120)},
                {"MetricName": name, "Dimensions": dimensions, "Values": [1.0, 2.5], "Counts": [2.0, 1.0], "Timestamp": at(now - 120)},
                {"MetricName": name + "set", "StatisticValues": {"SampleCount": 4.0, "Sum": 40.0, "Minimum": 1.0, "Maximum": 25.0}, "Timestamp": at(now - 120)},
            ])
            expected = {"SampleCount": 4.0, "Sum": 8.5, "Average": 2.125, "Minimum": 1.0, "Maximum": 4.0, "p50": 1.0, "p99.9": 4.0}
            queries = [query(f"s{i}", self.own, name, reversed(dimensions), stat) for i, stat in enumerate(expected)]
            queries.append(query("set", self.own, name + "set", [], "Average"))
            answer = client.call("GetMetricData", StartTime=at(now - 600), EndTime=at(now + 60), MetricDataQueries=queries)
            values = [result["Values"] for result in answer["MetricDataResults"]]
            expect(values == [[value] for value in expected.values()] + [[10.0]], f"{client.name}: {values}")

    def one_and_five_hundred_queries_are_answered_and_one_more_is_not(self):
        now = self.clock()
        for client in self.clients:
            for count in (1, 500):
                queries = [query(f"q{n}", self.own, "clock") for n in range(count)]
                answer = client.call("GetMetricData", StartTime=at(now - 600), EndTime=at(now + 600), MetricDataQueries=queries)
                results = answer["MetricDataResults"]
                expect(len(results) == count, f"{client.name}: {len(results)} of {count}")
                expect(all(r["StatusCode"] == "Complete" and r["Values"] for r in results), client.name)
            queries.append(query("one_more", self.own, "clock"))
            refused(client, self.validation(client), "GetMetricData", StartTime=at(now - 600), EndTime=at(now + 600), MetricDataQueries=queries)

    @staticmethod
    def validation(client):
        """How a client reports an error that has no shape in the model."""
        return ("ValidationError", "ValidationException")

    def pages_hold_every_point_once(self):
        now = self.clock() // 60 * 60
        data = [{"MetricName": "page", "Value": float(n), "Timestamp": at(now - 60 * n)} for n in range(150)]
        self.fast[0].call("PutMetricData", Namespace=self.own, MetricData=data)
        window = {"StartTime": at(now - 60 * 150), "EndTime": at(now + 60)}
        for client in self.fast:
            for scan_by in ("TimestampAscending", "TimestampDescending"):
                queries = [query(i, self.own, "page") for i in ("a", "b")]
                results, count = self.pages(client, "GetMetricData", "MetricDataResults", MetricDataQueries=queries, ScanBy=scan_by, MaxDatapoints=70, **window)
                expect(count == 5, f"{client.name}: {count} pages")
                for ident in ("a", "b"):
                    values = [v for result in results if result["Id"] == ident for v in result["Values"]]
                    expected = sorted(map(float, range(150)), reverse=scan_by == "TimestampAscending")
                    expect(values == expected, f"{client.name}: {scan_by} {ident}: {values}")
        pager = self.fast[0].client.get_paginator("get_metric_data").paginate(MetricDataQueries=[query("a", self.own, "page")], MaxDatapoints=40, **window)
        expect(sum(len(r["Values"]) for page in pager for r in page["MetricDataResults"]) == 150, "boto3's paginator")

    def series_without_data_is_empty_and_complete(self):
        now = self.clock()
        for client in self.clients:
            answer = client.call("GetMetricData", StartTime=at(now - 600), EndTime=at(now), MetricDataQueries=[query("none", self.own, "nothing")])
            result = answer["MetricDataResults"][0]
            seen = (result["Values"], result["Timestamps"], result["StatusCode"])
            expect(seen == ([], [], "Complete"), f"{client.name}: {seen}")

    def wrong_requests_are_refused_with_their_codes(self):
        now = self.clock()
        good = {"StartTime": at(now - 600), "EndTime": at(now), "MetricDataQueries": [query("q", self.own, "clock")]}
        wrong_queries = [
            [query("Capital", self.own, "clock")],
            [query("q", self.own, "clock"), query("q", self.own, "clock")],
            [query("q", self.own, "clock", stat="Median")],
            [query("q", self.own, "clock", period=45)],
            [{"Id": "e", "Expression": "SEARCH('{CWAgent,InstanceId} x', 'Average', 300)"}],
        ]
        # The name ends in "Exception" if the client does not request query mode.
        value = ("InvalidParameterValue", "InvalidParameterValueException")
        for client in self.clients:
            invalid = self.validation(client)
            refused(client, invalid, "GetMetricData", **{**good, "EndTime": good["StartTime"]})
            refused(client, invalid, "GetMetricData", **{**good, "StartTime": at(now + 60)})
            refused(client, invalid, "GetMetricData", **good, MaxDatapoints=100_801)
            refused(client, ("InvalidNextToken",), "GetMetricData", **good, NextToken="nonsense")
            for queries in wrong_queries[:1] if client.name == "aws" else wrong_queries:
                refused(client, invalid, "GetMetricData", **{**good, "MetricDataQueries": queries})
            datum = {"MetricName": "m", "Value": 1.0}
            refused(client, value, "PutMetricData", Namespace="AWS/EC2", MetricData=[datum])
            refused(client, value, "PutMetricData", Namespace=self.own, MetricData=[{**datum, "Timestamp": at(now - 15 * 86_400)}])
            refused(client, value, "PutMetricData", Namespace=self.own, MetricData=[{**datum, "Timestamp": at(now + 3 * 3_600)}])
            refused(client, ("InvalidParameterCombination", "InvalidParameterCombinationException"), "PutMetricData", Namespace=self.own, MetricData=[{**datum, "Values": [1.0]}])
            refused(client, ("MissingParameter", "MissingRequiredParameterException"), "PutMetricData", Namespace=self.own, MetricData=[{"MetricName": "m"}])
        for client in self.fast:
            refused(client, value, "PutMetricData", Namespace=self.own, MetricData=[datum] * 1_001)
            if client.name.startswith(f"botocore's {CBOR}"):
                for number in (math.nan, math.inf, -math.inf):
                    refused(client, value, "PutMetricData", Namespace=self.own, MetricData=[{"MetricName": "m", "Value": number}])
            client.call("PutMetricData", Namespace=self.own, MetricData=[datum] * 1_000)
        exceptions = self.fast[0].client.exceptions
        try:
            self.fast[0].client.put_metric_data(Namespace="AWS/EC2", MetricData=[datum])
        except exceptions.InvalidParameterValueException:
            return
        raise AssertionError("boto3 does not map the error to its class")


def run(endpoint_url, cluster):
    """Runs all checks against an endpoint. Returns a list of (name, ok, detail)."""
    os.environ.update(CREDENTIALS)
    proxy = Proxy(endpoint_url)
    checks = Checks(proxy.url, cluster)
    results = []
    names = [name for name, is_it in vars(Checks).items() if callable(is_it) and name[0] != "_"]
    for name in names:
        if name in ("clock", "pages", "validation"):
            continue
        try:
            getattr(checks, name)()
            results.append((name.replace("_", " "), True, ""))
        except Exception as error:  # any exception is a failed check
            results.append((name.replace("_", " "), False, f"{type(error).__name__}: {error}"))
    proxy.close()
    wrong = sorted(set(proxy.wrong))
    results.append((f"{len(proxy.seen)} raw responses match the model", not wrong, "; ".join(wrong[:10])))
    spoken = {(operation, protocol) for operation, protocol, *_ in proxy.seen}
    missing = [(o, p) for o in ("GetMetricData", "ListMetrics", "PutMetricData") for p in (JSON, CBOR) if (o, p) not in spoken]
    results.append(("every operation was called in both protocols", not missing, f"{missing}"))
    zipped = {protocol for _, protocol, asked, status, _ in proxy.seen if asked.get("content-encoding") == "gzip" and status == 200}
    results.append(("gzip bodies were accepted in both protocols", zipped == {JSON, CBOR}, f"{zipped}"))
    return results


def main():
    if len(sys.argv) != 3:
        sys.exit(f"usage: {sys.argv[0]} ENDPOINT_URL CLUSTER")
    results = run(*sys.argv[1:])
    for name, is_ok, detail in results:
        print(f"{'ok  ' if is_ok else 'FAIL'} {name}{'' if is_ok else ': ' + detail}")
    failed = sum(not is_ok for _, is_ok, _ in results)
    print(f"{len(results) - failed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
