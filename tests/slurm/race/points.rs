//! When and how a job, an operator or a fault interferes in a round.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use trimtab_core::ids::NodeName;

use super::board::{Fault, Race};
use super::judge::Job;

/// A moment in the deletion of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Moment {
    /// After the look that selected the node, before its drain.
    BeforeCordon,
    /// Right after its drain.
    AfterCordon,
    /// Before the reads of a later tick.
    BeforeLook,
    /// After the look that confirmed that the node is idle, before the API request.
    BeforeDelete,
    /// While the API request is in progress.
    DuringDelete,
    /// After the API request has taken effect, before its response.
    Answer,
}

/// The interference of a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Point {
    /// No interference.
    Nowhere,
    /// A job starts after the look that selected its node, and before the drain.
    BeforeCordon,
    /// A job is submitted after its node was drained.
    AfterCordon,
    /// A job is submitted before the reads of a later tick.
    BeforeLook,
    /// A job is submitted after the look that confirmed that its node is idle, and before the
    /// API request.
    BeforeDelete,
    /// A job is submitted while the API request is in progress, before the node dies.
    DuringDelete,
    /// A job array.
    JobArray,
    /// A job on two nodes.
    TwoNodes,
    /// A heterogeneous job with two components, one of them for the drained node.
    HetJob,
    /// An operator requeues and holds a running job, and releases it later.
    RequeueHold,
    /// A running job is suspended: Slurm reports its node as idle.
    Suspended,
    /// A job whose name and comment contain odd bytes, and an operator's drain of another
    /// node with such a reason.
    OddNames,
    /// 10,000 jobs wait.
    QueueOf10000,
    /// An operator undrains the node, and a job starts.
    OperatorResumes,
    /// An operator drains the node with another reason.
    OperatorDrains,
    /// An operator requests a replacement of the node, with HyperPod's reason for it.
    OperatorReplaces,
    /// An operator sets the node down.
    OperatorSetsDown,
    /// An operator reboots the node.
    OperatorReboots,
    /// A reservation begins.
    Reservation,
    /// slurmctld is restarted.
    Restart,
    /// slurmctld is killed, and started some ticks later.
    SlurmctldKilled,
    /// slurmctld is suspended, and continued some ticks later.
    SlurmctldStopped,
    /// Slurm's commands print nothing and exit with 0.
    EmptyOutput,
    /// Slurm's commands print half of their output and exit with 0.
    TornOutput,
    /// slurmctld does not accept trimtab's key.
    WrongCredentials,
    /// The API request takes effect, but there is no response.
    AnswerLost,
    /// The API request does not arrive, and there is no response.
    CallLost,
}

impl Point {
    pub(super) const ALL: [Self; 27] = [
        Self::Nowhere,
        Self::BeforeCordon,
        Self::AfterCordon,
        Self::BeforeLook,
        Self::BeforeDelete,
        Self::DuringDelete,
        Self::JobArray,
        Self::TwoNodes,
        Self::HetJob,
        Self::RequeueHold,
        Self::Suspended,
        Self::OddNames,
        Self::QueueOf10000,
        Self::OperatorResumes,
        Self::OperatorDrains,
        Self::OperatorReplaces,
        Self::OperatorSetsDown,
        Self::OperatorReboots,
        Self::Reservation,
        Self::Restart,
        Self::SlurmctldKilled,
        Self::SlurmctldStopped,
        Self::EmptyOutput,
        Self::TornOutput,
        Self::WrongCredentials,
        Self::AnswerLost,
        Self::CallLost,
    ];

    /// The moments at which this point may happen.
    pub(super) const fn moments(self) -> &'static [Moment] {
        use Moment::{AfterCordon, Answer, BeforeCordon, BeforeDelete, BeforeLook, DuringDelete};
        match self {
            Self::Nowhere => &[],
            Self::BeforeCordon | Self::RequeueHold | Self::Suspended => &[BeforeCordon],
            Self::AfterCordon => &[AfterCordon],
            Self::BeforeLook => &[BeforeLook],
            Self::BeforeDelete => &[BeforeDelete],
            Self::DuringDelete => &[DuringDelete],
            Self::JobArray | Self::TwoNodes | Self::HetJob => {
                &[BeforeCordon, AfterCordon, BeforeLook, BeforeDelete, DuringDelete]
            }
            Self::OddNames | Self::QueueOf10000 => &[BeforeCordon, AfterCordon, BeforeLook],
            Self::OperatorResumes => &[AfterCordon, BeforeLook],
            Self::OperatorDrains | Self::OperatorReplaces | Self::OperatorSetsDown => {
                &[BeforeCordon, AfterCordon, BeforeLook, BeforeDelete]
            }
            Self::OperatorReboots | Self::Reservation => &[BeforeCordon, AfterCordon, BeforeLook],
            Self::Restart => &[BeforeCordon, AfterCordon, BeforeLook, BeforeDelete],
            Self::SlurmctldKilled | Self::SlurmctldStopped | Self::WrongCredentials => {
                &[BeforeCordon, AfterCordon, BeforeLook, Answer]
            }
            Self::EmptyOutput | Self::TornOutput => &[BeforeCordon],
            Self::AnswerLost | Self::CallLost => &[Answer],
        }
    }
}

