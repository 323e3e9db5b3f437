//! Each metrics fault has the same effect over the wire as through the port.

use serde_json::{Value as Json, json};
use trimtab_core::ids::InstanceId;
use trimtab_core::reads::Reading;
use trimtab_core::units::Span;
use trimtab_daemon::ports::ReadError;
use trimtab_simulator::World;
use trimtab_simulator::faults::{FaultKind, MetricsStatus, Target};

use super::same_as_port::compare;
use super::{Service, between, cluster, dimensions, ids, mixed, query};

const WHILE: Span = Span::mins(30);

/// The mixed world with a fault that began ten minutes ago.
fn with(kind: FaultKind) -> World {
    let world = mixed(Span::hours(5));
    world.act(kind, WHILE);
    world.advance_by(Span::mins(10));
    world
}

fn port(world: &World, node: InstanceId) -> &'static str {
    let read = world.utilization(&cluster(), &[node], Span::mins(20)).expect("an answer");
    match read.get(&node) {
        None => "absent",
        Some(Reading::Absent) => "reported as absent",
        Some(Reading::Stale { .. }) => "stale",
        Some(Reading::Partial) => "partial",
        Some(Reading::Fresh { .. }) => "fresh",
    }
}

/// Results of the GPUs of a node for the last hour, in the order of their index.
fn gpus(world: &World, node: InstanceId) -> Vec<Json> {
    let service = Service::of(world);
    let id = node.to_string();
    let queries = (0..8)
        .map(|index| {
            let index = index.to_string();
            let of = dimensions(&[
                ("InstanceId", &id),
                ("InstanceType", "ml.g5.48xlarge"),
                ("arch", "Ampere"),
                ("index", &index),
                ("name", "NVIDIA A10G"),
            ]);
            let id = format!("gpu{index}");
            query(&id, "CWAgent", "nvidia_smi_utilization_gpu", &of, "Maximum")
        })
        .collect();
    let input = between(world.now() - Span::hours(1), world.now(), queries);
    let answer = service.call("GetMetricData", &input).expect("data");
    answer["MetricDataResults"].as_array().expect("a list").clone()
}

fn stamps(result: &Json) -> Vec<i64> {
    let list = result["Timestamps"].as_array().expect("a list");
    list.iter().map(|stamp| stamp.as_i64().expect("whole seconds")).collect()
}

#[test]
fn missing_zero_stale_late_and_gaps_are_the_same_on_both_sides() {
    let nodes = 5 * 2 + 2 * 2 + 2;
    for (kind, seen) in [
        (FaultKind::MetricsMissing, 0),
        (FaultKind::MetricsZero, nodes),
        (FaultKind::MetricsStale, nodes),
        (FaultKind::MetricsLate { by: Span::mins(7) }, nodes),
        (FaultKind::MetricsGaps { every: 5 }, nodes),
        (FaultKind::MetricsGaps { every: 2 }, nodes),
    ] {
        let world = with(kind.clone());
        assert_eq!(compare(&world), seen, "{kind:?}");
        world.advance_by(WHILE);
        assert_eq!(compare(&world), nodes, "over: {kind:?}");
    }
}

#[test]
fn late_data_are_older_and_gaps_are_holes() {
    let newest = |world: &World| {
        let newest = stamps(&gpus(world, ids(world)[0])[0])[0];
        world.now().0 / 1000 - newest
    };
    // The latency is 90 s, the period 60 s, and a timestamp is the start of a period.
    assert_eq!(newest(&mixed(Span::hours(5))), 180);
    assert_eq!(newest(&with(FaultKind::MetricsLate { by: Span::mins(7) })), 180 + 420);
    assert_eq!(newest(&with(FaultKind::MetricsStale)), 180 + 600);
    let world = with(FaultKind::MetricsGaps { every: 5 });
    let stamps = stamps(&gpus(&world, ids(&world)[0])[0]);
    let steps: Vec<i64> = stamps.windows(2).map(|pair| pair[0] - pair[1]).collect();
    assert_eq!(steps.iter().filter(|step| **step == 120).count(), 11, "{steps:?}");
    assert!(steps.iter().all(|step| [60, 120].contains(step)));
}

