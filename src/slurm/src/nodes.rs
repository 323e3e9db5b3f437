//! Parses `scontrol show node -o`: one line per node, made of `Key=value` pairs.
//!
//! Values may contain spaces (`OS=Linux 6.1 #1 SMP`, `Reason=bad fan`), and users who may
//! update nodes write some of them. The free-text values come last (`Reason=`, `Comment=`,
//! `Extra=`), and the parser searches for keys only before them. A key that appears twice there
//! is an error, because the parser cannot know which one Slurm wrote.
//!
//! A free text that contains a line break continues on further lines, which may contain
//! anything, even the line of another node. The parser then marks that node as unclear and
//! still reads the others; otherwise one comment would keep trimtab's drains on all nodes.
//!
//! The fields that are read have the same format in 22.05 and 24.11.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use trimtab_core::ids::NodeName;
use trimtab_core::reads::{Claim, Condition};
use trimtab_core::text::start;

use crate::malformed::Malformed;
use crate::time;

/// Arguments of the command. Without `-a`, the output leaves out nodes of hidden partitions and
/// of partitions that the calling user's groups may not use.
pub const ARGUMENTS: [&str; 4] = ["-a", "show", "node", "-o"];

/// One node as Slurm reports it, without its jobs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    pub name: NodeName,
    pub condition: Condition,
    /// Claims from the node's state, other than being allocated.
    pub claims: Vec<Claim>,
    /// Whether jobs use the node or a part of it, according to its state.
    pub is_allocated: bool,
    /// Reason of the drain or failure; `None` if the node is neither drained nor failing.
    pub drained: Option<Arc<str>>,
    /// First label of the name of the host that its slurmd runs on.
    pub hostname: Option<Arc<str>>,
    /// Address at which slurmctld reaches the node, if it is configured as an IP address.
    pub address: Option<IpAddr>,
    /// Features, GRES kinds (`gres/gpu`) and GRES types (`gres/gpu:a100`).
    pub offers: Option<BTreeSet<Arc<str>>>,
}

/// Parses the output.
///
/// # Errors
/// At the first line that is not in Slurm's format.
pub fn parse(text: &str) -> Result<Vec<Node>, Malformed> {
    if !text.is_empty() && !text.ends_with('\n') {
        return Err("the output ends in the middle of a line".into());
    }
    let mut nodes: Vec<Node> = vec![];
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        match nodes.last() {
            Some(last) if !line.starts_with("NodeName=") => {
                let unclear = Node::unclear(last.name.clone());
                nodes.push(unclear);
            }
            Some(_) | None => nodes.push(parse_line(line)?),
        }
    }
    Ok(nodes)
}

fn parse_line(whole: &str) -> Result<Node, String> {
    let (line, texts) = whole.split_at(texts_begin(whole));
    let fields = line.strip_prefix("NodeName=").ok_or_else(|| odd(line, "no NodeName="))?;
    let name = fields.split(' ').next().unwrap_or_default();
    let name: NodeName = name.parse().map_err(|why| format!("{why}"))?;
    let state = only(line, " State=")?.ok_or_else(|| odd(line, "no State="))?;
    let state = state.split(' ').next().unwrap_or_default();
    let cpus = only(line, " CPUAlloc=")?.ok_or_else(|| odd(line, "no CPUAlloc="))?;
    let cpus: u32 = cpus
        .split(' ')
        .next()
        .and_then(|cpus| cpus.parse().ok())
        .ok_or_else(|| odd(line, "CPUAlloc= is not a number"))?;
    let mut node = Node {
        name,
        condition: Condition::Up,
        claims: vec![],
        is_allocated: cpus > 0,
        drained: None,
        hostname: word(line, " NodeHostName=")?.map(first_label),
        address: word(line, " NodeAddr=")?.and_then(|address| address.parse().ok()),
        offers: Some(offers(
            // Includes the features that the node could have after a reboot.
            word(line, " AvailableFeatures=")?.unwrap_or_default(),
            word(line, " Gres=")?.unwrap_or_default(),
        )),
    };
    node.read_state(state.split('+'), || reason(texts));
    Ok(node)
}

/// Returns the offset at which free text begins, in bytes.
fn texts_begin(line: &str) -> usize {
    let keys = [" Reason=", " Comment=", " Extra="].iter();
    keys.filter_map(|key| line.find(key)).min().unwrap_or(line.len())
}

