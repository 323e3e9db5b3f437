//! Runs one program for each node of a question.

use std::sync::Arc;

use futures_util::StreamExt as _;
use trimtab_config::{HookSettings, NODES_AT_ONCE};
use trimtab_core::units::Span;
use trimtab_daemon::ports::{Clock, Gate, Inquiry, Question, QuestionedNode};

use crate::{Runner, Start, Vetoes};

/// A program that runs for each node of a question, for several at the same time. Its arguments
/// name the node.
pub struct NodeProgram {
    runner: Runner,
}

impl NodeProgram {
    pub fn new(hook: HookSettings, clock: Arc<dyn Clock>, start: Start) -> Self {
        Self { runner: Runner { hook, clock, start } }
    }
}

impl Gate for NodeProgram {
    fn ask(&self, question: Question) -> Box<dyn Inquiry> {
        let nodes: Vec<_> = question.nodes.iter().map(|node| node.id).collect();
        let rounds = nodes.len().div_ceil(NODES_AT_ONCE);
        let rounds = i64::try_from(rounds).unwrap_or(i64::MAX);
        let long: Span = self.runner.hook.time_limit.times(rounds);
        let runner = self.runner.clone();
        self.runner.begin(nodes, question.at + long, async move {
            let runner = &runner;
            let one = |node: QuestionedNode| async move {
                let said = look(runner, &node).await;
                said.err().map(|why| (node.id, why))
            };
            let looks = futures_util::stream::iter(question.nodes.into_iter().map(one));
            let said: Vec<_> = looks.buffer_unordered(NODES_AT_ONCE).collect().await;
            said.into_iter().flatten().collect::<Vetoes>()
        })
    }
}

async fn look(runner: &Runner, node: &QuestionedNode) -> Result<(), Arc<str>> {
    let filled: Vec<String> = runner
        .hook
        .command
        .iter()
        .skip(1)
        .map(|argument| filled(argument, node))
        .collect::<Result<_, _>>()?;
    let arguments: Vec<&str> = filled.iter().map(String::as_str).collect();
    runner.run(&arguments, None).await
}

/// Replaces the placeholders of an argument with the node's values.
///
/// # Errors
/// When a value is not known, or when the result would be an option because a name begins with
/// a hyphen.
fn filled(argument: &str, node: &QuestionedNode) -> Result<String, Arc<str>> {
    let mut text = argument.to_owned();
    for (place, value) in [
        ("{node}", node.name.as_ref().map(ToString::to_string)),
        ("{ip}", node.ip.map(|ip| ip.to_string())),
        ("{instance_id}", Some(node.id.to_string())),
    ] {
        if !text.contains(place) {
            continue;
        }
        let Some(value) = value else {
            return Err(format!(
                "argument {argument} has a placeholder without a value for this node"
            )
            .into());
        };
        text = text.replace(place, &value);
    }
    if text.starts_with('-') && !argument.starts_with('-') {
        return Err(format!("argument {argument} would become an option: {text}").into());
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use trimtab_core::ids::ActionId;

    use super::*;

    fn node(name: Option<&str>, ip: Option<&str>) -> QuestionedNode {
        QuestionedNode {
            id: "i-0123456789abcdef0".parse().expect("valid"),
            name: name.map(|name| name.parse().expect("valid")),
            ip: ip.map(|ip| ip.parse().expect("valid")),
            action: ActionId(7),
        }
    }

    #[test]
    fn places_in_arguments_are_filled_with_what_is_known() {
        let whole = node(Some("ip-10-1-2-3"), Some("10.1.2.3"));
        for (argument, wanted) in [
            ("{node}", "ip-10-1-2-3"),
            ("trimtab@{ip}", "trimtab@10.1.2.3"),
            ("{instance_id}/{node}/{node}", "i-0123456789abcdef0/ip-10-1-2-3/ip-10-1-2-3"),
            ("-oHostKeyAlias={node}", "-oHostKeyAlias=ip-10-1-2-3"),
            ("{{.Names}} {nodes}", "{{.Names}} {nodes}"),
            ("$(reboot); {node}", "$(reboot); ip-10-1-2-3"),
        ] {
            assert_eq!(filled(argument, &whole).as_deref(), Ok(wanted));
        }
        assert!(filled("{ip}", &node(Some("a"), None)).is_err());
        assert!(filled("{node}", &node(None, Some("10.1.2.3"))).is_err());
        assert!(filled("BatchMode=yes", &node(None, None)).is_ok());
    }

    #[test]
    fn a_name_is_no_option() {
        let bad = node(Some("-oProxyCommand"), None);
        let why = filled("{node}", &bad).expect_err("ssh would read it as an option");
        assert!(why.contains("an option"), "{why}");
        assert!(filled("--host={node}", &bad).is_ok());
    }
}
