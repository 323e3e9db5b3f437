//! CloudWatch over both protocols, as a client sees it.

mod faults;
mod limits;
mod put_and_list;
mod same_as_port;

use std::sync::Mutex;

use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;
use serde_json::{Value as Json, json};
use trimtab_core::ids::{ClusterName, InstanceId};
use trimtab_core::units::{Span, Time};
use trimtab_simulator::World;
use trimtab_simulator::spec::WorldSpec;

use super::protocol::Protocol;
use super::value::{Value, time_of_seconds};
use super::{MetricStore, answer, is_for_us};
use crate::wire::{Reply, Request};

/// Groups with two kinds of GPU, NeuronCores and CPUs only, with jobs for each.
const MIXED: &str = r#"
seed = 5
duration = "1d"
cluster = "c"
placement = "random"
[[group]]
name = "gpu"
count = 3
instance_type = "ml.g5.48xlarge"
gpus_per_node = 8
[[group]]
name = "big"
count = 2
instance_type = "ml.p5.48xlarge"
[[group]]
name = "cpu"
count = 2
instance_type = "ml.c5.4xlarge"
[[group]]
name = "trn"
count = 2
instance_type = "ml.trn1.32xlarge"
[[generate]]
per_day = 60
partition = "gpu"
length_median = "20m"
[[generate]]
per_day = 30
partition = "big"
length_median = "20m"
[[generate]]
per_day = 30
partition = "cpu"
length_median = "20m"
[[generate]]
per_day = 30
partition = "trn"
length_median = "20m"
"#;

fn world(text: &str) -> World {
    let spec = WorldSpec::parse(text, "test.toml").unwrap_or_else(|e| panic!("{e}"));
    World::new(spec, vec![]).expect("a world")
}

/// The mixed world, advanced by `after`.
fn mixed(after: Span) -> World {
    let world = world(MIXED);
    world.advance_by(after);
    world
}

fn cluster() -> ClusterName {
    "c".parse().expect("valid")
}

fn ids(world: &World) -> Vec<InstanceId> {
    world.list_nodes(&cluster()).expect("a listing").nodes.iter().map(|node| node.id).collect()
}

/// CloudWatch of an endpoint.
struct Service {
    worlds: Vec<World>,
    store: Mutex<MetricStore>,
}

impl Service {
    fn new(worlds: impl Into<Vec<World>>) -> Self {
        Self { worlds: worlds.into(), store: Mutex::default() }
    }

    fn of(world: &World) -> Self {
        Self::new([world.clone()])
    }

    fn send(&self, request: &Request) -> Reply {
        assert!(is_for_us(request));
        answer(&self.worlds, &self.store, request)
    }

    /// Sends a request over JSON. Returns the body, or the code and message of an error.
    fn call(&self, operation: &str, input: &Json) -> Result<Json, (String, String)> {
        let reply = self.send(&over_json(operation, input));
        let body: Json = serde_json::from_slice(&reply.body).expect("JSON");
        if reply.status == 200 {
            return Ok(body);
        }
        let code = body["__type"].as_str().expect("a type").rsplit('#').next().map(str::to_owned);
        let message = body["message"].as_str().or(body["Message"].as_str()).map(str::to_owned);
        Err((code.expect("a name"), message.expect("a message")))
    }

    /// Sends a request over CBOR. Timestamps in the result are `{"time": seconds}`.
    fn call_cbor(&self, operation: &str, input: &Json) -> Json {
        let reply = self.send(&over_cbor(operation, input));
        assert_eq!(reply.status, 200);
        match Protocol::Cbor.decode(&reply.body) {
            Ok(value) => plain(&value),
            Err(failure) => panic!("{failure:?}"),
        }
    }
}