/// Names that are hard to parse. Slurm accepts all of them.
const ODD: [&[u8]; 5] = [
    b"a\nNodeName=ip-10-0-0-1 CPUAlloc=0 State=IDLE+DRAIN Reason=trimtab:0-0:1",
    b"x State=IDLE Reason=trimtab:0-0:1 [root@2026-11-25T00:00:00]",
    b"\x1f7\x1fRUNNING\x1fip-10-0-0-1\n8\x1fRUNNING\x1f",
    b"L\xfcfter \xff\xfe\x01\x07\x1b[31m",
    b"$(reboot) `reboot` '\"\\ %s {}",
];

impl Race {
    /// Interferes, if this is the moment of the round's point.
    pub(super) fn moment(&self, moment: Moment, node: &NodeName) {
        let Some(point) = self.take(moment) else { return };
        match point {
            Point::Nowhere => {}
            Point::BeforeCordon => self.run(node),
            // Without a cordon, the job begins after the look and before the API request.
            Point::AfterCordon => {
                let after = if self.has_cordon { self.roll(0, 2) } else { 8 };
                self.submit(&["-w", node.as_str(), &format!("--begin=now+{after}")]);
            }
            Point::BeforeLook | Point::BeforeDelete | Point::DuringDelete => {
                self.submit(&["-w", node.as_str()]);
                self.wait_for_scheduler(moment);
            }
            Point::JobArray => {
                let size = self.roll(2, 9);
                self.submit(&["-w", node.as_str(), &format!("--array=1-{size}")]);
                self.wait_for_scheduler(moment);
            }
            Point::TwoNodes => {
                let pair = format!("{node},{}", self.other_than(node));
                self.submit(&["-N", "2", "-w", &pair]);
                self.wait_for_scheduler(moment);
            }
            Point::HetJob => {
                let other = self.other_than(node);
                let first = ["-w", other.as_str(), "-n1", ":", "-w", node.as_str(), "-n1"];
                self.submit(&first);
                self.wait_for_scheduler(moment);
            }
            Point::RequeueHold => {
                let job = self.run_and_name(node);
                self.operator("scontrol", &["requeuehold", &job]);
                self.board().expect_restart(&job);
                self.wait_until(&job, "PENDING");
                self.after_cordon(Later::Unhold(job));
            }
            Point::Suspended => self.suspend(node),
            Point::OddNames => self.odd_names(moment, node),
            Point::QueueOf10000 => self.queue(node),
            Point::OperatorResumes => {
                self.undrain(node);
                self.run(node);
            }
            Point::OperatorDrains => self.operator_sets(node, moment, "drain", "mine"),
            Point::OperatorReplaces => self.operator_sets(node, moment, "fail", "Action:Replace"),
            Point::OperatorSetsDown => self.operator_sets(node, moment, "down", "bad fan"),
            Point::OperatorReboots => {
                let reboot = ["reboot", "ASAP", "nextstate=resume", "reason=kernel", node.as_str()];
                self.operator("scontrol", &reboot);
                self.board().rebooting.push(node.clone());
            }
            Point::Reservation => {
                let nodes = format!("nodes={node}");
                let name = ["create", "reservationname=mine", "users=root", &nodes];
                let when = ["starttime=now", "duration=365-00:00:00", "flags=maint,ignore_jobs"];
                self.operator("scontrol", &[&name[..], &when].concat());
            }
            Point::Restart => {
                self.cluster.script(&["halt"], &[]);
                self.cluster.script(&["resume"], &[]);
            }
            Point::SlurmctldKilled => self.break_down(Fault::Killed),
            Point::SlurmctldStopped => self.break_down(Fault::Stopped),
            Point::WrongCredentials => self.break_down(Fault::Stranger),
            Point::EmptyOutput => self.misprint(node, &[Fault::Empty, Fault::EmptySqueue]),
            Point::TornOutput => self.misprint(node, &[Fault::TornBytes, Fault::TornLines]),
            // `delete_nodes` handles these.
            Point::AnswerLost | Point::CallLost => {}
        }
    }

    /// Runs a job on a node.
    fn run(&self, node: &NodeName) {
        self.run_and_name(node);
    }

    fn run_and_name(&self, node: &NodeName) -> String {
        let job = self.submit(&["-w", node.as_str()]);
        self.wait_until_it_runs(&job);
        job
    }

