//! The scheduler at work: jobs come, are placed, end, or die with their node.

use std::sync::Arc;

use trimtab_core::ids::{JobId, NodeName};
use trimtab_core::snapshot::Condition;
use trimtab_core::units::{MilliGpus, Span, Time};

use crate::fleet::{GroupNo, Phase, Serial};
use crate::log::WorldEvent;
use crate::rng::Stream;
use crate::scheduler::{
    BACKFILL_DEPTH, BusyRun, Drain, Footprint, JobNo, JobState, PartitionNo, SlotNo,
};
use crate::spec::Placement;
use crate::truth::{Restart, RestartCause};
use crate::world::{Happening, Inner};

/// HyperPod's recovery drains broken nodes with this reason.
const RECOVERY_REASON: &str = "Action:Replace";
/// How long metrics remember that a node was busy.
const BUSY_REMEMBERED: Span = Span::hours(6);

impl Inner {
    pub(crate) fn plan_first_job(&mut self) {
        if let Some(first) = self.scheduler.jobs.first() {
            let at = first.order.submit;
            self.plan(at, Happening::Submit(JobNo(0)));
        }
    }

    /// A job is handed in, and the next one is planned.
    pub(crate) fn submit(&mut self, job: JobNo) {
        self.enqueue(job);
        let next = JobNo(job.0 + 1);
        let planned = self.scheduler.planned_jobs;
        if next.0 < planned {
            let at = self.scheduler.job(next).order.submit;
            self.plan(at, Happening::Submit(next));
        }
    }
}
