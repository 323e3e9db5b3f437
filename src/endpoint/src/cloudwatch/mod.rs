//! CloudWatch: GetMetricData, ListMetrics and PutMetricData for the metrics of the
//! simulated clusters and for metrics that clients send.
//!
//! ```text
//! Request ─► protocol (CBOR, JSON) ─► Value ─► data | list | put ─► Value ─► Reply
//!                                     failure at any step ─► Reply with AWS's code
//! ```
//! A request sees the metrics of every cluster in its account and region. Only the
//! dimensions distinguish series: if two worlds publish the same series, the first
//! world's data is returned. Metric math expressions are rejected. Data that a client
//! sends can be read immediately; the real CloudWatch takes up to two minutes, and up to
//! 15 minutes to list a new metric.

mod data;
mod failure;
mod list;
mod protocol;
mod put;
mod rules;
mod statistic;
mod store;
mod token;
mod value;

#[cfg(test)]
mod tests;

use std::sync::{Mutex, PoisonError};

use trimtab_core::units::Time;
use trimtab_daemon::ports::ReadError;
use trimtab_simulator::World;

pub(crate) use store::MetricStore;

use crate::wire::{Reply, Request};
use failure::{Failure, FailureKind};
use protocol::{Dialect, Protocol, header};
use value::{Members, Value};

/// Whether this request is for CloudWatch, by its target header or its path.
pub(crate) fn is_for_us(request: &Request) -> bool {
    protocol::operation(request).is_some()
}

/// Answers a CloudWatch request. `worlds` are the clusters whose metrics the caller sees;
/// `store` keeps the data of PutMetricData.
pub(crate) fn answer(worlds: &[World], store: &Mutex<MetricStore>, request: &Request) -> Reply {
    let mut store = store.lock().unwrap_or_else(PoisonError::into_inner);
    let (protocol, operation) = protocol::operation(request).unwrap_or((Protocol::Json, ""));
    let dialect = Dialect {
        protocol,
        query_mode: header(request, "x-amzn-query-mode").is_some_and(|is| is == "true"),
        request_id: store.next_request_id(),
    };
    match perform(worlds, &mut store, request, protocol, operation) {
        Ok(output) => dialect.success(output.as_ref()),
        Err(failure) => dialect.failure(&failure),
    }
}

fn perform(
    worlds: &[World],
    store: &mut MetricStore,
    request: &Request,
    protocol: Protocol,
    operation: &str,
) -> Result<Option<Value>, Failure> {
    if request.method != "POST" {
        let what = format!("{} is not supported, only POST.", request.method);
        return Err(FailureKind::UnknownOperation.because(what));
    }
    let spoken = header(request, "smithy-protocol");
    if protocol == Protocol::Cbor && spoken != Some("rpc-v2-cbor") {
        let what = "The header smithy-protocol must be rpc-v2-cbor.";
        return Err(FailureKind::Serialization.because(what));
    }
    let now = clock(worlds)?;
    let body = protocol::body(request)?;
    let decoded = protocol.decode(&body)?;
    let members = Members::of(&decoded)?;
    match operation {
        "GetMetricData" => {
            refuse_by_fault(worlds)?;
            data::get(worlds, store, &members, now).map(Some)
        }
        "ListMetrics" => {
            refuse_by_fault(worlds)?;
            list::list(worlds, store, &members, now).map(Some)
        }
        "PutMetricData" => {
            refuse_by_fault(worlds)?;
            if body.len() > put::BODY_BYTES_MAX {
                return Err(FailureKind::TooLarge.because("Request size is too large."));
            }
            put::put(store, &members, now).map(|()| None)
        }
        other => {
            let what = format!("This endpoint does not support the CloudWatch operation {other}.");
            Err(FailureKind::UnknownOperation.because(what))
        }
    }
}

/// The endpoint's time: the latest time of any world.
fn clock(worlds: &[World]) -> Result<Time, Failure> {
    let now = worlds.iter().map(World::now).max();
    now.ok_or_else(|| FailureKind::Internal.because("This endpoint serves no world."))
}

/// Fails if a metrics fault is active in any world: the worlds share one CloudWatch.
fn refuse_by_fault(worlds: &[World]) -> Result<(), Failure> {
    for world in worlds {
        match world.metrics().refused() {
            None => {}
            Some(ReadError::Throttled(_)) => {
                return Err(FailureKind::Throttling.because("Rate exceeded"));
            }
            Some(
                ReadError::Refused(why)
                | ReadError::NoAnswer(why)
                | ReadError::Denied(why)
                | ReadError::Elsewhere(why)
                | ReadError::Unreadable(why),
            ) => return Err(FailureKind::AccessDenied.because(&*why)),
        }
    }
    Ok(())
}