impl Node {
    /// Returns a second entry for a node whose line cannot be parsed. The snapshot builder does
    /// not trust a node that is reported twice (`core::assemble`), and the cordon code neither
    /// drains nor undrains it (`crate::cordon`).
    fn unclear(name: NodeName) -> Self {
        Self {
            name,
            condition: Condition::Down,
            claims: vec![],
            is_allocated: false,
            drained: Some("".into()),
            hostname: None,
            address: None,
            offers: None,
        }
    }

    /// Applies the words of a state, the base state first.
    pub(crate) fn read_state<'a>(
        &mut self,
        mut words: impl Iterator<Item = &'a str>,
        reason: impl FnOnce() -> Arc<str>,
    ) {
        let base = words.next().unwrap_or_default();
        read_base(base, self);
        let mut is_drained = false;
        let mut is_failing = base.starts_with("FAIL");
        for flag in words {
            match flag {
                "DRAIN" => is_drained = true,
                // FAIL is added to the node's state. HyperPod replaces a node that is set to
                // `state=fail reason="Action:Replace"`.
                "FAIL" => {
                    is_failing = true;
                    self.condition = Condition::Down;
                }
                // These say how the node was configured, not what state it is in.
                "CLOUD" | "DYNAMIC_NORM" => {}
                "PLANNED" => self.claims.push(Claim::Planned),
                "RESERVED" | "MAINTENANCE" => self.claims.push(Claim::Reserved),
                other => self.claims.push(Claim::Unrecognised(other.into())),
            }
        }
        // A failing node accepts no new jobs either, and its reason says whether HyperPod is
        // replacing it. The reason of a node that is only down is usually Slurm's own.
        self.drained = (is_drained || is_failing).then(reason);
    }
}

/// Applies the base state. The suffix `*` means that the node does not respond.
fn read_base(word: &str, node: &mut Node) {
    let (base, is_silent) = match word.strip_suffix('*') {
        Some(base) => (base, true),
        None => (word, false),
    };
    if is_silent {
        node.claims.push(Claim::Unrecognised("NOT_RESPONDING".into()));
    }
    match base {
        "IDLE" => {}
        "ALLOCATED" | "MIXED" => node.is_allocated = true,
        "DOWN" | "ERROR" | "FAIL" => node.condition = Condition::Down,
        "FUTURE" => node.condition = Condition::Joining,
        // After slurmctld starts, all nodes are UNKNOWN for some seconds.
        other => node.claims.push(Claim::Unrecognised(other.into())),
    }
}

/// Returns the reason without the user and time, which Slurm appends to its first line. Further
/// lines of the reason follow after spaces, then other free text.
fn reason(texts: &str) -> Arc<str> {
    let Some(reason) = texts.strip_prefix(" Reason=") else { return "".into() };
    let stamps = reason.match_indices(" [");
    let stamp = stamps.filter_map(|(at, _)| Some((at, at + stamp_length(&reason[at..])?))).next();
    let Some((at, end)) = stamp else { return reason.trim_end().into() };
    // Keys that Slurm prints after the reason.
    const BEHIND: [&str; 5] =
        [" Comment=", " Extra=", " InstanceId=", " InstanceType=", " ReservationName="];
    let rest = &reason[end..];
    if !rest.trim_end().is_empty() && !BEHIND.iter().any(|key| rest.starts_with(key)) {
        // The reason has further lines, or the stamp is part of the text. trimtab did not write
        // it.
        return format!("{} (and more)", reason[..at].trim_end()).into();
    }
    reason[..at].trim_end().into()
}

/// Returns the length of ` [root@2026-11-25T06:58:27]` in bytes if the text begins with such a
/// stamp.
fn stamp_length(text: &str) -> Option<usize> {
    let (inner, _) = text.strip_prefix(" [")?.split_once(']')?;
    let (who, at) = inner.rsplit_once('@')?;
    let is_time = matches!(time::parse(at), Ok(Some(_)));
    (is_time && !who.is_empty() && !who.contains(' ')).then_some(inner.len() + 3)
}

/// Returns the word after this key, or an error if the key appears twice.
fn word<'a>(line: &'a str, key: &str) -> Result<Option<&'a str>, String> {
    Ok(only(line, key)?.and_then(|rest| rest.split(' ').next()))
}

/// Returns the first label: `ip-10-0-0-1` for `ip-10-0-0-1.us-west-2.compute.internal`.
pub(crate) fn first_label(host: &str) -> Arc<str> {
    host.split('.').next().unwrap_or(host).into()
}

