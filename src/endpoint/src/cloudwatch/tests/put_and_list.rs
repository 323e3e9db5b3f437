//! PutMetricData and ListMetrics.

use std::collections::BTreeSet;

use serde_json::{Value as Json, json};
use trimtab_core::units::Span;
use trimtab_simulator::World;
use trimtab_simulator::faults::{FaultKind, Target};

use super::{
    MIXED, Service, between, dimensions, gzip, header, ids, mixed, over_cbor, query, world,
};

fn put(service: &Service, datum: Json) -> Result<Json, (String, String)> {
    service.call("PutMetricData", &json!({ "Namespace": "own", "MetricData": [datum] }))
}

/// Values of one statistic of a series over the last hour, oldest first.
fn read(service: &Service, metric: &str, of: &Json, stat: &str) -> Json {
    let now = service.worlds[0].now();
    let mut input = between(
        now - Span::hours(1),
        now + Span::hours(2),
        vec![query("q", "own", metric, of, stat)],
    );
    input["ScanBy"] = json!("TimestampAscending");
    let answer = service.call("GetMetricData", &input).expect("data");
    answer["MetricDataResults"][0]["Values"].clone()
}

#[test]
fn data_can_be_read_back_in_every_statistic() {
    let service = Service::of(&mixed(Span::hours(1)));
    let of = dimensions(&[("b", "2"), ("a", "1")]);
    let datum = |mut what: Json| {
        what["MetricName"] = json!("m");
        what["Dimensions"] = of.clone();
        put(&service, what).expect("kept");
    };
    datum(json!({ "Value": 4, "Unit": "None" }));
    datum(json!({ "Values": [1.0, 2.0], "Counts": [2.0, 1.0] }));
    // The order of dimensions does not matter.
    let of = dimensions(&[("a", "1"), ("b", "2")]);
    for (stat, value) in [
        ("SampleCount", 4.0),
        ("Sum", 8.0),
        ("Average", 2.0),
        ("Minimum", 1.0),
        ("Maximum", 4.0),
        ("p50", 1.0),
        ("p99", 4.0),
    ] {
        assert_eq!(read(&service, "m", &of, stat), json!([value]), "{stat}");
    }
    let set = json!({ "SampleCount": 4, "Sum": 40, "Minimum": 1, "Maximum": 25 });
    put(&service, json!({ "MetricName": "s", "StatisticValues": set })).expect("kept");
    assert_eq!(read(&service, "s", &json!([]), "Average"), json!([10.0]));
    assert_eq!(
        read(&service, "s", &json!([]), "p50"),
        json!([]),
        "a statistic set has no percentiles"
    );
}

