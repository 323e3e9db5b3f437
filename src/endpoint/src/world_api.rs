//! `/_world/…`: what AWS does not show of a simulated cluster. Its job scheduler, its
//! clock, and the ground truth that tests compare results with.
//!
//! ```text
//! GET  /_world                          the clusters of this endpoint
//! GET  /_world/CLUSTER/clock            the clocks
//! POST /_world/CLUSTER/advance          {"to": ms} or {"by": ms}; lock-step only
//! POST /_world/CLUSTER/sleep            {"deadline": ms, "every": ms} -> {"now", "monotonic", "ring"}
//! GET  /_world/CLUSTER/workload         nodes, claims, queue
//! POST /_world/CLUSTER/cordon           {"ledger", "orders": [{"name", "action"}], "pretend"}
//! POST /_world/CLUSTER/release          {"ledger", "orders"}
//! POST /_world/CLUSTER/utilization      {"nodes", "window": ms}
//! GET  /_world/CLUSTER/prices           micro-dollars per hour for each group
//! GET  /_world/CLUSTER/truth            summary of the ground truth
//! ```
//!
//! Times and spans are in milliseconds. CLUSTER is a cluster name or the last part of an
//! ARN.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use trimtab_daemon::ports::{CordonOrder, ReadError, Ring, WriteError};
use trimtab_simulator::truth::Truth;

use crate::hosts::{Hosted, Hosts};
use crate::messages::{
    Advance, ClockReading, MetricsOf, Orders, PriceList, Problem, ProblemKind, Sleep, Slept,
};
use crate::wire::{Answer, Reply, Request};

const PREFIX: &str = "/_world";

/// Why a request failed.
enum Failure {
    /// The endpoint responds with this status and body.
    Said { status: u16, problem: Problem },
    /// The endpoint closes the connection without a response.
    Silence,
}

impl Failure {
    fn new(status: u16, why: impl Into<String>) -> Self {
        let problem = Problem { kind: ProblemKind::Refused, why: why.into() };
        Self::Said { status, problem }
    }
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Self {
        let (status, kind, why) = match error {
            ReadError::NoAnswer(_) => return Self::Silence,
            ReadError::Throttled(by) => (429, ProblemKind::Throttled, by),
            ReadError::Refused(why) | ReadError::Denied(why) | ReadError::Elsewhere(why) => {
                (403, ProblemKind::Refused, why)
            }
            ReadError::Unreadable(why) => (502, ProblemKind::Unreadable, why),
        };
        Self::Said { status, problem: Problem { kind, why: why.to_string() } }
    }
}

impl From<WriteError> for Failure {
    fn from(error: WriteError) -> Self {
        let (status, kind, why) = match error {
            WriteError::NotSent(why) => return why.into(),
            WriteError::NoAnswer(_) => return Self::Silence,
            WriteError::Throttled(by) => (429, ProblemKind::Throttled, by),
            WriteError::Refused(why) | WriteError::Denied(why) => (403, ProblemKind::Refused, why),
            WriteError::Unreadable(why) => (502, ProblemKind::Unreadable, why),
        };
        Self::Said { status, problem: Problem { kind, why: why.to_string() } }
    }
}

