//! Reads from `squeue` the jobs that hold nodes and the jobs that wait for nodes.
//!
//! trimtab requests each field by name, separated by a character that no name in Slurm can
//! contain, and does not request job names, which users choose. It also requests the line of
//! titles: without it, missing output would look like "no jobs", and a node whose only job is
//! suspended looks idle in everything else that Slurm reports.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use trimtab_core::ids::{JobId, NodeName, PartitionName};
use trimtab_core::reads::{Claim, Eligible, PendingJob};
use trimtab_core::text::start;
use trimtab_core::units::{MilliGpus, NodeCount, Time};

use crate::malformed::Malformed;
use crate::{hostlist, tasks, time};

/// The ASCII unit separator.
const SEPARATOR: char = '\u{1f}';

/// Arguments that list all jobs with their nodes. Without a filter, squeue shows all jobs that
/// have not ended.
pub const ACTIVE: [&str; 3] = ["-a", "-o", "%i\u{1f}%T\u{1f}%N"];

/// Arguments that list waiting jobs, one line for all waiting tasks of an array. Only `-O`
/// shows what a job requests in total and per task. It pads or cuts each field to its width and
/// appends the separator.
pub const PENDING: [&str; 5] = [
    "-a",
    "-t",
    "PD",
    "-O",
    "JobArrayID:160\u{1f},Partition:400\u{1f},NumNodes:20\u{1f},NumTasks:20\u{1f},\
     tres-per-job:80\u{1f},tres-per-node:80\u{1f},tres-per-task:80\u{1f},\
     Reason:50\u{1f},StartTime:20\u{1f},Reservation:60\u{1f},Feature:90\u{1f}",
];

/// Widths of these fields, in characters.
const WIDTHS: [usize; 11] = [160, 400, 20, 20, 80, 80, 80, 50, 20, 60, 90];

/// Tasks that an array is assumed to have when squeue cut off its list: the largest array that
/// Slurm allows by default (`MaxArraySize`).
const CUT_OFF_TASKS: usize = 1_001;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActiveJob {
    pub id: JobId,
    /// The claim that the job has on its nodes.
    pub claim: Claim,
    pub nodes: Vec<NodeName>,
}

/// Parses the jobs that hold nodes.
///
/// # Errors
/// At the first line that is not in the requested format.
pub fn parse_active(text: &str) -> Result<Vec<ActiveJob>, Malformed> {
    let mut jobs = vec![];
    for line in below_titles::<3>(text)? {
        let [id, state, nodes] = fields(line)?;
        let nodes = hostlist::expand(nodes).map_err(|why| odd(line, &why.to_string()))?;
        if nodes.is_empty() {
            continue;
        }
        let id: JobId = id.parse().map_err(|_| odd(line, "invalid job id"))?;
        jobs.push(ActiveJob { claim: claim(state, id.clone()), id, nodes });
    }
    Ok(jobs)
}

/// Returns the claim of a job in this state.
pub(crate) fn claim(state: &str, id: JobId) -> Claim {
    match state {
        "RUNNING" => Claim::Running(id),
        "COMPLETING" => Claim::Completing(id),
        "SUSPENDED" | "STOPPED" => Claim::Suspended(id),
        "CONFIGURING" => Claim::Configuring(id),
        other => Claim::Unrecognised(other.into()),
    }
}

/// Parses the waiting jobs. Of an array with a throttle, only as many tasks as may still start
/// are eligible: the throttle minus the tasks that hold nodes (`active`). The other tasks are
/// held.
///
/// # Errors
/// At the first line that is not in the requested format.
pub fn parse_pending(text: &str, active: &[ActiveJob]) -> Result<Vec<PendingJob>, Malformed> {
    let mut running: BTreeMap<&str, u32> = BTreeMap::new();
    for job in active {
        if let Some((array, _)) = job.id.as_str().split_once('_') {
            *running.entry(array).or_default() += 1;
        }
    }
    let mut jobs = vec![];
    // Each of the 11 fields ends in a separator, which makes an empty twelfth.
    for line in below_titles::<12>(text)? {
        parse_pending_line(line, &running, &mut jobs)?;
    }
    Ok(jobs)
}

