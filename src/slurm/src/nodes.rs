//! `scontrol show node -o`: one line a node, `Key=value` after `Key=value`.
//!
//! Values may hold blanks (`OS=Linux 6.1 #1 SMP`, `Reason=bad fan`), and some
//! are written by whoever may update nodes. Texts of people come last (`Reason=`,
//! `Comment=`, `Extra=`) and are not looked into for anything else. Before them only
//! the keys that are needed are looked for, and one that is there twice makes the
//! answer unreadable: it cannot be told which of them Slurm wrote.
//!
//! A text with a line end goes on in lines of its own making. Nothing is told of a
//! node whose text does: what follows could be anything, another node's line, too.
//! The others are what they are, or one comment would keep our drains on all of them.
//!
//! 22.05 and 24.11 write what is read here alike.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use trimtab_core::ids::NodeName;
use trimtab_core::snapshot::{Claim, Condition};

use crate::time;

/// The arguments that ask for it. Without `-a` the nodes of hidden partitions, and of
/// partitions that the asking user's groups may not use, are left out.
pub const ARGUMENTS: [&str; 4] = ["-a", "show", "node", "-o"];

/// One node as Slurm tells it, without the jobs on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub name: NodeName,
    /// Whether it can run jobs.
    pub condition: Condition,
    /// What its own state claims, beside being allocated.
    pub claims: Vec<Claim>,
    /// Its state says that jobs have some or all of it.
    pub is_allocated: bool,
    /// The reason it is drained or failing for; `None` when it is neither.
    pub drained: Option<Arc<str>>,
    /// The first label of the host that its slurmd runs on.
    pub hostname: Option<Arc<str>>,
    /// The address at which slurmctld reaches it, where it is configured as one.
    pub address: Option<IpAddr>,
    /// Its features, and its GRES by kind (`gres/gpu`) and type (`gres/gpu:a100`).
    pub offers: Option<BTreeSet<Arc<str>>>,
}

/// Reads the answer.
///
/// # Errors
/// At the first line that is not as Slurm writes it.
pub fn parse(text: &str) -> Result<Vec<Node>, String> {
    if !text.is_empty() && !text.ends_with('\n') {
        return Err("the answer ends in the middle of a line".to_owned());
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
        .ok_or_else(|| odd(line, "CPUAlloc= is no number"))?;
    let mut node = Node {
        name,
        condition: Condition::Up,
        claims: vec![],
        is_allocated: cpus > 0,
        drained: None,
        hostname: word(line, " NodeHostName=")?.map(first_label),
        address: word(line, " NodeAddr=")?.and_then(|address| address.parse().ok()),
        offers: Some(offers(
            // Those that it could have after a reboot count, too.
            word(line, " AvailableFeatures=")?.unwrap_or_default(),
            word(line, " Gres=")?.unwrap_or_default(),
        )),
    };
    node.read_state(state.split('+'), || reason(texts));
    Ok(node)
}

/// Where texts of people begin.
fn texts_begin(line: &str) -> usize {
    let keys = [" Reason=", " Comment=", " Extra="].iter();
    keys.filter_map(|key| line.find(key)).min().unwrap_or(line.len())
}

impl Node {
    /// What is put beside a node of which nothing can be told: what is told of one
    /// twice counts for nothing (`core::assemble`), and it is neither drained nor
    /// undrained (`crate::cordon`).
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

    /// Takes in the words of a state, the base state first.
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
                // On top of what the node was; HyperPod's words for a node that it shall
                // replace are `state=fail reason="Action:Replace"`.
                "FAIL" => {
                    is_failing = true;
                    self.condition = Condition::Down;
                }
                // How the node came to be known, not what becomes of it.
                "CLOUD" | "DYNAMIC_NORM" => {}
                "PLANNED" => self.claims.push(Claim::Planned),
                "RESERVED" | "MAINTENANCE" => self.claims.push(Claim::Reserved),
                other => self.claims.push(Claim::Unrecognised(other.into())),
            }
        }
        // A failing node takes no new jobs either, and its reason says whether HyperPod is
        // replacing it. What is down has a reason of Slurm's own, as a rule.
        self.drained = (is_drained || is_failing).then(reason);
    }
}

/// The base state; a `*` behind it says that the node does not respond.
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
        // All nodes are UNKNOWN for seconds after slurmctld was started.
        other => node.claims.push(Claim::Unrecognised(other.into())),
    }
}

