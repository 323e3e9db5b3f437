//! Backend that runs Slurm's commands and parses their output.

use async_trait::async_trait;
use trimtab_core::ids::NodeName;
use trimtab_daemon::ports::{ReadError, WriteError};

use crate::backend::{Backend, Configuration, Jobs, NewState};
use crate::command::{Commands, Program};
use crate::malformed::Malformed;
use crate::nodes::Node;
use crate::reservations::Reservation;
use crate::{configuration, jobs, nodes, reservations};

impl Commands {
    async fn ask<T>(
        &self,
        program: Program,
        args: &[&str],
        parse: impl FnOnce(&str) -> Result<T, Malformed>,
    ) -> Result<T, ReadError> {
        let text = self.run(program, args).await?;
        let unreadable =
            |why: Malformed| ReadError::Unreadable(format!("{}: {why}", program.file()).into());
        parse(&text).map_err(unreadable)
    }
}

#[async_trait]
impl Backend for Commands {
    async fn nodes(&self) -> Result<Vec<Node>, ReadError> {
        self.ask(Program::Scontrol, &nodes::ARGUMENTS, nodes::parse).await
    }

    async fn reservations(&self) -> Result<Vec<Reservation>, ReadError> {
        self.ask(Program::Scontrol, &reservations::ARGUMENTS, reservations::parse).await
    }

    async fn jobs(&self) -> Result<Jobs, ReadError> {
        let waiting = self.run(Program::Squeue, &jobs::PENDING).await?;
        let active = self.ask(Program::Squeue, &jobs::ACTIVE, jobs::parse_active).await?;
        let unreadable = |why: Malformed| ReadError::Unreadable(format!("squeue: {why}").into());
        let pending = jobs::parse_pending(&waiting, &active).map_err(unreadable)?;
        Ok(Jobs { active, pending })
    }

    async fn configuration(&self) -> Result<Configuration, ReadError> {
        self.ask(Program::Scontrol, &configuration::ARGUMENTS, configuration::parse).await
    }

    async fn set(&self, nodes: &[NodeName], state: NewState<'_>) -> Result<(), WriteError> {
        let arguments = update(nodes, state);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        self.run(Program::Scontrol, &arguments).await.map(drop).map_err(WriteError::of_sent)
    }
}

/// Returns the arguments of an update. No other command of trimtab changes Slurm.
fn update(nodes: &[NodeName], state: NewState<'_>) -> Vec<String> {
    let names: Vec<&str> = nodes.iter().map(NodeName::as_str).collect();
    let mut arguments = vec!["update".to_owned(), format!("NodeName={}", names.join(","))];
    match state {
        NewState::Drain { reason } => {
            arguments.extend(["State=DRAIN".to_owned(), format!("Reason={reason}")]);
        }
        NewState::Undrain => arguments.push("State=UNDRAIN".to_owned()),
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_can_be_said_of_nodes_is_to_drain_them_with_a_reason_and_to_undrain_them() {
        let nodes = ["ip-10-0-0-1", "ip-10-0-0-2"].map(|name| name.parse().expect("a name"));
        assert_eq!(
            update(&nodes, NewState::Drain { reason: "trimtab:ab-1:7-8" }),
            [
                "update",
                "NodeName=ip-10-0-0-1,ip-10-0-0-2",
                "State=DRAIN",
                "Reason=trimtab:ab-1:7-8"
            ]
        );
        assert_eq!(
            update(&nodes[..1], NewState::Undrain),
            ["update", "NodeName=ip-10-0-0-1", "State=UNDRAIN"]
        );
    }
}
