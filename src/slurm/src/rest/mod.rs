//! Backend that calls slurmrestd, Slurm's REST daemon, at one version of its API.
//!
//! The members differ between API versions, and each Slurm release drops old versions. trimtab
//! therefore requires one version, checks that each answer names it, and names the available
//! versions when slurmrestd does not have it. An answer with an error in it, without a required
//! member, or of another version is rejected: when a query fails, slurmrestd still returns an
//! empty list.
//!
//! The commands report `EnforcePartLimits` and `PrivateData`, but this API does not. trimtab
//! assumes the stricter value for both.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::path::PathBuf;

use async_trait::async_trait;
use hyper::Method;
use serde::Serialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use trimtab_config::RestAddress;
use trimtab_core::ids::NodeName;
use trimtab_core::text::start;
use trimtab_daemon::ports::{ReadError, WriteError};

use crate::backend::{Backend, Configuration, Hidden, Jobs, NewState};
use crate::nodes::Node;
use crate::reservations::Reservation;

use answers::{Head, JobStates, JobsAnswer, Nodes, Ping, Reservations, Trouble};
use http::{Answer, Question};

mod answers;
mod http;
mod members;
mod token;

/// API version in use: the newest of Slurm 24.11; 25.05 has it too.
pub const API: &str = "v0.0.42";

/// Slurm error numbers that mean denied: the token is invalid or expired, or its user is not an
/// operator in Slurm.
const DENIED: [i64; 3] = [1007, 2002, 2010];

/// slurmrestd of one cluster. Stores the path of the token file, not the token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rest {
    address: RestAddress,
    token_file: Option<PathBuf>,
}

/// Body of a request that changes node states.
#[derive(Debug, Serialize)]
struct Update<'a> {
    name: &'a [NodeName],
    state: [&'static str; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

/// Returns the body of an update. No other request of trimtab changes Slurm.
const fn update<'a>(nodes: &'a [NodeName], state: NewState<'a>) -> Update<'a> {
    match state {
        NewState::Drain { reason } => {
            Update { name: nodes, state: ["DRAIN"], reason: Some(reason) }
        }
        NewState::Undrain => Update { name: nodes, state: ["UNDRAIN"], reason: None },
    }
}

impl Rest {
    /// Returns a client for this address that reads its token from this file. A Unix socket
    /// works without a token.
    pub const fn new(address: RestAddress, token_file: Option<PathBuf>) -> Self {
        Self { address, token_file }
    }

    /// Sends `GET /slurm/v0.0.42/{path}` and parses the answer.
    async fn get<T: DeserializeOwned>(&self, path: &str, wanted: &[&str]) -> Result<T, ReadError> {
        let body = self.ask(Method::GET, path, vec![], wanted).await?;
        serde_json::from_str(&body).map_err(|why| self.unreadable(path, &why))
    }

    /// Sends a request. Returns the body if it is complete, has no errors and is of version
    /// [`API`].
    async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
        wanted: &[&str],
    ) -> Result<String, ReadError> {
        let whole = format!("/slurm/{API}/{path}");
        let Answer { status, body } = self.exchange(method, &whole, body, wanted).await?;
        // Users can write invalid UTF-8 into Slurm's text fields. The fields that trimtab uses
        // are ASCII.
        let body = body.map(|body| String::from_utf8_lossy(&body).into_owned());
        if status == 404 && body.is_err() {
            return Err(self.other_version().await);
        }
        // An error in the body is more precise than the status code.
        let head = body.as_deref().ok().map(serde_json::from_str::<Head>);
        if let Some(Ok(Head { errors, .. })) = &head
            && let Some(first) = errors.first()
        {
            return Err(self.trouble(path, first));
        }
        match status {
            200 => {}
            401 | 403 | 511 => return Err(ReadError::Denied(self.said(path, &status))),
            300..=399 => {
                let why = format!("status {status}, a redirect, which trimtab does not follow");
                return Err(ReadError::Refused(self.said(path, &why)));
            }
            _ => return Err(ReadError::Refused(self.said(path, &format!("status {status}")))),
        }
        let body = body.map_err(|why| self.unreadable(path, &why))?;
        let head = head.unwrap_or_else(|| serde_json::from_str(&body));
        let parser = head.map_err(|why| self.unreadable(path, &why))?.meta.plugin.data_parser;
        if parser.strip_prefix("data_parser/") != Some(API) {
            let why = format!("the answer is of `{}`, not of {API}", shown(&parser));
            return Err(self.unreadable(path, &why));
        }
        Ok(body)
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
        wanted: &[&str],
    ) -> Result<Answer, ReadError> {
        let token = self.token_file.as_deref().map(token::read).transpose();
        let token = token.map_err(|why| ReadError::Denied(why.into()))?;
        let answer = http::ask(&self.address, Question { method, path, body, token, wanted }).await;
        answer.map_err(|why| {
            let why = format!("slurmrestd at {}: {}", self.address, shown(&why));
            ReadError::NoAnswer(why.into())
        })
    }

    /// Returns the error for a slurmrestd without version [`API`]. It reads the available
    /// versions from slurmrestd's own API description.
    async fn other_version(&self) -> ReadError {
        #[derive(serde::Deserialize)]
        struct Description {
            paths: BTreeMap<String, IgnoredAny>,
        }
        let found = match self.exchange(Method::GET, "/openapi/v3", vec![], &[]).await {
            Ok(Answer { body: Ok(body), .. }) => serde_json::from_slice::<Description>(&body).ok(),
            Ok(_) | Err(_) => None,
        };
        let paths = found.map(|found| found.paths).unwrap_or_default();
        let versions: BTreeSet<String> = paths
            .keys()
            .filter_map(|path| path.strip_prefix("/slurm/")?.split('/').next().map(shown))
            .collect();
        let has = match versions.len() {
            0 => "its versions could not be read".to_owned(),
            _ => format!("it has {}", versions.into_iter().collect::<Vec<_>>().join(", ")),
        };
        ReadError::Refused(
            format!(
                "slurmrestd at {} does not support API version {API} ({has}): run slurmrestd of \
                 Slurm 24.11 or 25.05, or set conf and bin_dir to use Slurm's commands",
                self.address
            )
            .into(),
        )
    }

    fn trouble(&self, path: &str, first: &Trouble) -> ReadError {
        let Trouble { description, error, error_number } = first;
        let what = format!("{}: {} (error {error_number})", shown(description), shown(error));
        let said = self.said(path, &what);
        if DENIED.contains(error_number) {
            ReadError::Denied(said)
        } else {
            ReadError::Refused(said)
        }
    }

    fn unreadable(&self, path: &str, why: &dyn Display) -> ReadError {
        ReadError::Unreadable(self.said(path, &shown(&why.to_string())))
    }

    fn said(&self, path: &str, what: &dyn Display) -> std::sync::Arc<str> {
        format!("slurmrestd at {}: {path}: {what}", self.address).into()
    }
}