#[test]
fn wrong_data_are_refused_with_what_is_wrong_and_none_is_kept() {
    let service = Service::of(&mixed(Span::hours(1)));
    let now = service.worlds[0].now().0 / 1000;
    let datum = |mut what: Json| {
        what["MetricName"] = json!("m");
        put(&service, what).expect_err("refused")
    };
    let value = "InvalidParameterValueException";
    let set = |count: f64, minimum: f64| json!({ "SampleCount": count, "Sum": 1, "Minimum": minimum, "Maximum": 1 });
    let many: Vec<f64> = (0..151).map(f64::from).collect();
    let too_many_dimensions: Json =
        (0..31).map(|n| json!({ "Name": format!("d{n}"), "Value": "x" })).collect();
    for (what, code, says) in [
        (json!({ "Value": "NaN" }), value, "other than NaN"),
        (json!({ "Value": "Infinity" }), value, "between -2^360"),
        (json!({ "Value": "-Infinity" }), value, "between -2^360"),
        (json!({ "Value": 1e200 }), value, "between -2^360"),
        (json!({ "Value": "high" }), "SerializationException", "MetricData.member.1.Value"),
        (json!({}), "MissingRequiredParameterException", "MetricData.member.1.Value"),
        (
            json!({ "Value": 1, "StatisticValues": set(1.0, 1.0) }),
            "InvalidParameterCombinationException",
            "mutually exclusive",
        ),
        (json!({ "StatisticValues": set(0.0, 1.0) }), value, "SampleCount above 0"),
        (json!({ "StatisticValues": set(1.0, 2.0) }), value, "Minimum not above"),
        (json!({ "StatisticValues": {} }), "MissingRequiredParameterException", "SampleCount"),
        (json!({ "Values": many }), value, "greater than 150"),
        (json!({ "Values": [1.0], "Counts": [1.0, 2.0] }), value, "same size"),
        (json!({ "Values": [] }), value, "same size"),
        (json!({ "Values": [1.0], "Counts": [0.0] }), value, "not above 0"),
        (json!({ "Value": 1, "Timestamp": now - 15 * 86_400 }), value, "past two weeks"),
        (json!({ "Value": 1, "Timestamp": now + 7_300 }), value, "two hours in the future"),
        (json!({ "Value": 1, "StorageResolution": 5 }), value, "must be 1 or 60"),
        (json!({ "Value": 1, "Unit": "Miles" }), value, "must be a value in the set"),
        (json!({ "Value": 1, "Dimensions": too_many_dimensions }), value, "greater than 30"),
        (
            json!({ "Value": 1, "Dimensions": [{ "Name": "d" }] }),
            "MissingRequiredParameterException",
            "Value is required",
        ),
        (json!({ "Value": 1, "Dimensions": dimensions(&[(" ", "x")]) }), value, "is invalid"),
        (json!({ "Value": 1, "Dimensions": dimensions(&[("é", "x")]) }), value, "is invalid"),
    ] {
        let (is, message) = datum(what.clone());
        assert_eq!(is, code, "{what}: {message}");
        assert!(message.contains(says), "{what}: {message}");
    }
    let all = |namespace: &str, data: Json| {
        let input = json!({ "Namespace": namespace, "MetricData": data });
        service.call("PutMetricData", &input).expect_err("refused")
    };
    let good = || json!({ "MetricName": "m", "Value": 1 });
    for namespace in ["AWS/EC2", "AWS/", ":own", ""] {
        assert_eq!(all(namespace, json!([good()])).0, value, "{namespace}");
    }
    let (code, message) = all("own", (0..1_001).map(|_| good()).collect());
    assert_eq!(code, value);
    assert_eq!(message, "The collection MetricData must not have a size greater than 1000.");
    assert_eq!(all("own", json!([])).0, "MissingRequiredParameterException");
    // The first datum is valid and the second is not: neither is kept.
    all("own", json!([good(), { "MetricName": "m", "Value": "NaN" }]));
    assert_eq!(read(&service, "m", &json!([]), "Sum"), json!([]));
}

#[test]
fn thousand_metrics_at_both_ends_of_time_are_kept() {
    let service = Service::of(&mixed(Span::hours(1)));
    let now = service.worlds[0].now().0 / 1000;
    let mut data: Vec<Json> = (0..998).map(|_| json!({ "MetricName": "m", "Value": 1 })).collect();
    data.push(json!({ "MetricName": "m", "Value": 1, "Timestamp": now - 14 * 86_400 }));
    data.push(json!({ "MetricName": "m", "Value": 1, "Timestamp": now + 7_200 - 60 }));
    let input = json!({ "Namespace": "own", "MetricData": data });
    assert_eq!(service.call("PutMetricData", &input), Ok(json!({})));
    assert_eq!(read(&service, "m", &json!([]), "Sum"), json!([998.0, 1.0]));
}

#[test]
fn zipped_cbor_as_the_sdk_sends_it_is_read_and_a_large_body_is_not() {
    let service = Service::of(&mixed(Span::hours(1)));
    let input = json!({ "Namespace": "own", "MetricData": [{ "MetricName": "m", "Value": 2.5 }] });
    let mut request = over_cbor("PutMetricData", &input);
    request.body = gzip(&request.body);
    request.headers.push(("content-encoding".to_owned(), "gzip".to_owned()));
    assert_eq!(service.send(&request).status, 200);
    assert_eq!(read(&service, "m", &json!([]), "Maximum"), json!([2.5]));
    let name = "n".repeat(255);
    let of: Json =
        (0..30).map(|n| json!({ "Name": format!("d{n}"), "Value": "v".repeat(1_024) })).collect();
    let data: Vec<Json> =
        (0..40).map(|_| json!({ "MetricName": name, "Value": 1, "Dimensions": of })).collect();
    let large = over_cbor("PutMetricData", &json!({ "Namespace": "own", "MetricData": data }));
    assert_eq!(service.send(&large).status, 413);
}