/// Whether this request is for `/_world`.
pub(crate) fn is_for_us(request: &Request) -> bool {
    let rest = request.path.strip_prefix(PREFIX);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Answers a request for `/_world`.
pub(crate) fn answer(hosts: &Hosts, request: &Request) -> Answer {
    match perform(hosts, request) {
        Ok(body) => json_reply(200, body.to_string()).into(),
        Err(Failure::Said { status, problem }) => {
            let body = serde_json::to_string(&problem).unwrap_or_default();
            json_reply(status, body).into()
        }
        Err(Failure::Silence) => Answer::HangUp,
    }
}

fn json_reply(status: u16, body: String) -> Reply {
    let headers = vec![("content-type", "application/json".to_owned())];
    Reply { status, headers, body: body.into_bytes() }
}

fn perform(hosts: &Hosts, request: &Request) -> Result<Value, Failure> {
    let rest = request.path.strip_prefix(PREFIX).unwrap_or_default().trim_matches('/');
    if rest.is_empty() {
        let all = hosts.all().iter().map(|own| {
            json!({ "cluster": own.name, "arn": own.arn(), "account": own.account,
                    "region": own.region, "seed": own.world.spec().seed })
        });
        return Ok(json!({ "clusters": all.collect::<Vec<Value>>(), "speed": speed(hosts) }));
    }
    let (cluster, what) = rest.split_once('/').unwrap_or((rest, ""));
    let own = hosts.by_path(cluster).map_err(|why| Failure::new(404, why.to_string()))?;
    match (request.method.as_str(), what) {
        ("GET", "clock") => written(&clock(hosts, own)),
        ("POST", "advance") => advance(hosts, own, read(request)?),
        ("POST", "sleep") => sleep(hosts, own, &read(request)?),
        ("GET", "workload") => written(&own.world.workload(&own.name)?),
        ("POST", "cordon") => cordon(own, read(request)?),
        ("POST", "release") => {
            let Orders { ledger, orders, .. } = read(request)?;
            let orders: Vec<CordonOrder> = orders.into_iter().map(Into::into).collect();
            own.world.release(&own.name, &ledger, &orders)?;
            Ok(json!({}))
        }
        ("POST", "utilization") => {
            let MetricsOf { nodes, window } = read(request)?;
            written(&own.world.utilization(&own.name, &nodes, window)?)
        }
        ("GET", "prices") => {
            let spec = own.world.spec();
            let prices = spec.groups.iter().map(|group| (group.name.clone(), group.price));
            written(&prices.collect::<PriceList>())
        }
        ("GET", "truth") => Ok(truth(&own.world.truth())),
        (method, what) => Err(Failure::new(404, format!("unknown request {method} `{what}`"))),
    }
}

fn read<T: DeserializeOwned>(request: &Request) -> Result<T, Failure> {
    serde_json::from_slice(&request.body).map_err(|why| Failure::new(400, why.to_string()))
}

fn written<T: Serialize>(value: &T) -> Result<Value, Failure> {
    serde_json::to_value(value).map_err(|why| Failure::new(500, why.to_string()))
}

fn speed(hosts: &Hosts) -> f64 {
    hosts.pace().map_or(0.0, |pace| pace.speed())
}

fn clock(hosts: &Hosts, own: &Hosted) -> ClockReading {
    let machine = own.world.machine_clock();
    ClockReading {
        now: machine.now(),
        monotonic: machine.monotonic(),
        true_now: own.world.now(),
        speed: speed(hosts),
        end: own.world.end(),
    }
}

fn in_lock_step(hosts: &Hosts) -> Result<(), Failure> {
    match hosts.pace() {
        None => Ok(()),
        Some(pace) => {
            let speed = pace.speed();
            let why = format!("not in lock-step: time runs by itself at {speed} times real time");
            Err(Failure::new(409, why))
        }
    }
}

fn advance(hosts: &Hosts, own: &Hosted, advance: Advance) -> Result<Value, Failure> {
    in_lock_step(hosts)?;
    let now = own.world.now();
    let to = match advance {
        Advance::To(to) => to,
        Advance::By(span) => now + span,
    };
    if to < now {
        return Err(Failure::new(400, format!("cannot advance to {to}: it is already {now}")));
    }
    hosts.advance_to(to);
    written(&clock(hosts, own))
}

fn sleep(hosts: &Hosts, own: &Hosted, sleep: &Sleep) -> Result<Value, Failure> {
    in_lock_step(hosts)?;
    // `None` means that the simulator killed the daemon, which it cannot do over HTTP.
    let ring = own.world.doorbell(sleep.every).sleep(sleep.deadline).unwrap_or(Ring::Stop);
    hosts.advance_to(own.world.now());
    let machine = own.world.machine_clock();
    let (now, monotonic) = (machine.now(), machine.monotonic());
    written(&Slept { now, monotonic, ring: ring.into() })
}

fn cordon(own: &Hosted, orders: Orders) -> Result<Value, Failure> {
    let Orders { ledger, orders, pretend } = orders;
    let orders: Vec<CordonOrder> = orders.into_iter().map(Into::into).collect();
    if pretend {
        own.world.pretend_cordon(&ledger, &orders)?;
    } else {
        own.world.cordon(&own.name, &ledger, &orders)?;
    }
    Ok(json!({}))
}

/// Summary of the ground truth: figures instead of the long lists.
fn truth(truth: &Truth) -> Value {
    let groups: serde_json::Map<String, Value> = truth
        .groups
        .iter()
        .map(|(name, group)| {
            let summary = json!({
                "live": group.live, "live_min": group.live_min, "members": group.members,
                "launched": group.launched, "regrown": group.regrown, "deleted": group.deleted,
                "billed": group.billed, "busy": group.busy, "booting": group.booting,
                "cost_usd": group.cost().as_dollars(),
            });
            (name.to_string(), summary)
        })
        .collect();
    let cordons: Vec<Value> = truth
        .cordons
        .iter()
        .map(|(name, reason)| json!({ "name": name, "reason": &**reason }))
        .collect();
    json!({
        "at": truth.at,
        "since": truth.since,
        "jobs": truth.jobs.len(),
        "jobs_done": truth.jobs_done(),
        "jobs_lost": truth.lost_jobs().count(),
        "busy_nodes_deleted": truth.busy_nodes_deleted().count(),
        "nodes_deleted": truth.nodes_deleted(),
        "nodes_regrown": truth.nodes_regrown(),
        "delete_requests": truth.requests.len(),
        "billed": truth.billed(),
        "waited": truth.waited(),
        "cost_usd": truth.cost().as_dollars(),
        "cordons": cordons,
        "groups": groups,
    })
}