/// Returns the start of a text from slurmrestd, without control characters, for an error
/// message.
fn shown(text: &str) -> String {
    start(text, 200)
}

#[async_trait]
impl Backend for Rest {
    async fn nodes(&self) -> Result<Vec<Node>, ReadError> {
        let answer: Nodes = self.get("nodes/", Nodes::WANTED).await?;
        answer.read().map_err(|why| self.unreadable("nodes/", &why))
    }

    async fn reservations(&self) -> Result<Vec<Reservation>, ReadError> {
        let answer: Reservations = self.get("reservations/", Reservations::WANTED).await?;
        answer.read().map_err(|why| self.unreadable("reservations/", &why))
    }

    async fn jobs(&self) -> Result<Jobs, ReadError> {
        // Waiting and running jobs are in one answer, so a job that starts meanwhile is not
        // missed.
        let answer: JobsAnswer = self.get("jobs/", JobsAnswer::WANTED).await?;
        let cut = answer.cut_arrays();
        let mut tasks = BTreeMap::new();
        if !cut.is_empty() {
            let path = format!("jobs/state/?job_id={}", cut.join(","));
            let states: JobStates = self.get(&path, JobStates::WANTED).await?;
            tasks = states.read().map_err(|why| self.unreadable("jobs/state/", &why))?;
        }
        answer.read(&tasks).map_err(|why| self.unreadable("jobs/", &why))
    }

    async fn configuration(&self) -> Result<Configuration, ReadError> {
        let ping: Ping = self.get("ping/", Ping::WANTED).await?;
        let controllers = ping.read().map_err(|why| self.unreadable("ping/", &why))?;
        Ok(Configuration { controllers, refuses_large_jobs: true, hidden: Hidden::Untold })
    }

    async fn set(&self, nodes: &[NodeName], state: NewState<'_>) -> Result<(), WriteError> {
        let body = serde_json::to_vec(&update(nodes, state));
        let body = body.map_err(|why| self.unreadable("nodes/", &why))?;
        let set = self.ask(Method::POST, "nodes/", body, Head::WANTED).await;
        set.map(drop).map_err(WriteError::of_sent)
    }
}

#[cfg(test)]
mod tests;
