//! `squeue`: jobs that hold nodes, and jobs that wait for some.
//!
//! Fields are asked for one by one and separated by a character that no name
//! in Slurm can have; names that users give to jobs are not asked for at all. The
//! line of titles is asked for, too: without it an answer that never came would
//! read like "no jobs", and a node whose only job is suspended is idle by all else
//! that Slurm says of it.

use std::collections::BTreeSet;

use trimtab_core::ids::{JobId, NodeName, PartitionName};
use trimtab_core::snapshot::{Claim, Eligible, PendingJob};
use trimtab_core::units::{MilliGpus, NodeCount, Time};

use crate::{hostlist, time};

/// The unit separator of ASCII.
const SEPARATOR: char = '\u{1f}';

/// The arguments that ask for jobs that hold nodes. Without a filter squeue
/// shows jobs that are not over, whatever else they are.
pub const ACTIVE: [&str; 3] = ["-a", "-o", "%i\u{1f}%T\u{1f}%N"];

/// The arguments that ask for waiting jobs, arrays task by task. Only `-O` knows
/// what a job asks for in all and for each task; it pads each field to its width
/// and puts our character behind it.
pub const PENDING: [&str; 6] = [
    "-a",
    "-r",
    "-t",
    "PD",
    "-O",
    "JobArrayID:80\u{1f},Partition:1000\u{1f},NumNodes:20\u{1f},NumTasks:20\u{1f},\
     tres-per-job:200\u{1f},tres-per-node:200\u{1f},tres-per-task:200\u{1f},\
     Reason:100\u{1f},StartTime:30\u{1f},Reservation:100\u{1f}",
];

/// A job that holds nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActiveJob {
    /// What it claims its nodes for.
    pub claim: Claim,
    /// Its nodes.
    pub nodes: Vec<NodeName>,
}

/// Reads the jobs that hold nodes.
///
/// # Errors
/// At the first line that is not as it was asked for.
pub fn parse_active(text: &str) -> Result<Vec<ActiveJob>, String> {
    let mut jobs = vec![];
    for line in below_titles::<3>(text)? {
        let [id, state, nodes] = fields(line)?;
        let nodes = hostlist::expand(nodes).map_err(|why| odd(line, &why.to_string()))?;
        if nodes.is_empty() {
            continue;
        }
        let id: JobId = id.parse().map_err(|_| odd(line, "its id is none"))?;
        jobs.push(ActiveJob { claim: claim(state, id), nodes });
    }
    Ok(jobs)
}

/// What a job in this state claims its nodes for.
pub(crate) fn claim(state: &str, id: JobId) -> Claim {
    match state {
        "RUNNING" => Claim::Running(id),
        "COMPLETING" => Claim::Completing(id),
        "SUSPENDED" | "STOPPED" => Claim::Suspended(id),
        "CONFIGURING" => Claim::Configuring(id),
        other => Claim::Unrecognised(other.into()),
    }
}

/// Reads the jobs that wait.
///
/// # Errors
/// At the first line that is not as it was asked for.
pub fn parse_pending(text: &str) -> Result<Vec<PendingJob>, String> {
    // Each field ends in a separator, and nothing follows the last.
    below_titles::<11>(text)?.map(parse_pending_line).collect()
}

/// The lines below that of the titles, of which there are so many.
fn below_titles<const N: usize>(text: &str) -> Result<impl Iterator<Item = &str>, String> {
    if !text.ends_with('\n') {
        return Err("it ends in the middle of a line".to_owned());
    }
    let mut lines = text.lines().filter(|line| !line.trim().is_empty());
    let titles: [&str; N] = match lines.next() {
        Some(line) => fields(line)?,
        None => return Err("nothing was printed, not even the titles".to_owned()),
    };
    if titles[0] != "JOBID" {
        return Err(odd(titles[0], "the titles are others"));
    }
    Ok(lines)
}

