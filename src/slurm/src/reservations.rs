//! Parses `scontrol show res -o`. A reservation that has begun also shows in the states of its
//! nodes; a future reservation does not.

use trimtab_core::ids::NodeName;
use trimtab_core::text::start;
use trimtab_core::units::Time;

use crate::malformed::Malformed;
use crate::{hostlist, time};

/// Arguments of the command.
pub const ARGUMENTS: [&str; 3] = ["show", "res", "-o"];

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reservation {
    pub from: Time,
    pub to: Time,
    pub nodes: Vec<NodeName>,
}

/// Parses the output.
///
/// # Errors
/// At the first line that is not in Slurm's format.
pub fn parse(text: &str) -> Result<Vec<Reservation>, Malformed> {
    // Slurm prints a line even when there are no reservations.
    if text.trim().is_empty() || !text.ends_with('\n') {
        return Err("the output is empty or cut off".into());
    }
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let lines = lines.filter(|line| *line != "No reservations in the system");
    Ok(lines.map(parse_line).collect::<Result<_, String>>()?)
}

fn parse_line(line: &str) -> Result<Reservation, String> {
    let wrong = |what: &str| {
        let start = start(line, 60);
        format!("unexpected reservation line, {what}: `{start}…`")
    };
    if !line.starts_with("ReservationName=") {
        return Err(wrong("no ReservationName="));
    }
    // No value before these keys can contain a space, so the first match of each is Slurm's.
    let value = |key: &str| line.split(' ').find_map(|word| word.strip_prefix(key));
    let at = |key| {
        let text = value(key).ok_or_else(|| wrong("a time is missing"))?;
        time::parse(text).map_err(|why| wrong(&why))?.ok_or_else(|| wrong("no start or end time"))
    };
    let nodes = value("Nodes=").ok_or_else(|| wrong("no Nodes="))?;
    Ok(Reservation {
        from: at("StartTime=")?,
        to: at("EndTime=")?,
        nodes: hostlist::expand(nodes).map_err(|why| wrong(&why.to_string()))?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reservations_have_nodes_and_times() {
        let text = "ReservationName=x StartTime=1970-01-01T00:00:10 EndTime=1970-01-01T00:10:10 \
                    Duration=00:10:00 Nodes=n[7-8] NodeCnt=2 Flags=SPEC_NODES State=INACTIVE\n";
        let found = parse(text).expect("one");
        let ends = (found[0].from, found[0].to, found[0].nodes.len());
        assert_eq!(ends, (Time::from_secs(10), Time::from_secs(610), 2));
        assert_eq!(parse("No reservations in the system\n"), Ok(vec![]));
        assert!(parse(text.trim_end()).is_err(), "cut off");
        for wrong in [
            "",
            "\n",
            "x\n",
            "ReservationName=x\n",
            "ReservationName=x StartTime=soon EndTime=1 Nodes=n\n",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
