//! Runs one program for all nodes of a question.

use std::sync::Arc;

use serde::Serialize;
use trimtab_config::HookSettings;
use trimtab_daemon::ports::{Clock, Gate, Inquiry, Question};

use crate::{Runner, Start, Vetoes};

/// Version of the JSON document. Members may be added without a new version; a member that is
/// removed or changes its meaning needs a new one.
pub const SCHEMA_VERSION: u32 = 1;

/// A program that runs once per question and reads its nodes as JSON.
pub struct GateProgram {
    runner: Runner,
    region: String,
    account: String,
}

/// The JSON document.
#[derive(Serialize)]
struct Document<'a> {
    schema_version: u32,
    cluster: &'a str,
    region: &'a str,
    account_id: &'a str,
    group: &'a str,
    /// The ledger that contains the actions.
    ledger: &'a str,
    /// Time of the question, RFC 3339.
    asked_at: String,
    /// Time at which trimtab kills the program, RFC 3339.
    deadline: String,
    nodes: Vec<Node>,
}

#[derive(Serialize)]
struct Node {
    instance_id: String,
    /// Name in the scheduler, or null.
    name: Option<String>,
    /// Address in the cluster's network, or null.
    ip: Option<String>,
    /// Number of the action in the ledger that deletes the node.
    action: u64,
}

impl GateProgram {
    /// Returns the gate of a cluster in this region and account.
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

    /// Returns the document for a question.
    ///
    /// # Errors
    /// When the document cannot be serialized. The question is then vetoed, because a program
    /// without the document must not approve it.
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