fn parse_pending_line(line: &str) -> Result<PendingJob, String> {
    let wrong = |what: &str| odd(line, what);
    let body = line.trim_end().strip_suffix(SEPARATOR).ok_or_else(|| wrong("it is cut off"))?;
    let [id, partitions, nodes, tasks, per_job, per_node, per_task, reason, start, reservation] =
        fields(body)?;
    // A range of nodes is written `2-4`, a number that was rounded `1K`.
    let nodes = number(nodes.split('-').next().unwrap_or_default());
    let waiting = Waiting {
        id,
        partitions,
        nodes: nodes.ok_or_else(|| wrong("its nodes are no number"))?,
        tasks: number(tasks).unwrap_or(1),
        per_job,
        per_node,
        per_task,
        reason,
        start: time::parse(start).map_err(|why| wrong(&why))?,
        has_reservation: reservation != "(null)",
    };
    waiting.read().map_err(|why| wrong(&why))
}

/// A waiting job in Slurm's words, however it was asked for.
pub(crate) struct Waiting<'a> {
    pub(crate) id: &'a str,
    /// Its partitions, between commas.
    pub(crate) partitions: &'a str,
    /// Fewest nodes it asks for.
    pub(crate) nodes: u32,
    pub(crate) tasks: u32,
    /// What it asks for in all (`gres/gpu:12`), for each node, and for each task.
    pub(crate) per_job: &'a str,
    pub(crate) per_node: &'a str,
    pub(crate) per_task: &'a str,
    pub(crate) reason: &'a str,
    pub(crate) start: Option<Time>,
    pub(crate) has_reservation: bool,
}

impl Waiting<'_> {
    /// What that comes to.
    pub(crate) fn read(&self) -> Result<PendingJob, String> {
        let partitions = self.partitions.split(',').map(str::parse::<PartitionName>);
        let partitions = partitions.collect::<Result<_, _>>().map_err(|why| why.to_string())?;
        let (nodes, tasks) = (self.nodes.max(1), self.tasks.max(1));
        let gpus = gpus(self.per_job)
            .or_else(|| gpus(self.per_node).map(|gpus| gpus.saturating_mul(nodes)))
            .or_else(|| gpus(self.per_task).map(|gpus| gpus.saturating_mul(tasks)));
        let eligible = match waits_for(self.reason) {
            WaitsFor::Nodes if self.has_reservation => Eligible::Held,
            WaitsFor::Nodes => Eligible::Now,
            WaitsFor::Time => self.start.map_or(Eligible::Held, Eligible::At),
            WaitsFor::SomethingElse => Eligible::Held,
        };
        Ok(PendingJob {
            id: self.id.parse().map_err(|_| "its id is none".to_owned())?,
            partitions,
            nodes: NodeCount(nodes),
            gpus: MilliGpus::whole(gpus.unwrap_or(0)),
            eligible,
            requires: BTreeSet::new(),
            reason: self.reason.into(),
        })
    }
}

/// What a waiting job waits for.
enum WaitsFor {
    Nodes,
    Time,
    /// A person, another job, an account's limit: more nodes would not help.
    SomethingElse,
}

/// By the reason that Slurm shows. One that this build does not know counts as
/// waiting for nodes: that keeps nodes which might not be needed, and the other
/// way round would delete some that are. So do those that our own deletions can
/// bring about (PartitionNodeLimit, PartitionConfig, ReqNodeNotAvail).
fn waits_for(reason: &str) -> WaitsFor {
    const ELSE: [&str; 8] = [
        "JobHeld",
        "Dependency",
        "JobArrayTaskLimit",
        "BadConstraints",
        "InvalidAccount",
        "InvalidQOS",
        "Assoc",
        "QOS",
    ];
    if reason == "BeginTime" {
        WaitsFor::Time
    } else if ELSE.iter().any(|start| reason.starts_with(start)) {
        WaitsFor::SomethingElse
    } else {
        WaitsFor::Nodes
    }
}

