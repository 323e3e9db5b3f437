//! One program for all nodes of a question.

use std::sync::Arc;

use serde::Serialize;
use trimtab_daemon::config::HookSettings;
use trimtab_daemon::ports::{Clock, Gate, Inquiry, Question};

use crate::{Runner, Start, Vetoes};

/// The version of what a program reads. A member may be added at any time; one
/// that changes its meaning or goes makes this number another.
pub const SCHEMA_VERSION: u32 = 1;

/// A program that is run once for all nodes of a question and reads them as JSON.
pub struct GateProgram {
    runner: Runner,
    region: String,
    account: String,
}

/// What it reads.
#[derive(Serialize)]
struct Document<'a> {
    schema_version: u32,
    cluster: &'a str,
    region: &'a str,
    account_id: &'a str,
    group: &'a str,
    /// Our ledger, in which the actions are.
    ledger: &'a str,
    /// When it was asked, RFC 3339.
    asked_at: String,
    /// When it is ended, RFC 3339.
    deadline: String,
    nodes: Vec<Node>,
}

#[derive(Serialize)]
struct Node {
    instance_id: String,
    /// The scheduler's name for it, or null.
    name: Option<String>,
    /// Its address in the cluster's network, or null.
    ip: Option<String>,
    /// The action in our ledger that is to delete it.
    action: u64,
}

impl GateProgram {
    /// The program of a cluster in this region and account.
    pub fn new(
        hook: HookSettings,
        region: &str,
        account: &str,
        clock: Arc<dyn Clock>,
        start: Start,
    ) -> Self {
        let runner = Runner { hook, clock, start };
        Self { runner, region: region.to_owned(), account: account.to_owned() }
    }

    /// What the program is told.
    ///
    /// # Errors
    /// When it cannot be written down; a program that is told nothing may not say yes.
    fn document(&self, question: &Question) -> Result<String, Arc<str>> {
        let nodes = question.nodes.iter().map(|node| Node {
            instance_id: node.id.to_string(),
            name: node.name.as_ref().map(ToString::to_string),
            ip: node.ip.map(|ip| ip.to_string()),
            action: node.action.0,
        });
        let document = Document {
            schema_version: SCHEMA_VERSION,
            cluster: question.cluster.as_str(),
            region: &self.region,
            account_id: &self.account,
            group: question.group.as_str(),
            ledger: question.ledger.as_str(),
            asked_at: question.at.to_string(),
            deadline: (question.at + self.runner.hook.time_limit).to_string(),
            nodes: nodes.collect(),
        };
        let text = serde_json::to_string(&document).map_err(|why| why.to_string())?;
        Ok(text + "\n")
    }
}

impl Gate for GateProgram {
    fn ask(&self, question: Question) -> Box<dyn Inquiry> {
        let document = self.document(&question);
        let nodes: Vec<_> = question.nodes.iter().map(|node| node.id).collect();
        let (runner, asked) = (self.runner.clone(), nodes.clone());
        let deadline = question.at + self.runner.hook.time_limit;
        self.runner.begin(nodes, deadline, async move {
            let arguments: Vec<&str> =
                runner.hook.command.iter().skip(1).map(String::as_str).collect();
            let answer = match document {
                Ok(text) => runner.run(&arguments, Some(text.as_bytes())).await,
                Err(why) => Err(why),
            };
            match answer {
                Ok(()) => Vetoes::new(),
                Err(why) => asked.into_iter().map(|node| (node, Arc::clone(&why))).collect(),
            }
        })
    }
}