/// Returns features (`a,b`), and the kinds and types of GRES (`gpu:a100:8(S:0-1),nvme:2`).
pub fn offers(features: &str, gres: &str) -> BTreeSet<Arc<str>> {
    let listed = |text: &str| text != "(null)" && !text.is_empty();
    let features = features.split(',').filter(|text| listed(text)).map(Arc::from);
    let gres = gres.split(',').filter(|text| listed(text)).flat_map(|gres| {
        // The part in parentheses lists cores and indexes, and may contain colons.
        let gres = gres.split('(').next().unwrap_or(gres);
        let mut parts = gres.split(':');
        let kind = parts.next().unwrap_or(gres);
        let is_type = |part: &&str| !part.starts_with(|c: char| c.is_ascii_digit());
        let typed = parts.next().filter(is_type).map(|of| format!("gres/{kind}:{of}"));
        std::iter::once(format!("gres/{kind}")).chain(typed)
    });
    features.chain(gres.map(Arc::from)).collect()
}

/// Returns the rest of the line after this key, or an error if the key appears twice.
fn only<'a>(line: &'a str, key: &str) -> Result<Option<&'a str>, String> {
    let mut found = line.match_indices(key);
    let first = found.next();
    if found.next().is_some() {
        return Err(odd(line, &format!("{} twice", key.trim())));
    }
    Ok(first.map(|(at, _)| &line[at + key.len()..]))
}

