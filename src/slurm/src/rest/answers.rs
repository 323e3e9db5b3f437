//! Parses the members of slurmrestd's v0.0.42 answers that trimtab needs.
//!
//! A missing member, or one of another type, is an error. State words have the same meaning as
//! in the text of the commands. A number that is unset or infinite counts as absent.

use std::collections::BTreeMap;

use serde::Deserialize;
use trimtab_core::ids::{JobId, NodeName};
use trimtab_core::reads::{Condition, ControllerHost, Eligible, PendingJob};
use trimtab_core::text::start;
use trimtab_core::units::Time;

use crate::backend::Jobs;
use crate::hostlist;
use crate::jobs::{self, ActiveJob, Waiting};
use crate::nodes::{Node, first_label, offers};
use crate::reservations::Reservation;

use crate::tasks;

/// Members of every answer.
#[derive(Debug, Deserialize)]
pub(super) struct Head {
    pub(super) meta: Meta,
    pub(super) errors: Vec<Trouble>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Meta {
    pub(super) plugin: Plugin,
}

#[derive(Debug, Deserialize)]
pub(super) struct Plugin {
    /// `data_parser/v0.0.42`.
    pub(super) data_parser: String,
}

/// An error that slurmrestd reports.
#[derive(Debug, Deserialize)]
pub(super) struct Trouble {
    #[serde(default)]
    pub(super) description: String,
    #[serde(default)]
    pub(super) error: String,
    #[serde(default)]
    pub(super) error_number: i64,
}

/// Adds the members of [`Trouble`], which every list of wanted members needs.
macro_rules! wanted {
    ($($name:literal),*) => { &["description", "error", "error_number" $(, $name)*] };
}

impl Head {
    pub(super) const WANTED: &[&str] = wanted!();
}

/// A number that may be unset or infinite.
#[derive(Debug, Clone, Copy, Deserialize)]
struct Number {
    set: bool,
    infinite: bool,
    number: u64,
}

impl Number {
    const fn value(self) -> Option<u64> {
        if self.set && !self.infinite { Some(self.number) } else { None }
    }

    fn small(self) -> Option<u32> {
        self.value().and_then(|number| u32::try_from(number).ok())
    }

    /// Returns the time, sent in seconds since 1970; 0 means no time.
    fn time(self) -> Option<Time> {
        let seconds = self.value().and_then(|number| i64::try_from(number).ok());
        // Later times cannot be valid.
        seconds.filter(|at| (1..1 << 40).contains(at)).map(Time::from_secs)
    }
}

/// `GET nodes`.
#[derive(Debug, Deserialize)]
pub(super) struct Nodes {
    nodes: Vec<NodeAnswer>,
}

#[derive(Debug, Deserialize)]
struct NodeAnswer {
    name: String,
    state: Vec<String>,
    alloc_cpus: u32,
    reason: String,
    hostname: String,
    address: String,
    /// Includes the features that the node could have after a reboot.
    #[serde(rename = "features")]
    available: Vec<String>,
    gres: String,
}

impl Nodes {
    pub(super) const WANTED: &[&str] =
        wanted!("name", "state", "alloc_cpus", "reason", "hostname", "address", "features", "gres");

    pub(super) fn read(self) -> Result<Vec<Node>, String> {
        self.nodes.into_iter().map(NodeAnswer::read).collect()
    }
}

impl NodeAnswer {
    fn read(self) -> Result<Node, String> {
        let Self { name, state, alloc_cpus, reason, hostname, address, available, gres } = self;
        let name: NodeName = name.parse().map_err(|why| format!("{why}"))?;
        if state.is_empty() {
            return Err(format!("node {name} has no state"));
        }
        let mut node = Node {
            name,
            condition: Condition::Up,
            claims: vec![],
            is_allocated: alloc_cpus > 0,
            drained: None,
            hostname: Some(first_label(&hostname)).filter(|host| !host.is_empty()),
            address: address.parse().ok(),
            offers: Some(offers(&available.join(","), &gres)),
        };
        node.read_state(state.iter().map(String::as_str), || reason.trim_end().into());
        Ok(node)
    }
}

/// `GET reservations`.
#[derive(Debug, Deserialize)]
pub(super) struct Reservations {
    reservations: Vec<ReservationAnswer>,
}

#[derive(Debug, Deserialize)]
struct ReservationAnswer {
    node_list: String,
    start_time: Number,
    end_time: Number,
}

impl Reservations {
    pub(super) const WANTED: &[&str] = wanted!("node_list", "start_time", "end_time");