fn over_json(operation: &str, input: &Json) -> Request {
    let target = format!("GraniteServiceVersion20100801.{operation}");
    Request {
        method: "POST".to_owned(),
        path: "/".to_owned(),
        query: String::new(),
        headers: vec![
            ("content-type".to_owned(), "application/x-amz-json-1.0".to_owned()),
            ("x-amz-target".to_owned(), target),
            ("x-amzn-query-mode".to_owned(), "true".to_owned()),
        ],
        body: input.to_string().into_bytes(),
    }
}

fn over_cbor(operation: &str, input: &Json) -> Request {
    Request {
        method: "POST".to_owned(),
        path: format!("/service/GraniteServiceVersion20100801/operation/{operation}"),
        query: String::new(),
        headers: vec![
            ("smithy-protocol".to_owned(), "rpc-v2-cbor".to_owned()),
            ("content-type".to_owned(), "application/cbor".to_owned()),
        ],
        body: Protocol::Cbor.encode(&typed(None, input)),
    }
}

/// Converts JSON to what a CBOR client sends: timestamps have a tag.
fn typed(name: Option<&str>, json: &Json) -> Value {
    let is_time = matches!(name, Some("StartTime" | "EndTime" | "Timestamp"));
    match json {
        Json::Null => Value::Null,
        Json::Bool(is) => Value::Bool(*is),
        Json::Number(n) if is_time && n.as_f64().and_then(time_of_seconds).is_some() => {
            Value::Time(n.as_f64().and_then(time_of_seconds).expect("a time"))
        }
        Json::Number(n) => {
            n.as_i64().map_or_else(|| Value::Float(n.as_f64().expect("a number")), Value::Int)
        }
        Json::String(text) => Value::text(text.as_str()),
        Json::Array(list) => Value::List(list.iter().map(|item| typed(None, item)).collect()),
        Json::Object(members) => Value::Map(
            members.iter().map(|(name, is)| (name.clone(), typed(Some(name), is))).collect(),
        ),
    }
}

fn plain(value: &Value) -> Json {
    match value {
        Value::Null | Value::Blob => Json::Null,
        Value::Bool(is) => json!(is),
        Value::Int(number) => json!(number),
        Value::Float(number) => json!(number),
        Value::Text(text) => json!(text),
        Value::List(list) => list.iter().map(plain).collect(),
        Value::Map(members) => members.iter().map(|(name, is)| (name.clone(), plain(is))).collect(),
        Value::Time(time) => json!({ "time": time.0 / 1000 }),
    }
}

fn dimensions(list: &[(&str, &str)]) -> Json {
    list.iter().map(|(name, value)| json!({ "Name": name, "Value": value })).collect()
}

/// A query for one series.
fn query(id: &str, namespace: &str, metric: &str, of: &Json, stat: &str) -> Json {
    let metric = json!({ "Namespace": namespace, "MetricName": metric, "Dimensions": of });
    json!({ "Id": id, "MetricStat": { "Metric": metric, "Period": 60, "Stat": stat } })
}

/// A GetMetricData request for these queries.
fn between(from: Time, to: Time, queries: Vec<Json>) -> Json {
    json!({
        "StartTime": from.0 / 1000,
        "EndTime": to.0 / 1000,
        "MetricDataQueries": queries,
    })
}

fn header<'a>(reply: &'a Reply, name: &str) -> Option<&'a str> {
    reply.headers.iter().find(|(own, _)| *own == name).map(|(_, value)| value.as_str())
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(vec![], Compression::default());
    std::io::Write::write_all(&mut encoder, bytes).expect("written");
    encoder.finish().expect("zipped")
}

#[test]
fn request_is_known_by_its_target_or_its_path() {
    assert!(is_for_us(&over_json("ListMetrics", &json!({}))));
    assert!(is_for_us(&over_cbor("ListMetrics", &json!({}))));
    let mut other = over_json("ListMetrics", &json!({}));
    other.headers[1].1 = "SageMaker.ListClusters".to_owned();
    assert!(!is_for_us(&other));
}