/// The waiting tasks of one array: `12_[1-5%2]`.
struct Tasks<'a> {
    array: &'a str,
    /// Tasks in the printed list.
    told: Vec<u32>,
    /// The array's throttle: how many tasks may run at once.
    at_once: Option<u32>,
    /// Whether squeue cut off the list.
    is_cut: bool,
}

impl<'a> Tasks<'a> {
    /// Returns `None` if the id is not that of an array.
    fn read(id: &'a str) -> Result<Option<Self>, String> {
        let Some((array, list)) = id.split_once("_[") else { return Ok(None) };
        let Some(list) = list.strip_suffix(']') else {
            let whole = list.rsplit_once(',').map(|(whole, _)| whole);
            let told = whole.map_or(Ok(vec![]), tasks::expand)?;
            return Ok(Some(Self { array, told, at_once: None, is_cut: true }));
        };
        let (_, limit) = list.split_once('%').unwrap_or((list, ""));
        let at_once = limit.parse().ok();
        Ok(Some(Self { array, told: tasks::expand(list)?, at_once, is_cut: false }))
    }

    /// Adds one waiting job per task; `one` is the template.
    fn spread(self, one: &PendingJob, running: u32, jobs: &mut Vec<PendingJob>) -> Option<()> {
        let room = self.at_once.map_or(u32::MAX, |most| most.saturating_sub(running));
        for (count, task) in (0..).zip(&self.told) {
            let eligible = if count < room { one.eligible } else { Eligible::Held };
            let id = format!("{}_{task}", self.array).parse().ok()?;
            jobs.push(PendingJob { id, eligible, ..one.clone() });
        }
        if self.is_cut {
            jobs.extend(std::iter::repeat_n(one.clone(), CUT_OFF_TASKS));
        }
        Some(())
    }
}

/// Returns the lines below the titles, and checks that there are `N` titles.
fn below_titles<const N: usize>(text: &str) -> Result<impl Iterator<Item = &str>, String> {
    if !text.ends_with('\n') {
        return Err("the output ends in the middle of a line".to_owned());
    }
    let mut lines = text.lines().filter(|line| !line.trim().is_empty());
    let titles: [&str; N] = match lines.next() {
        Some(line) => fields(line)?,
        None => return Err("the output is empty, even the titles are missing".to_owned()),
    };
    if titles[0] != "JOBID" {
        return Err(odd(titles[0], "unexpected titles"));
    }
    Ok(lines)
}

fn parse_pending_line(
    line: &str,
    running: &BTreeMap<&str, u32>,
    jobs: &mut Vec<PendingJob>,
) -> Result<(), String> {
    let wrong = |what: &str| odd(line, what);
    let body = line.trim_end().strip_suffix(SEPARATOR).ok_or_else(|| wrong("cut off"))?;
    let [
        id,
        partitions,
        nodes,
        tasks,
        per_job,
        per_node,
        per_task,
        reason,
        start,
        reservation,
        features,
    ] = fields(body)?;
    let array = Tasks::read(id).map_err(|why| wrong(&why))?;
    // A value that fills its field may have been cut off, so what the job needs is not known.
    // The last partition may be incomplete and is dropped; GPUs and features then count as not
    // requested.
    let is_cut = |field: usize| {
        let raw = body.split(SEPARATOR).nth(field);
        raw.is_some_and(|raw| raw.len() >= WIDTHS[field] && !raw.ends_with(' '))
    };
    let whole = |field, text| if is_cut(field) { "" } else { text };
    let partitions = match partitions.rsplit_once(',') {
        Some((whole, _)) if is_cut(1) => whole,
        Some(_) | None => partitions,
    };
    let (per_job, per_node) = (whole(4, per_job), whole(5, per_node));
    let (per_task, features) = (whole(6, per_task), whole(10, features));
    // Slurm prints a range of nodes as `2-4` and a rounded number as `1K`.
    let nodes = number(nodes.split('-').next().unwrap_or_default());
    let waiting = Waiting {
        id: array.as_ref().map_or(id, |tasks| tasks.array),
        partitions,
        nodes: nodes.ok_or_else(|| wrong("the node count is not a number"))?,
        tasks: number(tasks).unwrap_or(1),
        per_job,
        per_node,
        per_task,
        reason,
        start: time::parse(start).map_err(|why| wrong(&why))?,
        has_reservation: reservation != "(null)",
        features,
    };
    let one = waiting.read().map_err(|why| wrong(&why))?;
    match array {
        None => jobs.push(one),
        Some(tasks) => {
            let running = running.get(tasks.array).copied().unwrap_or(0);
            tasks.spread(&one, running, jobs).ok_or_else(|| wrong("invalid job id"))?;
        }
    }
    Ok(())
}