#[test]
fn entities_are_accepted_and_their_metrics_kept() {
    let service = Service::of(&mixed(Span::hours(1)));
    let input = json!({
        "Namespace": "own",
        "EntityMetricData": [{
            "Entity": { "KeyAttributes": { "Type": "Service", "Name": "s" } },
            "MetricData": [{ "MetricName": "m", "Value": 3 }],
        }],
    });
    assert_eq!(service.call("PutMetricData", &input), Ok(json!({})));
    assert_eq!(read(&service, "m", &json!([]), "Sum"), json!([3.0]));
}

/// The series of all pages of a listing, each as text, and the number of pages.
fn list(service: &Service, mut input: Json) -> (Vec<String>, usize) {
    let mut found = vec![];
    let mut pages = 0;
    loop {
        let answer = service.call("ListMetrics", &input).expect("a page");
        let metrics = answer["Metrics"].as_array().expect("a list");
        assert!(metrics.len() <= 500);
        found.extend(metrics.iter().map(Json::to_string));
        pages += 1;
        match answer["NextToken"].as_str() {
            None => return (found, pages),
            Some(token) => input["NextToken"] = json!(token),
        }
    }
}

#[test]
fn listing_has_every_series_once_over_all_pages_and_worlds() {
    let worlds: Vec<World> = ["c", "d"]
        .into_iter()
        .enumerate()
        .map(|(n, name)| {
            let text = MIXED.replace("cluster = \"c\"", &format!("cluster = \"{name}\""));
            let world = world(&text.replace("seed = 5", &format!("seed = {}", 5 + n)));
            world.advance_by(Span::hours(1));
            world
        })
        .collect();
    let service = Service::new(worlds);
    let data: Vec<Json> =
        (0..700).map(|n| json!({ "MetricName": format!("m{n}"), "Value": 1 })).collect();
    let input = json!({ "Namespace": "own", "MetricData": data });
    service.call("PutMetricData", &input).expect("kept");
    // 2 + 2 per host; 8 * (4 + 2) + 1 more for a host with 8 GPUs, and 32 * 2 + 1 more for a
    // host with 32 NeuronCores.
    let of_world = 9 * 4 + 5 * 49 + 2 * 65;
    let (found, pages) = list(&service, json!({}));
    assert_eq!(found.len(), 2 * of_world + 700);
    assert_eq!(found.iter().collect::<BTreeSet<_>>().len(), found.len(), "each once");
    assert_eq!(pages, found.len().div_ceil(500));
    let (own, pages) = list(&service, json!({ "Namespace": "own", "RecentlyActive": "PT3H" }));
    assert_eq!((own.len(), pages), (700, 2));
}

#[test]
fn filters_leave_what_has_all_their_dimensions() {
    let world = mixed(Span::hours(1));
    let service = Service::of(&world);
    let node = ids(&world)[0].to_string();
    let count = |input: Json| list(&service, input).0.len();
    let agent =
        |dimensions: Json| count(json!({ "Namespace": "CWAgent", "Dimensions": dimensions }));
    assert_eq!(count(json!({ "MetricName": "cpu_usage_active" })), 9);
    assert_eq!(agent(json!([{ "Name": "InstanceId", "Value": node }])), 2 + 8 * 4);
    assert_eq!(agent(json!([{ "Name": "index" }])), 5 * 8 * 4);
    assert_eq!(agent(json!([{ "Name": "index", "Value": "3" }])), 5 * 4);
    assert_eq!(
        agent(
            json!([{ "Name": "index", "Value": "3" }, { "Name": "name", "Value": "NVIDIA A10G" }])
        ),
        3 * 4
    );
    assert_eq!(agent(json!([{ "Name": "Nope" }])), 0);
    assert_eq!(agent(json!([{ "Name": "InstanceId", "Value": "i-nonsense" }])), 0);
    assert_eq!(count(json!({ "Namespace": "nothing" })), 0);
    let refused = |input: Json| service.call("ListMetrics", &input).expect_err("refused").0;
    let eleven: Json = (0..11).map(|n| json!({ "Name": format!("d{n}") })).collect();
    assert_eq!(refused(json!({ "Dimensions": eleven })), "InvalidParameterValueException");
    assert_eq!(refused(json!({ "RecentlyActive": "PT1H" })), "InvalidParameterValueException");
    assert_eq!(refused(json!({ "NextToken": "x" })), "InvalidNextToken");
    assert_eq!(refused(json!({ "Dimensions": [{}] })), "MissingRequiredParameterException");
}