/// The GPUs of `gres:gpu:2`, `gres/gpu:a100:2`, `gres:gpu` (one) or several with
/// commas; `None` where none are named.
fn gpus(tres: &str) -> Option<u32> {
    let of = |item: &str| {
        let rest = item.strip_prefix("gres:").or_else(|| item.strip_prefix("gres/"))?;
        let rest = rest.strip_prefix("gpu")?;
        match rest.rsplit_once([':', '=']) {
            None if rest.is_empty() => Some(1),
            None => None,
            Some((_, count)) => Some(count.parse().unwrap_or(1)),
        }
    };
    let counts: Vec<u32> = tres.split(',').filter_map(of).collect();
    (!counts.is_empty()).then(|| counts.iter().fold(0, |sum: u32, n| sum.saturating_add(*n)))
}

/// `12`, or `2K` and `1M` as Slurm shortens large numbers.
fn number(text: &str) -> Option<u32> {
    let (digits, times) = match text.strip_suffix(['K', 'k']) {
        Some(digits) => (digits, 1_024),
        None => text.strip_suffix(['M', 'm']).map_or((text, 1), |digits| (digits, 1_048_576)),
    };
    digits.parse::<u32>().ok()?.checked_mul(times)
}

fn fields<const N: usize>(line: &str) -> Result<[&str; N], String> {
    let mut fields = [""; N];
    let mut found = 0;
    for field in line.split(SEPARATOR) {
        if let Some(place) = fields.get_mut(found) {
            *place = field.trim();
        }
        found += 1;
    }
    if found == N { Ok(fields) } else { Err(odd(line, &format!("{found} fields instead of {N}"))) }
}