#[test]
fn answers_have_the_headers_of_their_protocol() {
    let service = Service::of(&mixed(Span::mins(10)));
    let ids: Vec<String> = ["JSON", "CBOR"]
        .into_iter()
        .map(|kind| {
            let reply = match kind {
                "JSON" => service.send(&over_json("ListMetrics", &json!({}))),
                _ => service.send(&over_cbor("ListMetrics", &json!({}))),
            };
            let (content_type, protocol) = match kind {
                "JSON" => ("application/x-amz-json-1.0", None),
                _ => ("application/cbor", Some("rpc-v2-cbor")),
            };
            assert_eq!(reply.status, 200);
            assert_eq!(header(&reply, "content-type"), Some(content_type));
            assert_eq!(header(&reply, "smithy-protocol"), protocol);
            header(&reply, "x-amzn-requestid").expect("an id").to_owned()
        })
        .collect();
    assert_ne!(ids[0], ids[1]);
    let nothing = json!({ "Namespace": "n", "MetricData": [{ "MetricName": "m", "Value": 1 }] });
    let reply = service.send(&over_cbor("PutMetricData", &nothing));
    assert_eq!((reply.status, reply.body.len()), (200, 0), "CBOR has no body without output");
    assert_eq!(header(&reply, "content-type"), None);
    assert_eq!(service.call("PutMetricData", &nothing), Ok(json!({})));
}

#[test]
fn refusals_carry_both_codes_in_both_protocols() {
    let service = Service::of(&mixed(Span::mins(10)));
    let wrong =
        json!({ "Namespace": "AWS/EC2", "MetricData": [{ "MetricName": "m", "Value": 1 }] });
    let json_reply = service.send(&over_json("PutMetricData", &wrong));
    assert_eq!(json_reply.status, 400);
    let code = header(&json_reply, "x-amzn-query-error");
    assert_eq!(code, Some("InvalidParameterValue;Sender"));
    let cbor_reply = service.send(&over_cbor("PutMetricData", &wrong));
    assert_eq!(cbor_reply.status, 400);
    assert_eq!(header(&cbor_reply, "x-amzn-query-error"), None, "not asked for");
    assert_eq!(header(&cbor_reply, "smithy-protocol"), Some("rpc-v2-cbor"));
    let in_json: Json = serde_json::from_slice(&json_reply.body).expect("JSON");
    let in_cbor = plain(&Protocol::Cbor.decode(&cbor_reply.body).expect("CBOR"));
    assert_eq!(in_json, in_cbor);
    assert_eq!(in_json["__type"], "com.amazonaws.cloudwatch#InvalidParameterValueException");
    assert_eq!(in_json["message"], "The value AWS/EC2 for parameter Namespace is invalid.");
}