/// The reason, without who gave it and when. That stands at the end of its first line;
/// further lines follow after blanks, and whatever else people wrote.
fn reason(texts: &str) -> Arc<str> {
    let Some(reason) = texts.strip_prefix(" Reason=") else { return "".into() };
    let stamps = reason.match_indices(" [");
    let stamp = stamps.filter_map(|(at, _)| Some((at, at + stamp_length(&reason[at..])?))).next();
    let Some((at, end)) = stamp else { return reason.trim_end().into() };
    // What Slurm tells of a node behind its reason.
    const BEHIND: [&str; 5] =
        [" Comment=", " Extra=", " InstanceId=", " InstanceType=", " ReservationName="];
    let rest = &reason[end..];
    if !rest.trim_end().is_empty() && !BEHIND.iter().any(|key| rest.starts_with(key)) {
        // Further lines, or the stamp is a part of what somebody wrote: nothing that we gave.
        return format!("{} (and more)", reason[..at].trim_end()).into();
    }
    reason[..at].trim_end().into()
}

/// Bytes of ` [root@2026-11-25T06:58:27]`, if a text begins with one.
fn stamp_length(text: &str) -> Option<usize> {
    let (inner, _) = text.strip_prefix(" [")?.split_once(']')?;
    let (who, at) = inner.rsplit_once('@')?;
    let is_time = matches!(time::parse(at), Ok(Some(_)));
    (is_time && !who.is_empty() && !who.contains(' ')).then_some(inner.len() + 3)
}

/// The word that follows this key; an error if the key is there twice.
fn word<'a>(line: &'a str, key: &str) -> Result<Option<&'a str>, String> {
    Ok(only(line, key)?.and_then(|rest| rest.split(' ').next()))
}

/// `ip-10-0-0-1` of `ip-10-0-0-1.us-west-2.compute.internal`.
pub(crate) fn first_label(host: &str) -> Arc<str> {
    host.split('.').next().unwrap_or(host).into()
}

/// Features (`a,b`), and of GRES (`gpu:a100:8(S:0-1),nvme:2`) kinds and types.
pub fn offers(features: &str, gres: &str) -> BTreeSet<Arc<str>> {
    let listed = |text: &str| text != "(null)" && !text.is_empty();
    let features = features.split(',').filter(|text| listed(text)).map(Arc::from);
    let gres = gres.split(',').filter(|text| listed(text)).flat_map(|gres| {
        // Cores and indexes stand in brackets and may hold colons.
        let gres = gres.split('(').next().unwrap_or(gres);
        let mut parts = gres.split(':');
        let kind = parts.next().unwrap_or(gres);
        let is_type = |part: &&str| !part.starts_with(|c: char| c.is_ascii_digit());
        let typed = parts.next().filter(is_type).map(|of| format!("gres/{kind}:{of}"));
        std::iter::once(format!("gres/{kind}")).chain(typed)
    });
    features.chain(gres.map(Arc::from)).collect()
}

/// What follows this key, up to the line's end; an error if it is there twice.
fn only<'a>(line: &'a str, key: &str) -> Result<Option<&'a str>, String> {
    let mut found = line.match_indices(key);
    let first = found.next();
    if found.next().is_some() {
        return Err(odd(line, &format!("{} twice", key.trim())));
    }
    Ok(first.map(|(at, _)| &line[at + key.len()..]))
}

fn odd(line: &str, what: &str) -> String {
    let start: String = line.chars().filter(|c| !c.is_control()).take(60).collect();
    format!("a node with {what}: `{start}…`")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line as Slurm 22.05.8 writes it.
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
            ("slurm_load_node error", "a node with no NodeName=: `slurm_load_node error…`"),
            ("NodeName=a CPUAlloc=0", "a node with no State=: `NodeName=a CPUAlloc=0…`"),
            ("NodeName=a State=IDLE", "a node with no CPUAlloc=: `NodeName=a State=IDLE…`"),
            ("NodeName=a b/c", "a node with no State=: `NodeName=a b/c…`"),
            (
                "NodeName=a/b State=IDLE",
                "`a/b` is not a node name (letters, digits, `.`, `_`, `-`)",
            ),
        ] {
            assert_eq!(parse(&format!("{text}\n")).expect_err(text), said);
        }
        assert_eq!(parse(""), Ok(vec![]), "no node at all, which the snapshot does not believe");
        assert!(parse("No nodes in the system\n").is_err());
        let cut_off = line("IDLE", 0, "").trim_end().to_owned();
        assert!(parse(&cut_off).expect_err("cut off").contains("in the middle of a line"));
        let texts = " Comment=x State=IDLE Reason=y CPUAlloc=0 Extra=State=IDLE";
        assert!(parse(&line("ALLOCATED", 8, texts)).expect("a node")[0].is_allocated);
        let forged = line("ALLOCATED", 8, "").replace("Gres=gpu:8", "Gres=gpu State=IDLE");
        assert!(parse(&forged).expect_err("two states").contains("State= twice"));
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
