//! Where a round's job, operator or fault comes in, and what it does there.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use trimtab_core::ids::NodeName;

use super::board::{Fault, Race};
use super::judge::Job;

/// A point of a node's way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Moment {
    /// After the look that marked it, before its drain.
    BeforeCordon,
    /// Right after its drain.
    AfterCordon,
    /// Before the reads of a later tick.
    BeforeLook,
    /// After the look that cleared it, before the call.
    BeforeDelete,
    /// The call is under way.
    DuringDelete,
    /// The call has acted, its answer has not come.
    Answer,
}

/// What comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Point {
    /// Nobody comes.
    Nowhere,
    /// A job starts after the look that marked its node, and before the drain.
    BeforeCordon,
    /// A job is handed in once its node is drained.
    AfterCordon,
    /// A job is handed in before a later tick reads.
    BeforeLook,
    /// A job is handed in after the look that clears its node, and before the call.
    BeforeDelete,
    /// A job is handed in while the call is under way, before the node dies.
    DuringDelete,
    /// An array of jobs.
    JobArray,
    /// A job that takes two nodes.
    TwoNodes,
    /// A job of two components, one of them for the drained node.
    HetJob,
    /// A job that runs is requeued and held by an operator, who lets it go later.
    RequeueHold,
    /// A job that runs is suspended: Slurm calls its node idle.
    Suspended,
    /// Jobs whose names and comments are any bytes, and an operator's drain of another
    /// node with a reason of that kind.
    OddNames,
    /// 10,000 jobs wait.
    QueueOf10000,
    /// An operator takes the drain off, and a job starts.
    OperatorResumes,
    /// An operator drains the node with a reason of their own.
    OperatorDrains,
    /// HyperPod's own words for a node that it shall replace.
    OperatorReplaces,
    /// An operator sets the node down.
    OperatorSetsDown,
    /// An operator has the node reboot, and it comes back.
    OperatorReboots,
    /// A reservation begins.
    Reservation,
    /// slurmctld is ended and started anew.
    Restart,
    /// slurmctld is killed, and started some ticks later.
    SlurmctldKilled,
    /// slurmctld is stopped, and goes on some ticks later.
    SlurmctldStopped,
    /// Slurm's commands print nothing and exit with 0.
    EmptyOutput,
    /// Slurm's commands print half of what they should and exit with 0.
    TornOutput,
    /// slurmctld does not know our key.
    WrongCredentials,
    /// The call acts, but no answer comes.
    AnswerLost,
    /// The call never arrives, and no answer comes.
    CallLost,
}

impl Point {
    /// All of them.
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

    /// The moments that it may come at.
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

/// Words that are everything a name should not be. Slurm takes them all.
const ODD: [&[u8]; 5] = [
    b"a\nNodeName=ip-10-0-0-1 CPUAlloc=0 State=IDLE+DRAIN Reason=trimtab:0-0:1",
    b"x State=IDLE Reason=trimtab:0-0:1 [root@2026-11-25T00:00:00]",
    b"\x1f7\x1fRUNNING\x1fip-10-0-0-1\n8\x1fRUNNING\x1f",
    b"L\xfcfter \xff\xfe\x01\x07\x1b[31m",
    b"$(reboot) `reboot` '\"\\ %s {}",
];

impl Race {
    /// What this round brings, if its moment is now.
    pub(super) fn moment(&self, moment: Moment, node: &NodeName) {
        let Some(point) = self.take(moment) else { return };
        match point {
            Point::Nowhere => {}
            Point::BeforeCordon => self.run(node),
            // Where there is no cordon, it begins after the look and before the call.
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
            // The call's own doing.
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

    /// Where there is a cordon, a job must not start: the scheduler has its time to.
    /// Where there is none, it does.
    fn wait_for_scheduler(&self, moment: Moment) {
        let is_late = matches!(moment, Moment::BeforeDelete | Moment::DuringDelete);
        if self.has_cordon {
            let longest = if is_late { 2_000 } else { 300 };
            std::thread::sleep(Duration::from_millis(self.roll(0, longest)));
        } else if is_late {
            self.wait_until_all_run();
        }
    }

    /// What has no cordon cannot be drained by us, and an operator's drain of it is
    /// seen at once.
    fn operator_sets(&self, node: &NodeName, moment: Moment, state: &str, reason: &'static str) {
        let (name, state) = (format!("nodename={node}"), format!("state={state}"));
        self.operator("scontrol", &["update", &name, &state, &format!("reason={reason}")]);
        // What the call has taken no longer bears anything; and whom an operator set down,
        // Slurm releases without a reason once its slurmd answers (ReturnToService=2).
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

    /// Held by their owner, or waiting for a node that is cordoned.
    fn queue(&self, node: &NodeName) {
        let held: &[&str] = if self.roll(0, 1) == 0 { &["--hold"] } else { &["--exclusive"] };
        self.submit(&[&["-w", node.as_str(), "--array=1-10000"], held].concat());
    }

    /// The commands begin to misprint, before the drain or after it. Where that
    /// cannot leave whole lines out, there is a job that no other line tells of:
    /// of a node whose job is suspended, Slurm says that it is idle.
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

    /// The drain was asked for.
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

    /// Hands a job in that says which node it started on, and when.
    fn submit_with_bytes(&self, bytes: &[&OsStr], args: &[&str]) -> String {
        let starts = self.cluster.path().join("starts");
        let script = format!("echo $SLURM_JOB_ID >>{}; exec sleep 600", starts.display());
        // First: of a job of several components only the first can have a script.
        let args = ["--wrap", &script].into_iter().chain(args.iter().copied()).map(OsStr::new);
        let all: Vec<&OsStr> = bytes.iter().copied().chain(args).collect();
        let id = self.cluster.submit_with_bytes(&all);
        self.board().jobs.push(Job { id: id.clone(), restarts: 0 });
        id
    }
}

/// What a point has begun and goes on with once the drain was asked for.
#[derive(Debug)]
pub(super) enum Later {
    /// The operator lets the job go.
    Unhold(String),
    /// The fault begins.
    Break(Fault),
}