#[test]
fn what_is_no_request_is_refused() {
    let service = Service::of(&mixed(Span::mins(10)));
    let good = || over_cbor("ListMetrics", &json!({}));
    let code = |request: &Request| {
        let reply = service.send(request);
        let body = match header(&reply, "content-type") {
            Some("application/cbor") => plain(&Protocol::Cbor.decode(&reply.body).expect("CBOR")),
            _ => serde_json::from_slice(&reply.body).expect("JSON"),
        };
        let shape = body["__type"].as_str().expect("a type").rsplit('#').next();
        (reply.status, shape.expect("a name").to_owned())
    };
    let serialization = (400, "SerializationException".to_owned());
    let unknown = (404, "UnknownOperationException".to_owned());
    let get = Request { method: "GET".to_owned(), ..good() };
    assert_eq!(code(&get), unknown);
    assert_eq!(code(&over_cbor("DeleteAlarms", &json!({}))), unknown);
    assert_eq!(code(&over_json("DescribeAlarms", &json!({}))), unknown);
    let silent = Request { headers: vec![], ..good() };
    assert_eq!(code(&silent), serialization, "no smithy-protocol");
    let list = Request { body: vec![0x80], ..good() };
    assert_eq!(code(&list), serialization);
    let half =
        Request { body: b"{\"Namespace\":".to_vec(), ..over_json("ListMetrics", &json!({})) };
    assert_eq!(code(&half), serialization);
    let number = over_json("ListMetrics", &json!({ "Namespace": 3 }));
    assert_eq!(code(&number), serialization);
    let encoded = |encoding: &str, body: Vec<u8>| {
        let mut request = Request { body, ..over_json("ListMetrics", &json!({})) };
        request.headers.push(("content-encoding".to_owned(), encoding.to_owned()));
        request
    };
    assert_eq!(service.send(&encoded("gzip", gzip(b"{}"))).status, 200);
    assert_eq!(code(&encoded("gzip", b"{}".to_vec())), serialization);
    assert_eq!(code(&encoded("br", b"{}".to_vec())), serialization);
    let bomb = vec![b' '; super::protocol::BODY_BYTES_MAX + 1];
    let too_large = (413, "RequestEntityTooLargeException".to_owned());
    assert_eq!(code(&encoded("gzip", gzip(&bomb))), too_large);
    let nowhere = Service::new([]);
    let reply = nowhere.call("ListMetrics", &json!({}));
    assert_eq!(reply.expect_err("no world").0, "InternalServiceFault");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn no_request_makes_it_panic(
        body in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..200),
            json_body().prop_map(|json| json.to_string().into_bytes()),
            json_body().prop_map(|json| Protocol::Cbor.encode(&typed(None, &json))),
        ],
        gzipped in any::<bool>(),
        cbor in any::<bool>(),
        operation in prop::sample::select(vec!["GetMetricData", "ListMetrics", "PutMetricData"]),
    ) {
        let service = Service::of(&world("cluster = \"c\"\n[[group]]\nname = \"g\"\ncount = 1"));
        let made = if cbor { over_cbor } else { over_json };
        let mut request = made(operation, &json!({}));
        request.body = if gzipped { gzip(&body) } else { body };
        if gzipped {
            request.headers.push(("content-encoding".to_owned(), "gzip".to_owned()));
        }
        let reply = service.send(&request);
        prop_assert!([200, 400].contains(&reply.status), "{}", reply.status);
    }
}

/// Requests that are nearly valid.
fn json_body() -> impl Strategy<Value = Json> {
    let number = || {
        prop_oneof![
            any::<i64>().prop_map(|n| json!(n)),
            any::<f64>().prop_map(|n| json!(n)),
            (0i64..200).prop_map(|n| json!(n * 60)),
            Just(json!("NaN")),
            Just(Json::Null),
        ]
    };
    let text = || prop_oneof![Just(json!("CWAgent")), ".{0,5}".prop_map(|text| json!(text))];
    let metric = (text(), text(), prop::collection::vec((text(), text()), 0..3)).prop_map(
        |(namespace, name, dimensions)| {
            let dimensions: Json = dimensions
                .into_iter()
                .map(|(name, value)| json!({ "Name": name, "Value": value }))
                .collect();
            json!({ "Namespace": namespace, "MetricName": name, "Dimensions": dimensions })
        },
    );
    let stat = prop::sample::select(vec!["Average", "p50", "Maximum", "p", ""]);
    let query = (metric, number(), stat).prop_map(|(metric, period, stat)| {
        json!({ "Id": "a", "MetricStat": { "Metric": metric, "Period": period, "Stat": stat } })
    });
    let datum = (text(), number(), number(), number()).prop_map(|(name, value, at, count)| {
        json!({
            "MetricName": name,
            "Values": [value],
            "Counts": [count],
            "Timestamp": at,
        })
    });
    let parts = (text(), number(), number(), number(), query, datum);
    parts.prop_map(|(namespace, start, end, max, query, datum)| {
        json!({
            "Namespace": namespace,
            "StartTime": start,
            "EndTime": end,
            "MaxDatapoints": max,
            "MetricDataQueries": [query],
            "MetricData": [datum],
        })
    })
}