fn odd(line: &str, what: &str) -> String {
    let start: String = line.chars().filter(|c| !c.is_control()).take(60).collect();
    format!("a job of which {what}: `{start}…`")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As squeue prints it.
    fn titled(lines: &[String]) -> String {
        let all = [&[active("JOBID", "STATE", "NODELIST")], lines].concat();
        all.join("\n") + "\n"
    }

    fn active(id: &str, state: &str, nodes: &str) -> String {
        [id, state, nodes].join("\u{1f}")
    }

    #[test]
    fn whoever_holds_a_node_claims_it() {
        let text = [
            active("7", "RUNNING", "n[1-2]"),
            active("8_3", "COMPLETING", "n1"),
            active("9", "SUSPENDED", "n3"),
            active("10", "CONFIGURING", "n4"),
            active("11", "SIGNALING", "n5"),
            active("12", "PENDING", ""),
            active("13_[1-5%2]", "PENDING", ""),
            active("14+1", "RUNNING", "n6"),
        ];
        let jobs = parse_active(&titled(&text)).expect("jobs");
        let said: Vec<String> =
            jobs.iter().map(|job| format!("{} on {:?}", job.claim, job.nodes.len())).collect();
        assert_eq!(
            said,
            [
                "runs job 7 on 2",
                "job 8_3 is ending on it on 1",
                "job 9 is suspended on it on 1",
                "job 10 is starting on it on 1",
                "the scheduler calls it `SIGNALING` on 1",
                "runs job 14+1 on 1",
            ]
        );
        for wrong in ["7", &active("7", "RUNNING", "n[1"), &active("7 8", "RUNNING", "n1")] {
            assert!(parse_active(&titled(&[wrong.to_owned()])).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_answer_that_never_came_is_not_taken_for_no_jobs() {
        assert_eq!(parse_active(&titled(&[])), Ok(vec![]));
        assert_eq!(parse_pending(&waiting_titles()), Ok(vec![]));
        let all = titled(&[active("7", "SUSPENDED", "n3")]);
        for end in 0..all.len() {
            // Only whole lines can be missing without a trace.
            let is_whole = all[..end].ends_with('\n');
            assert_eq!(parse_active(&all[..end]).is_ok(), is_whole, "{:?}", &all[..end]);
        }
        for nothing in ["", "\n", "7\u{1f}RUNNING\u{1f}n1\n"] {
            assert!(parse_active(nothing).is_err(), "{nothing:?}");
            assert!(parse_pending(nothing).is_err(), "{nothing:?}");
        }
    }

    fn waiting_titles() -> String {
        waiting([
            "JOBID",
            "PARTITION",
            "NODES",
            "TASKS",
            "TRES_PER_JOB",
            "TRES_PER_NODE",
            "TRES_PER_TASK",
            "REASON",
            "START_TIME",
            "RESERVATION",
        ]) + "\n"
    }

    fn waiting(fields: [&str; 10]) -> String {
        fields.map(|field| format!("{field:12}\u{1f}")).concat()
    }

    fn pending(fields: [&str; 10]) -> PendingJob {
        parse_pending(&(waiting_titles() + &waiting(fields) + "\n")).expect("a job").remove(0)
    }

    #[test]
    fn a_waiting_job_asks_for_nodes_and_gpus_of_all_of_it() {
        let ask = |nodes, tasks, job, node, task| {
            let fields = ["1", "gpu", nodes, tasks, job, node, task, "Resources", "N/A", "(null)"];
            let job = pending(fields);
            (job.nodes.0, job.gpus.0 / 1000)
        };
        assert_eq!(ask("2", "2", "N/A", "gres:gpu:8", "N/A"), (2, 16));
        assert_eq!(ask("2", "2", "gres:gpu:12", "N/A", "N/A"), (2, 12));
        assert_eq!(ask("1", "4", "N/A", "N/A", "gres/gpu:a100:1"), (1, 4));
        assert_eq!(ask("2-4", "2", "N/A", "gres:gpu", "N/A"), (2, 2));
        assert_eq!(
            ask("1K", "1", "N/A", "gres:craynetwork:1,gres:gpu:v100:2", "N/A"),
            (1024, 2048)
        );
        assert_eq!(ask("3", "3", "N/A", "N/A", "N/A"), (3, 0));
    }

    #[test]
    fn who_waits_for_a_person_a_job_or_a_limit_holds_nothing() {
        let eligible = |reason, start, reservation| {
            let fields = ["4_3", "a,b", "1", "1", "N/A", "N/A", "N/A", reason, start, reservation];
            pending(fields).eligible
        };
        for reason in [
            "Resources",
            "Priority",
            "None",
            "PartitionNodeLimit",
            "PartitionConfig",
            "ReqNodeNotAvail, UnavailableNodes:n1",
            "SomethingNew",
        ] {
            assert_eq!(eligible(reason, "N/A", "(null)"), Eligible::Now, "{reason}");
        }
        for reason in [
            "JobHeldUser",
            "JobHeldAdmin",
            "Dependency",
            "DependencyNeverSatisfied",
            "JobArrayTaskLimit",
            "AssocGrpCpuLimit",
            "QOSMaxJobsPerUserLimit",
        ] {
            assert_eq!(eligible(reason, "N/A", "(null)"), Eligible::Held, "{reason}");
        }
        assert_eq!(
            eligible("BeginTime", "1970-01-01T01:00:00", "(null)"),
            Eligible::At(Time::from_secs(3600))
        );
        assert_eq!(eligible("Reservation", "N/A", "mine"), Eligible::Held);
    }

    #[test]
    fn a_line_that_was_not_asked_for_is_no_answer() {
        let good = waiting(["1", "p", "1", "1", "N/A", "N/A", "N/A", "None", "N/A", "(null)"]);
        for wrong in [
            &good[..good.len() - 1],
            &good.replacen('\u{1f}', "", 1),
            &good.replacen('p', "p/q", 1),
            &good.replacen("N/A         \u{1f}(null)", "soon        \u{1f}(null)", 1),
            "squeue: error: Invalid job format specification",
        ] {
            let all = format!("{}{wrong}\n", waiting_titles());
            assert!(parse_pending(&all).is_err(), "{wrong:?}");
        }
        let all = waiting_titles() + &good;
        assert!(parse_pending(&all).is_err(), "cut off");
        assert_eq!(parse_pending(&(all + "\n")).expect("one job").len(), 1);
    }
}