#[test]
fn node_that_is_gone_keeps_its_datapoints_and_leaves_the_recently_active() {
    let world = mixed(Span::hours(1));
    let service = Service::of(&world);
    let node = ids(&world)[0];
    world.act(FaultKind::OperatorDeletes { node: Target::Instance(node) }, Span::ZERO);
    world.advance_by(Span::hours(1));
    assert!(!ids(&world).contains(&node));
    let of_node = |recent: bool| {
        let mut input = json!({
            "Namespace": "CWAgent",
            "Dimensions": [{ "Name": "InstanceId", "Value": node.to_string() }],
        });
        if recent {
            input["RecentlyActive"] = json!("PT3H");
        }
        list(&service, input).0.len()
    };
    assert_eq!((of_node(true), of_node(false)), (34, 34));
    let id = node.to_string();
    let host = dimensions(&[("InstanceId", &id), ("InstanceType", "ml.g5.48xlarge")]);
    let wanted = vec![query("q", "CWAgent", "mem_used_percent", &host, "Average")];
    let input = between(world.now() - Span::hours(2), world.now(), wanted);
    let answer = service.call("GetMetricData", &input).expect("data");
    let values = answer["MetricDataResults"][0]["Values"].as_array().expect("a list").len();
    assert!((58..=64).contains(&values), "{values} minutes until it was gone");
    world.advance_by(Span::hours(3));
    assert_eq!((of_node(true), of_node(false)), (0, 34));
}

#[test]
fn layouts_choose_what_is_published() {
    let count = |layouts: &str| {
        let world = world(&format!("metrics_layouts = {layouts}\n{MIXED}"));
        world.advance_by(Span::hours(1));
        list(&Service::of(&world), json!({})).0.len()
    };
    assert_eq!(count(r#"["cwagent"]"#), 9 * 2 + 5 * 32);
    assert_eq!(count(r#"["container-insights"]"#), 9 * 2 + 5 * 17);
    assert_eq!(count(r#"["neuron"]"#), 2 * 65);
    let silent = world(&format!("metrics = false\n{MIXED}"));
    silent.advance_by(Span::hours(1));
    assert_eq!(list(&Service::of(&silent), json!({})).0.len(), 0);
}

#[test]
fn a_series_of_the_world_that_a_client_adds_to_is_listed_once() {
    let world = mixed(Span::hours(1));
    let service = Service::of(&world);
    let id = ids(&world)[0].to_string();
    let host = dimensions(&[("InstanceId", &id), ("InstanceType", "ml.g5.48xlarge")]);
    let datum = json!({ "MetricName": "mem_used_percent", "Dimensions": host, "Value": 99 });
    let input = json!({ "Namespace": "CWAgent", "MetricData": [datum] });
    let before = list(&service, json!({})).0.len();
    service.call("PutMetricData", &input).expect("kept");
    assert_eq!(list(&service, json!({})).0.len(), before);
    let wanted = vec![query("q", "CWAgent", "mem_used_percent", &host, "Maximum")];
    let window = between(world.now() - Span::mins(5), world.now() + Span::mins(1), wanted);
    let answer = service.call("GetMetricData", &window).expect("data");
    assert_eq!(answer["MetricDataResults"][0]["Values"][0], json!(99.0));
    let reply = service.send(&over_cbor("ListMetrics", &json!({})));
    assert_eq!(header(&reply, "smithy-protocol"), Some("rpc-v2-cbor"));
}