#[test]
fn device_that_fell_silent_is_missing_and_was_the_busiest() {
    let whole = mixed(Span::hours(5));
    let node = ids(&whole)[0];
    let highest = |result: &Json| {
        let values = result["Values"].as_array().expect("a list");
        values.iter().filter_map(Json::as_f64).fold(0.0, f64::max)
    };
    let before: Vec<f64> = gpus(&whole, node).iter().map(highest).collect();
    let busiest = before.iter().copied().fold(0.0, f64::max);
    let world = with(FaultKind::MetricsDeviceMissing { node: Target::Instance(node) });
    let after = gpus(&world, node);
    let cut: Vec<usize> =
        (0..8).filter(|n| stamps(&after[*n])[0] != stamps(&after[(*n + 1) % 8])[0]).collect();
    let oldest = (0..8).min_by_key(|n| stamps(&after[*n])[0]).expect("eight");
    assert_eq!(cut.len(), 2, "one device differs from its neighbours");
    assert_eq!(before[oldest], busiest);
    assert!(stamps(&after[oldest])[0] < (world.now() - Span::mins(10)).0 / 1000);
    assert_eq!(after[oldest]["StatusCode"], "Complete", "CloudWatch does not know");
    assert_eq!((port(&world, node), port(&world, ids(&world)[1])), ("partial", "fresh"));
    // On a node without accelerators, the CPU metrics of the host stop.
    let cpu = ids(&whole)[5];
    let world = with(FaultKind::MetricsDeviceMissing { node: Target::Instance(cpu) });
    let id = cpu.to_string();
    let host =
        dimensions(&[("InstanceId", &id), ("InstanceType", "ml.c5.4xlarge"), ("cpu", "cpu-total")]);
    let wanted = vec![query("m", "CWAgent", "cpu_usage_active", &host, "Average")];
    let input = between(world.now() - Span::mins(9), world.now(), wanted);
    let answer = Service::of(&world).call("GetMetricData", &input).expect("data");
    assert_eq!(answer["MetricDataResults"][0]["Values"], json!([]));
    assert_eq!(port(&world, cpu), "partial");
}

#[test]
fn silent_device_leaves_the_listing_of_the_recently_active() {
    let world = mixed(Span::hours(5));
    let node = ids(&world)[0];
    world.act(FaultKind::MetricsDeviceMissing { node: Target::Instance(node) }, Span::hours(9));
    let listed = |world: &World, recent: bool| {
        let mut input = json!({
            "Namespace": "CWAgent",
            "MetricName": "nvidia_smi_utilization_gpu",
            "Dimensions": [{ "Name": "InstanceId", "Value": node.to_string() }],
        });
        if recent {
            input["RecentlyActive"] = json!("PT3H");
        }
        let answer = Service::of(world).call("ListMetrics", &input).expect("a listing");
        answer["Metrics"].as_array().expect("a list").len()
    };
    world.advance_by(Span::hours(2));
    assert_eq!((listed(&world, true), listed(&world, false)), (8, 8));
    world.advance_by(Span::hours(2));
    assert_eq!((listed(&world, true), listed(&world, false)), (7, 8));
}

#[test]
fn values_out_of_range_come_as_they_are() {
    for percent in [-1, 250] {
        let node = ids(&mixed(Span::ZERO))[0];
        let world = with(FaultKind::MetricsOutOfRange { node: Target::Instance(node), percent });
        let wrong = gpus(&world, node)
            .iter()
            .filter(|result| result["Values"][0] == json!(f64::from(percent)))
            .count();
        assert_eq!(wrong, 1, "one device of eight");
        assert_eq!((port(&world, node), port(&world, ids(&world)[1])), ("partial", "fresh"));
    }
}

#[test]
fn status_of_one_nodes_series_is_not_complete() {
    for (status, code, some, message) in [
        (MetricsStatus::PartialData, "PartialData", true, false),
        (MetricsStatus::InternalError, "InternalError", false, true),
        (MetricsStatus::Forbidden, "Forbidden", false, true),
    ] {
        let node = ids(&mixed(Span::ZERO))[0];
        let world = with(FaultKind::MetricsStatus { node: Target::Instance(node), status });
        for result in gpus(&world, node) {
            assert_eq!(result["StatusCode"], code);
            assert_eq!(!stamps(&result).is_empty(), some);
            assert_eq!(result["Messages"].is_array(), message);
        }
        let other = ids(&world)[1];
        assert!(gpus(&world, other).iter().all(|result| result["StatusCode"] == "Complete"));
        assert_eq!((port(&world, node), port(&world, other)), ("partial", "fresh"));
    }
}

#[test]
fn throttling_and_denial_are_codes_with_status_400() {
    for (kind, shape, code) in [
        (FaultKind::MetricsThrottled, "ThrottlingException", "Throttling;Sender"),
        (FaultKind::MetricsDenied, "AccessDeniedException", "AccessDenied;Sender"),
    ] {
        let world = with(kind.clone());
        let service = Service::of(&world);
        for operation in ["GetMetricData", "ListMetrics", "PutMetricData"] {
            let reply = service.send(&super::over_json(operation, &json!({})));
            assert_eq!(reply.status, 400);
            assert_eq!(super::header(&reply, "x-amzn-query-error"), Some(code));
            let refusal = service.call(operation, &json!({})).expect_err("refused");
            assert_eq!(refusal.0, shape);
        }
        let port = world.utilization(&cluster(), &ids(&world), Span::mins(20));
        match port.expect_err("refused") {
            ReadError::Throttled(_) => assert_eq!(kind, FaultKind::MetricsThrottled),
            ReadError::Refused(_) => assert_eq!(kind, FaultKind::MetricsDenied),
            other @ (ReadError::NoAnswer(_)
            | ReadError::Denied(_)
            | ReadError::Elsewhere(_)
            | ReadError::Unreadable(_)) => panic!("{other:?}"),
        }
        world.advance_by(WHILE);
        assert!(service.call("ListMetrics", &json!({})).is_ok());
    }
}
