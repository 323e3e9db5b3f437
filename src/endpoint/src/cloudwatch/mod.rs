//! CloudWatch's side of the endpoint. This build knows no operation of it and says
//! so in the protocol's own words.

use std::sync::Mutex;

use trimtab_simulator::World;

use crate::wire::{Reply, Request};

/// What `X-Amz-Target` begins with, and the service's name in paths.
const SERVICE: &str = "GraniteServiceVersion20100801";

/// What PutMetricData was given.
#[derive(Default)]
pub(crate) struct MetricStore;

/// Whether this request is for CloudWatch, by its target header or its path.
pub(crate) fn is_for_us(request: &Request) -> bool {
    let by_path = request.path.strip_prefix("/service/").is_some_and(|p| p.starts_with(SERVICE));
    by_path || request.header("x-amz-target").is_some_and(|target| target.starts_with(SERVICE))
}

/// Answers it. `store` keeps what PutMetricData was given.
pub(crate) fn answer(_world: &World, _store: &Mutex<MetricStore>, _request: &Request) -> Reply {
    let code = "UnknownOperationException";
    let body = serde_json::json!({ "__type": code, "message": "this build has no CloudWatch" });
    Reply {
        status: 400,
        headers: vec![
            ("content-type", "application/x-amz-json-1.0".to_owned()),
            ("x-amzn-errortype", code.to_owned()),
        ],
        body: body.to_string().into_bytes(),
    }
}