fn odd(line: &str, what: &str) -> String {
    let start = start(line, 60);
    format!("unexpected node line, {what}: `{start}…`")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line in the format of Slurm 22.05.8.
    fn line(state: &str, cpus: u32, rest: &str) -> String {
        format!(
            "NodeName=ip-10-0-0-8 Arch=x86_64 CoresPerSocket=8  CPUAlloc={cpus} CPUEfctv=8 \
             CPUTot=8 CPULoad=1.34 Gres=gpu:8 NodeAddr=127.0.0.1 Port=17108 Version=22.05.8 \
             OS=Linux 6.1.0 #1 SMP PREEMPT_DYNAMIC @0  RealMemory=32000 AllocMem=0 Boards=1 \
             State={state} ThreadsPerCore=1 Owner=N/A Partitions=gpu  CfgTRES=cpu=8 \
             AllocTRES= CapWatts=n/a{rest}\n"
        )
    }

    fn node(state: &str, rest: &str) -> Node {
        let nodes = parse(&line(state, 0, rest)).expect(state);
        nodes.into_iter().next().expect("one")
    }

    #[test]
    fn only_a_plain_idle_node_is_claimed_by_nothing() {
        let plain = node("IDLE", "");
        assert_eq!(
            (plain.condition, plain.claims.len(), plain.is_allocated),
            (Condition::Up, 0, false)
        );
        assert_eq!(plain.drained, None);
        for state in ["IDLE+CLOUD", "IDLE+DYNAMIC_NORM"] {
            assert_eq!(node(state, ""), plain, "{state}");
        }
        for state in [
            "IDLE*",
            "UNKNOWN",
            "UNKNOWN*",
            "IDLE+PLANNED",
            "IDLE+RESERVED",
            "IDLE+MAINTENANCE",
            "IDLE+COMPLETING",
            "IDLE+POWERING_UP",
            "IDLE+POWERED_DOWN",
            "IDLE+POWERING_DOWN",
            "IDLE+REBOOT_REQUESTED",
            "IDLE+REBOOT_ISSUED",
            "IDLE+NOT_RESPONDING",
            "IDLE+INVALID_REG",
            "IDLE+BLOCKED",
            "BETWEEN",
            "",
            "idle",
            "PLANNED",
        ] {
            assert!(!node(state, "").claims.is_empty(), "{state}");
        }
        for state in ["ALLOCATED", "MIXED", "MIXED+DRAIN", "ALLOCATED+COMPLETING"] {
            assert!(node(state, " Reason=x [root@t]").is_allocated, "{state}");
        }
        for state in ["DOWN", "DOWN*", "DOWN+DRAIN", "ERROR", "FAIL", "IDLE+FAIL", "MIXED+FAIL"] {
            assert_eq!(node(state, "").condition, Condition::Down, "{state}");
        }
        assert!(parse(&line("IDLE", 1, "")).expect("a node")[0].is_allocated);
    }

    #[test]
    fn a_failing_node_has_a_reason_too() {
        let stamp = "[root@2026-11-25T06:58:27]";
        for state in ["IDLE+FAIL", "FAIL", "MIXED+FAIL"] {
            let failing = node(state, &format!(" Reason=Action:Replace {stamp}"));
            assert_eq!(failing.drained.as_deref(), Some("Action:Replace"), "{state}");
            assert_eq!(failing.condition, Condition::Down, "{state}");
        }
    }

    #[test]
    fn what_an_operator_wrote_behind_our_reason_makes_it_theirs() {
        let stamp = "[root@2026-11-25T06:58:27]";
        let drained = |behind: &str| {
            let reason = format!(" Reason=trimtab:ab-1:7-8 {stamp}{behind}");
            node("IDLE+DRAIN", &reason).drained.expect("it is drained").to_string()
        };
        for ours in ["", " Comment=x", " Extra=y", " ReservationName=soon"] {
            assert_eq!(drained(ours), "trimtab:ab-1:7-8", "{ours}");
        }
        for theirs in [format!(" keep: bad fan {stamp}"), " Reason=mine".to_owned()] {
            assert_ne!(drained(&theirs), "trimtab:ab-1:7-8", "{theirs}");
        }
    }

    #[test]
    fn a_reason_is_told_without_who_gave_it_and_only_of_a_drained_node() {
        let drained =
            |rest: &str| node("IDLE+DRAIN", rest).drained.map(|reason| reason.to_string());
        let stamp = "[root@2026-11-25T06:58:27]";
        assert_eq!(
            drained(&format!(" Reason=bad fan | x {stamp}")).as_deref(),
            Some("bad fan | x")
        );
        assert_eq!(
            drained(&format!(" Reason=trimtab:ab:7 {stamp}")).as_deref(),
            Some("trimtab:ab:7")
        );
        assert_eq!(drained(&format!(" Reason=see [1] {stamp}")).as_deref(), Some("see [1]"));
        let after = "ReservationName=m";
        assert_eq!(
            drained(&format!(" Reason=trimtab:ab:7 {stamp} Comment=x Extra=y [z] {after}"))
                .as_deref(),
            Some("trimtab:ab:7")
        );
        assert_eq!(
            drained(&format!(" Reason=trimtab:ab:7 {stamp}        line two Comment=x")).as_deref(),
            Some("trimtab:ab:7 (and more)")
        );
        assert_eq!(drained(" Comment=x Reason=y").as_deref(), Some(""));
        assert_eq!(drained("").as_deref(), Some(""));
        assert_eq!(node("DOWN*", &format!(" Reason=Not responding {stamp}")).drained, None);
    }

    #[test]
    fn a_line_that_is_not_slurms_is_no_answer() {
        for (text, said) in [
            (
                "slurm_load_node error",
                "unexpected node line, no NodeName=: `slurm_load_node error…`",
            ),
            ("NodeName=a CPUAlloc=0", "unexpected node line, no State=: `NodeName=a CPUAlloc=0…`"),
            (
                "NodeName=a State=IDLE",
                "unexpected node line, no CPUAlloc=: `NodeName=a State=IDLE…`",
            ),
            ("NodeName=a b/c", "unexpected node line, no State=: `NodeName=a b/c…`"),
            (
                "NodeName=a/b State=IDLE",
                "`a/b` is not a node name (letters, digits, `.`, `_`, `-`)",
            ),
        ] {
            assert_eq!(parse(&format!("{text}\n")), Err(said.into()));
        }
        assert_eq!(parse(""), Ok(vec![]), "no node at all, which the snapshot does not believe");
        assert!(parse("No nodes in the system\n").is_err());
        let cut_off = line("IDLE", 0, "").trim_end().to_owned();
        let why = parse(&cut_off).expect_err("cut off").to_string();
        assert!(why.contains("in the middle of a line"), "{why}");
        let texts = " Comment=x State=IDLE Reason=y CPUAlloc=0 Extra=State=IDLE";
        assert!(parse(&line("ALLOCATED", 8, texts)).expect("a node")[0].is_allocated);
        let forged = line("ALLOCATED", 8, "").replace("Gres=gpu:8", "Gres=gpu State=IDLE");
        let why = parse(&forged).expect_err("two states").to_string();
        assert!(why.contains("State= twice"), "{why}");
    }

    #[test]
    fn nothing_is_told_of_a_node_whose_text_has_a_line_end_and_the_others_are_read() {
        let other = line("IDLE", 0, "").replace("ip-10-0-0-8", "ip-10-0-0-9");
        for text in [
            " Comment=a\nb CPUAlloc=0 Extra=c Reason=x [root@t]",
            " Comment=a\nNodeName=ip-10-0-0-8 CPUAlloc=0 State=IDLE",
        ] {
            let nodes = parse(&(line("ALLOCATED+DRAIN", 8, text) + &other)).expect(text);
            let times = nodes.iter().filter(|node| node.name.as_str() == "ip-10-0-0-8").count();
            assert_eq!(times, 2, "{text}");
            assert_eq!(nodes.last(), parse(&other).expect("one").first(), "{text}");
        }
    }
}