/// A waiting job as Slurm describes it, from either backend.
pub(crate) struct Waiting<'a> {
    pub(crate) id: &'a str,
    /// Partitions, separated by commas.
    pub(crate) partitions: &'a str,
    /// Minimum number of nodes.
    pub(crate) nodes: u32,
    pub(crate) tasks: u32,
    /// Resources per job (`gres/gpu:12`), per node and per task.
    pub(crate) per_job: &'a str,
    pub(crate) per_node: &'a str,
    pub(crate) per_task: &'a str,
    pub(crate) reason: &'a str,
    pub(crate) start: Option<Time>,
    pub(crate) has_reservation: bool,
    /// Required features, in the syntax of `sbatch --constraint`.
    pub(crate) features: &'a str,
}

impl Waiting<'_> {
    /// Converts the job into the form that the planner uses.
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
            id: self.id.parse().map_err(|_| "invalid job id".to_owned())?,
            partitions,
            nodes: NodeCount(nodes),
            gpus: MilliGpus::whole(gpus.unwrap_or(0)),
            eligible,
            requires: self.requires(),
            reason: self.reason.into(),
        })
    }

    /// Returns what each node of the job must have: features that are all required (`a&b`), and
    /// GRES by kind and type. Other feature expressions (`a|b`, `[a*2&b]`) add no requirement.
    /// Such a job may then count as fitting a node that it does not fit, which keeps that node.
    fn requires(&self) -> BTreeSet<Arc<str>> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '=');
        let wanted = self.features.split(['&', ',']).map(str::trim);
        let is_none = matches!(self.features, "" | "(null)" | "N/A");
        let is_list = wanted.clone().all(|one| !one.is_empty() && one.chars().all(is_plain));
        let features = wanted.filter(|_| is_list && !is_none).map(Arc::from);
        let gres = [self.per_job, self.per_node, self.per_task].into_iter();
        let gres = gres.flat_map(|tres| tres.split(',')).flat_map(|item| {
            let rest = item.strip_prefix("gres:").or_else(|| item.strip_prefix("gres/"));
            let mut parts = rest.unwrap_or_default().split([':', '=']);
            let kind = parts.next().filter(|kind| !kind.is_empty());
            let is_type = |part: &&str| !part.starts_with(|c: char| c.is_ascii_digit());
            let of = parts.next().filter(is_type);
            let kind_name = kind.map(|kind| format!("gres/{kind}"));
            let typed = kind_name.as_ref().zip(of).map(|(kind, of)| format!("{kind}:{of}"));
            kind_name.into_iter().chain(typed)
        });
        features.chain(gres.map(Arc::from)).collect()
    }
}

enum WaitsFor {
    Nodes,
    Time,
    /// An operator, another job or an account limit: more nodes would not help.
    SomethingElse,
}