    pub(super) fn read(self) -> Result<Vec<Reservation>, String> {
        let read = |one: ReservationAnswer| {
            let at = |time: Number| time.time().ok_or("a reservation has no start or end time");
            Ok(Reservation {
                from: at(one.start_time)?,
                to: at(one.end_time)?,
                nodes: hostlist::expand(&one.node_list)
                    .map_err(|why| format!("a reservation has an invalid node_list: {why}"))?,
            })
        };
        self.reservations.into_iter().map(read).collect()
    }
}

/// `GET ping`.
#[derive(Debug, Deserialize)]
pub(super) struct Ping {
    pings: Vec<Controller>,
}

#[derive(Debug, Deserialize)]
struct Controller {
    hostname: String,
}

impl Ping {
    pub(super) const WANTED: &[&str] = wanted!("hostname");

    /// Returns every host of `SlurmctldHost`.
    pub(super) fn read(self) -> Result<Vec<ControllerHost>, String> {
        let hosts = self.pings.into_iter().map(|one| ControllerHost {
            address: one.hostname.parse().ok(),
            hostname: match one.hostname.parse::<std::net::IpAddr>() {
                Ok(_) => one.hostname.as_str().into(),
                Err(_) => first_label(&one.hostname),
            },
        });
        let hosts: Vec<ControllerHost> = hosts.collect();
        if hosts.is_empty() || hosts.iter().any(|host| host.hostname.is_empty()) {
            return Err("no controller, or one without a host name".to_owned());
        }
        Ok(hosts)
    }
}

/// `GET jobs`: includes jobs that ended recently.
#[derive(Debug, Deserialize)]
pub(super) struct JobsAnswer {
    jobs: Vec<JobAnswer>,
}

#[derive(Debug, Deserialize)]
struct JobAnswer {
    job_id: u32,
    job_state: Vec<String>,
    array_job_id: Number,
    array_task_id: Number,
    array_task_string: String,
    array_max_tasks: Number,
    het_job_id: Number,
    het_job_offset: Number,
    nodes: String,
    node_count: Number,
    tasks: Number,
    partition: String,
    state_reason: String,
    start_time: Number,
    resv_name: String,
    tres_per_job: String,
    features: String,
    tres_per_node: String,
    tres_per_task: String,
}

/// States of a job that has ended. A job with any other state word in addition is still ending.
const OVER: [&str; 12] = [
    "COMPLETED",
    "CANCELLED",
    "FAILED",
    "TIMEOUT",
    "NODE_FAIL",
    "PREEMPTED",
    "BOOT_FAIL",
    "DEADLINE",
    "OUT_OF_MEMORY",
    // Additional words; they hold no node.
    "LAUNCH_FAILED",
    "RECONFIG_FAIL",
    "REVOKED",
];

impl JobsAnswer {
    pub(super) const WANTED: &[&str] = wanted!(
        "job_id",
        "job_state",
        "array_job_id",
        "array_task_id",
        "array_task_string",
        "array_max_tasks",
        "het_job_id",
        "het_job_offset",
        "nodes",
        "node_count",
        "tasks",
        "partition",
        "state_reason",
        "start_time",
        "resv_name",
        "tres_per_job",
        "features",
        "tres_per_node",
        "tres_per_task"
    );

    /// Returns the arrays whose list of waiting tasks is cut off.
    pub(super) fn cut_arrays(&self) -> Vec<String> {
        let cut = self.jobs.iter().filter(|job| tasks::is_cut(&job.array_task_string));
        let arrays = cut.filter(|job| !job.is_over()).filter_map(JobAnswer::array);
        arrays.map(|array| array.to_string()).collect()
    }

    /// Returns every job that has not ended. `tasks` holds the waiting tasks of the arrays
    /// whose lists were cut off.
    pub(super) fn read(self, tasks: &BTreeMap<u64, Vec<u32>>) -> Result<Jobs, String> {
        let mut found = Jobs::default();
        let on: Vec<&JobAnswer> = self.jobs.iter().filter(|job| !job.is_over()).collect();
        // Tasks that hold nodes count towards the throttle of their array.
        let mut running: BTreeMap<u64, u32> = BTreeMap::new();
        for job in &on {
            let wrong = |why: &dyn std::fmt::Display| format!("job {}: {why}", job.job_id);
            let nodes = hostlist::expand(&job.nodes).map_err(|why| wrong(&why))?;
            if nodes.is_empty() {
                continue;
            }
            if let Some(array) = job.array() {
                *running.entry(array).or_default() += 1;
            }
            let id = job.id().map_err(|why| wrong(&why))?;
            let claim = jobs::claim(job.word(), id.clone());
            found.active.push(ActiveJob { id, claim, nodes });
        }
        for job in on.iter().filter(|job| job.is_waiting()) {
            let taken = job.array().and_then(|array| running.get(&array)).copied();
            let read = job.waiting(taken.unwrap_or(0), tasks);
            found.pending.extend(read.map_err(|why| format!("job {}: {why}", job.job_id))?);
        }
        Ok(found)
    }
}

impl JobAnswer {
    fn is_over(&self) -> bool {
        !self.job_state.is_empty()
            && self.job_state.iter().all(|word| OVER.contains(&word.as_str()))
    }