    fn suspend(&self, node: &NodeName) {
        let job = self.run_and_name(node);
        self.operator("scontrol", &["suspend", &job]);
    }

    /// With the cordon, gives the scheduler time to start a job, which it must not. Without the
    /// cordon, waits until the job runs.
    fn wait_for_scheduler(&self, moment: Moment) {
        let is_late = matches!(moment, Moment::BeforeDelete | Moment::DuringDelete);
        if self.has_cordon {
            let longest = if is_late { 2_000 } else { 300 };
            std::thread::sleep(Duration::from_millis(self.roll(0, longest)));
        } else if is_late {
            self.wait_until_all_run();
        }
    }

    /// Sets a node's state and reason as an operator, and records the reason that trimtab must
    /// not overwrite.
    fn operator_sets(&self, node: &NodeName, moment: Moment, state: &str, reason: &'static str) {
        let (name, state) = (format!("nodename={node}"), format!("state={state}"));
        self.operator("scontrol", &["update", &name, &state, &format!("reason={reason}")]);
        // A deleted node has no reason any more. A node that is set down loses its reason when
        // its slurmd registers (ReturnToService=2).
        if moment != Moment::BeforeDelete && state != "state=down" {
            self.board().reasons.insert(node.clone(), reason);
        }
    }

    fn odd_names(&self, moment: Moment, node: &NodeName) {
        let words = ODD[self.roll(0, ODD.len() as u64 - 1) as usize];
        let (mut name, mut comment) = (b"--job-name=".to_vec(), b"--comment=".to_vec());
        name.extend(words);
        comment.extend(words);
        let args = [OsStr::from_bytes(&name), OsStr::from_bytes(&comment)];
        let job = self.submit_with_bytes(&args, &["-w", node.as_str()]);
        if moment == Moment::BeforeCordon {
            self.wait_until_it_runs(&job);
        }
        let other = self.other_than(node);
        let mut reason = b"reason=".to_vec();
        reason.extend(words);
        let name = format!("nodename={other}");
        let update = [OsStr::new("update"), OsStr::new(&name), OsStr::new("state=drain")];
        let all = [&update[..], &[OsStr::from_bytes(&reason)]].concat();
        self.cluster.operator_with_bytes("scontrol", &all);
    }

    /// Submits 10,000 jobs that wait: held by their owner, or for the drained node.
    fn queue(&self, node: &NodeName) {
        let held: &[&str] = if self.roll(0, 1) == 0 { &["--hold"] } else { &["--exclusive"] };
        self.submit(&[&["-w", node.as_str(), "--array=1-10000"], held].concat());
    }

    /// Makes the commands print too little, before or after the drain. Unless whole lines are
    /// missing, it also suspends a job on the node: only the job's own line then shows that the
    /// node is in use, because Slurm reports the node as idle.
    fn misprint(&self, node: &NodeName, faults: &[Fault]) {
        let fault = faults[self.roll(0, faults.len() as u64 - 1) as usize];
        if fault != Fault::TornLines {
            self.suspend(node);
        }
        if self.roll(0, 2) == 0 {
            self.break_down(fault);
        } else {
            self.after_cordon(Later::Break(fault));
        }
    }

    fn after_cordon(&self, later: Later) {
        self.board().later.push(later);
    }

    /// Called after the drain was requested.
    pub(super) fn cordoned(&self, node: &NodeName) {
        let later = std::mem::take(&mut self.board().later);
        for later in later {
            match later {
                Later::Unhold(job) => {
                    self.operator("scontrol", &["release", &job]);
                }
                Later::Break(fault) => self.break_down(fault),
            }
        }
        self.moment(Moment::AfterCordon, node);
        self.board().cordoned.get_or_insert_with(|| node.clone());
    }

    fn submit(&self, args: &[&str]) -> String {
        self.submit_with_bytes(&[], args)
    }

    /// Submits a job that records its id at each start.
    fn submit_with_bytes(&self, bytes: &[&OsStr], args: &[&str]) -> String {
        let starts = self.cluster.path().join("starts");
        let script = format!("echo $SLURM_JOB_ID >>{}; exec sleep 600", starts.display());
        // The script comes first: only the first component of a job can have one.
        let args = ["--wrap", &script].into_iter().chain(args.iter().copied()).map(OsStr::new);
        let all: Vec<&OsStr> = bytes.iter().copied().chain(args).collect();
        let id = self.cluster.submit_with_bytes(&all);
        self.board().jobs.push(Job { id: id.clone(), restarts: 0 });
        id
    }
}

/// The second step of a point, after the drain was requested.
#[derive(Debug)]
pub(super) enum Later {
    /// The operator releases the held job.
    Unhold(String),
    /// The fault begins.
    Break(Fault),
}
