//! SageMaker over awsJson 1.1: `X-Amz-Target: SageMaker.<Operation>`.
//!
//! A request is checked in the same order as by the service: its shape, the cluster, then
//! the rules of the operation. Results come from the world. The endpoint keeps only what
//! affects neither scheduling nor cost (roles, scripts, tokens).

mod change;
mod details;
mod error;
mod page;
mod read;
mod requests;
mod shape;
mod update;

use serde_json::{Map, Value};

use crate::hosts::{Hosted, Hosts, Scope};
use crate::wire::{Answer, Reply, Request};
use error::ApiError;
use shape::{Member, check};

/// Content type of awsJson 1.1.
pub(crate) const CONTENT_TYPE: &str = "application/x-amz-json-1.1";
/// Prefix of `X-Amz-Target`.
const TARGET: &str = "SageMaker.";

/// Why an operation failed.
enum Failure {
    /// The endpoint responds with this error.
    Said(ApiError),
    /// The endpoint closes the connection without a response.
    Silence,
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        Self::Said(error)
    }
}

/// Response body of an operation, or its failure.
type Outcome = Result<Value, Failure>;

/// One API request.
struct Call<'a> {
    hosts: &'a Hosts,
    scope: Scope,
    body: Map<String, Value>,
}

impl<'a> Call<'a> {
    /// Checks the shape of the request and finds its cluster.
    fn cluster(&self, members: &[Member]) -> Result<&'a Hosted, ApiError> {
        check(&self.body, members)?;
        let name = self.text("ClusterName").unwrap_or_default();
        self.hosts.find(&self.scope, name).ok_or_else(|| {
            ApiError::new("ResourceNotFound", format!("Cluster {name} could not be found"))
        })
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.body.get(name).and_then(Value::as_str)
    }

    fn flag(&self, name: &str) -> bool {
        self.body.get(name).and_then(Value::as_bool).unwrap_or(false)
    }

    /// A timestamp in milliseconds since 1970.
    fn time(&self, name: &str) -> Option<f64> {
        self.body.get(name).and_then(Value::as_f64).map(|seconds| seconds * 1000.0)
    }

    fn list(&self, name: &str) -> &[Value] {
        self.body.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    fn texts(&self, name: &str) -> Vec<&str> {
        self.list(name).iter().filter_map(Value::as_str).collect()
    }
}

/// Whether this request is for SageMaker.
pub(crate) fn is_for_us(request: &Request) -> bool {
    request.header("x-amz-target").is_some_and(|target| target.starts_with(TARGET))
}

/// Answers a SageMaker request.
pub(crate) fn answer(hosts: &Hosts, request: &Request) -> Answer {
    let target = request.header("x-amz-target").unwrap_or_default();
    let operation = target.strip_prefix(TARGET).unwrap_or(target);
    match perform(hosts, request, operation) {
        Ok(body) => Reply {
            status: 200,
            headers: vec![("content-type", CONTENT_TYPE.to_owned())],
            body: body.to_string().into_bytes(),
        }
        .into(),
        Err(Failure::Said(error)) => error.reply().into(),
        Err(Failure::Silence) => Answer::HangUp,
    }
}

fn perform(hosts: &Hosts, request: &Request, operation: &str) -> Outcome {
    if request.method != "POST" {
        let why = format!("{} is not supported; use POST", request.method);
        return Err(ApiError::new("MethodNotAllowedException", why).into());
    }
    let body: Value = match request.body.is_empty() {
        true => Value::Object(Map::new()),
        false => serde_json::from_slice(&request.body)
            .map_err(|why| ApiError::new("SerializationException", why.to_string()))?,
    };
    let Value::Object(body) = body else {
        return Err(ApiError::new("SerializationException", "the body is not a JSON object").into());
    };
    let call = Call { hosts, scope: Scope::of(request), body };
    match operation {
        "ListClusters" => read::list_clusters(&call),
        "DescribeCluster" => read::describe_cluster(&call),
        "ListClusterNodes" => read::list_nodes(&call),
        "DescribeClusterNode" => read::describe_node(&call),
        "ListClusterEvents" => read::list_events(&call),
        "ListTags" => read::list_tags(&call),
        "BatchDeleteClusterNodes" => change::delete_nodes(&call),
        "BatchAddClusterNodes" => change::add_nodes(&call),
        "UpdateClusterSoftware" => change::update_software(&call),
        "UpdateCluster" => update::update_cluster(&call),
        _ => {
            let why = format!("this endpoint does not support the operation {operation}");
            Err(ApiError::new("UnknownOperationException", why).into())
        }
    }
}