/// Classifies the reason that Slurm shows. An unknown reason counts as waiting for nodes: this
/// may keep nodes that are not needed, whereas the opposite could delete nodes that are. The
/// reasons PartitionNodeLimit, PartitionConfig and ReqNodeNotAvail also count as waiting for
/// nodes, because trimtab's own deletions can cause them.
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

/// Returns the GPUs of `gres:gpu:2`, `gres/gpu:a100:2`, `gres:gpu` (one), or a comma-separated
/// list of these; `None` if the text names no GPUs.
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

/// Parses `12`, or `2K` and `1M`, Slurm's notation for large numbers.
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
    let start = start(line, 60);
    format!("unexpected job line, {what}: `{start}…`")
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
                "unknown scheduler state `SIGNALING` on 1",
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
        assert_eq!(parse_pending(&waiting_titles(), &[]), Ok(vec![]));
        let all = titled(&[active("7", "SUSPENDED", "n3")]);
        for end in 0..all.len() {
            // Only whole lines can be missing without a trace.
            let is_whole = all[..end].ends_with('\n');
            assert_eq!(parse_active(&all[..end]).is_ok(), is_whole, "{:?}", &all[..end]);
        }
        for nothing in ["", "\n", "7\u{1f}RUNNING\u{1f}n1\n"] {
            assert!(parse_active(nothing).is_err(), "{nothing:?}");
            assert!(parse_pending(nothing, &[]).is_err(), "{nothing:?}");
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
            "FEATURES",
        ]) + "\n"
    }

    fn waiting(fields: [&str; 11]) -> String {
        fields.map(|field| format!("{field:12}\u{1f}")).concat()
    }

    fn pending(fields: [&str; 11]) -> PendingJob {
        parse_pending(&(waiting_titles() + &waiting(fields) + "\n"), &[]).expect("a job").remove(0)
    }

    #[test]
    fn a_waiting_job_asks_for_nodes_and_gpus_of_all_of_it() {
        let ask = |nodes, tasks, job, node, task| {
            let fields =
                ["1", "gpu", nodes, tasks, job, node, task, "Resources", "N/A", "(null)", "(null)"];
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
    fn of_an_array_no_more_waits_than_may_run_at_once() {
        let line = |id: &str| {
            let rest = ["gpu", "2", "2", "N/A", "gres:gpu:8", "N/A", "Resources", "N/A"];
            let fields = [&[id][..], &rest[..], &["(null)", "(null)"]].concat();
            waiting(fields.try_into().expect("11 fields")) + "\n"
        };
        let text = waiting_titles() + &line("6_[1-3,7%2]") + &line("9_[4-5]") + &line("11_4");
        let running = ActiveJob {
            id: "6_0".parse().expect("an id"),
            claim: Claim::Running("6_0".parse().expect("an id")),
            nodes: vec!["n1".parse().expect("a name")],
        };
        let jobs = parse_pending(&text, &[running]).expect("jobs");
        let told: Vec<(&str, bool)> =
            jobs.iter().map(|job| (job.id.as_str(), job.eligible == Eligible::Now)).collect();
        assert_eq!(
            told,
            [
                ("6_1", true),
                ("6_2", false),
                ("6_3", false),
                ("6_7", false),
                ("9_4", true),
                ("9_5", true),
                ("11_4", true),
            ]
        );
        // A list that was cut off counts as the largest possible array.
        let cut = parse_pending(&(waiting_titles() + &line("6_[1-3,7,11")), &[]).expect("jobs");
        assert_eq!(cut.len(), 4 + CUT_OFF_TASKS);
        for wrong in ["6_[]", "6_[3-1]", "_[1-2]", "6_[a,", "6_[1-2%2"] {
            let read = parse_pending(&(waiting_titles() + &line(wrong)), &[]);
            assert_eq!(read.is_err(), wrong != "6_[1-2%2", "{wrong}: {read:?}");
        }
    }

    #[test]
    fn a_field_that_was_cut_off_asks_for_nothing_that_it_might_not_want() {
        let format = PENDING.last().expect("a format");
        let widths: Vec<String> = format
            .split(',')
            .map(|field| field.split_once(':').expect("a width").1.replace(SEPARATOR, ""))
            .collect();
        assert_eq!(widths, WIDTHS.map(|width| width.to_string()));
        let row = |texts: [&str; 11]| {
            let fields = texts.iter().zip(WIDTHS);
            let padded = fields.map(|(text, width)| format!("{text:<width$.width$}\u{1f}"));
            let text = waiting_titles() + &padded.collect::<String>() + "\n";
            parse_pending(&text, &[]).expect("a job").remove(0)
        };
        let long = |what: &str, count: usize| {
            (0..count).map(|n| format!("{what}{n:02}")).collect::<Vec<_>>().join("&")
        };
        let features = long("longfeature", 8);
        let tres = format!("gres:gpu:{}:8", "x".repeat(90));
        let partitions = long("partition", 50).replace('&', ",");
        let job = row([
            "1",
            &partitions,
            "2",
            "2",
            "N/A",
            &tres,
            "N/A",
            "Resources",
            "N/A",
            "(null)",
            &features,
        ]);
        assert_eq!((job.requires.len(), job.gpus.0, job.nodes.0), (0, 0, 2));
        assert!(job.partitions.len() > 30 && job.partitions.iter().all(|p| p.as_str().len() == 11));
        let plain = row([
            "1",
            "gpu",
            "2",
            "2",
            "N/A",
            "gres:gpu:8",
            "N/A",
            "Resources",
            "N/A",
            "(null)",
            "efa",
        ]);
        assert_eq!((plain.requires.len(), plain.gpus.0), (2, 16_000));
    }

    #[test]
    fn a_job_requires_what_each_of_its_nodes_must_have_for_sure() {
        let requires = |tres: &str, features: &str| {
            let job = ["1", "gpu", "1", "1", "N/A", tres, "N/A", "Resources", "N/A", "(null)"];
            let fields = [&job[..], &[features]].concat();
            let requires = pending(fields.try_into().expect("11 fields")).requires;
            requires.into_iter().map(|one| one.to_string()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(requires("N/A", "(null)"), "");
        assert_eq!(requires("gres:gpu:2", "(null)"), "gres/gpu");
        assert_eq!(
            requires("gres/gpu:a100:2,gres/nvme", "efa"),
            "efa gres/gpu gres/gpu:a100 gres/nvme"
        );
        assert_eq!(requires("N/A", "a&b,c"), "a b c");
        for unclear in ["a|b", "[a&b]", "a*2", "(a&b)|c", "!a"] {
            assert_eq!(requires("N/A", unclear), "", "{unclear}");
        }
    }

    #[test]
    fn who_waits_for_an_operator_a_job_or_a_limit_holds_nothing() {
        let eligible = |reason, start, reservation| {
            let fields =
                ["4_3", "a,b", "1", "1", "N/A", "N/A", "N/A", reason, start, reservation, "(null)"];
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
        let good =
            waiting(["1", "p", "1", "1", "N/A", "N/A", "N/A", "None", "N/A", "(null)", "(null)"]);
        for wrong in [
            &good[..good.len() - 1],
            &good.replacen('\u{1f}', "", 1),
            &good.replacen('p', "p/q", 1),
            &good.replacen("N/A         \u{1f}(null)", "soon        \u{1f}(null)", 1),
            "squeue: error: Invalid job format specification",
        ] {
            let all = format!("{}{wrong}\n", waiting_titles());
            assert!(parse_pending(&all, &[]).is_err(), "{wrong:?}");
        }
        let all = waiting_titles() + &good;
        assert!(parse_pending(&all, &[]).is_err(), "cut off");
        assert_eq!(parse_pending(&(all + "\n"), &[]).expect("one job").len(), 1);
    }
}