    fn is_waiting(&self) -> bool {
        self.job_state.first().is_some_and(|word| word == "PENDING")
    }

    /// Returns the state that squeue would show: a transition takes precedence over the base
    /// state.
    fn word(&self) -> &str {
        let has = |word: &&str| self.job_state.iter().any(|state| state == word);
        let last = self.job_state.last().map_or("", String::as_str);
        ["COMPLETING", "CONFIGURING", "STOPPED"].into_iter().find(has).unwrap_or(last)
    }

    /// Returns the number of the array that the job belongs to.
    fn array(&self) -> Option<u64> {
        self.array_job_id.value().filter(|id| *id > 0)
    }

    /// Returns the job's id in squeue's format.
    fn id(&self) -> Result<JobId, String> {
        let id = match (self.array(), self.array_task_id.value()) {
            (Some(array), Some(task)) => format!("{array}_{task}"),
            _ => self.own_id(),
        };
        id.parse().map_err(|why| format!("{why}"))
    }

    fn own_id(&self) -> String {
        let part = (self.het_job_id.value(), self.het_job_offset.value());
        match part {
            (Some(whole), Some(part)) if whole > 0 => format!("{whole}+{part}"),
            _ => self.job_id.to_string(),
        }
    }

    /// Returns the waiting jobs of this entry. One entry represents all waiting tasks of an
    /// array; of these, only as many as the throttle still allows are eligible.
    fn waiting(
        &self,
        running: u32,
        tasks: &BTreeMap<u64, Vec<u32>>,
    ) -> Result<Vec<PendingJob>, String> {
        let id = self.id()?;
        let waiting = Waiting {
            id: id.as_str(),
            partitions: &self.partition,
            nodes: self.node_count.small().ok_or("node_count is not a number")?,
            tasks: self.tasks.small().unwrap_or(1),
            per_job: &self.tres_per_job,
            per_node: &self.tres_per_node,
            per_task: &self.tres_per_task,
            reason: &self.state_reason,
            start: self.start_time.time(),
            has_reservation: !self.resv_name.is_empty(),
            features: &self.features,
        };
        let one = waiting.read()?;
        let Some(array) = self.array().filter(|_| !self.array_task_string.is_empty()) else {
            return Ok(vec![one]);
        };
        let at_once = match self.array_max_tasks.small() {
            Some(0) => u32::MAX,
            Some(most) => most.saturating_sub(running),
            None => return Err("array_max_tasks is not a number".to_owned()),
        };
        let task = |(count, task): (u32, u32)| {
            let id = format!("{array}_{task}").parse().map_err(|why| format!("{why}"))?;
            let eligible = if count < at_once { one.eligible } else { Eligible::Held };
            Ok(PendingJob { id, eligible, ..one.clone() })
        };
        let waiting = match tasks.get(&array) {
            Some(tasks) => tasks.clone(),
            // All waiting tasks have started or disappeared since the first request.
            None if tasks::is_cut(&self.array_task_string) => vec![],
            None => tasks::expand(&self.array_task_string)?,
        };
        (0..).zip(waiting).map(task).collect()
    }
}

/// `GET jobs/state`: one entry per task.
#[derive(Debug, Deserialize)]
pub(super) struct JobStates {
    jobs: Vec<JobState>,
}

#[derive(Debug, Deserialize)]
struct JobState {
    /// `12_3`.
    job_id: String,
    state: Vec<String>,
}

impl JobStates {
    pub(super) const WANTED: &[&str] = wanted!("job_id", "state");

    /// Returns the waiting tasks of each array.
    pub(super) fn read(self) -> Result<BTreeMap<u64, Vec<u32>>, String> {
        let mut tasks: BTreeMap<u64, Vec<u32>> = BTreeMap::new();
        for JobState { job_id, state } in self.jobs {
            let split = job_id.split_once('_');
            let id = split.and_then(|(array, task)| {
                Some((array.parse::<u64>().ok()?, task.parse::<u32>().ok()?))
            });
            let (array, task) = id.ok_or_else(|| {
                let start = start(&job_id, 60);
                format!("`{start}` is not an array task")
            })?;
            if state.first().is_some_and(|word| word == "PENDING") {
                tasks.entry(array).or_default().push(task);
            }
        }
        Ok(tasks)
    }
}
