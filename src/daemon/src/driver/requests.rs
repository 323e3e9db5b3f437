//! The driver's last step: requests. What has settled, has passed whoever is asked
//! outside and was looked at clean after that is cleared by the audit, the switches
//! are read, the request is committed with its charges, sent once, and its answer
//! is committed.

use std::sync::Arc;

use trimtab_core::action::ActionState;
use trimtab_core::audit::{self, Cleared, Offer, Recount};
use trimtab_core::history::OpenAction;
use trimtab_core::ids::GroupName;
use trimtab_core::policy::GroupCalls;
use trimtab_core::snapshot::Snapshot;
use trimtab_core::units::Time;

use super::Driver;
use crate::executor::{self, Sent};
use crate::ports::{DeleteOutcome, LedgerError, Notification, Refusal};

/// Clusters created before 2024-06-20T00:00Z delete nodes by id only once their
/// software was updated (BatchDeleteClusterNodes' documentation and its release
/// note).
const DELETES_BY_ID_SINCE: Time = Time::from_secs(1_718_841_600);

impl Driver {
    /// Deletes what has settled and was looked at clean: asks outside, clears, reads
    /// the switches, commits the request with its charges, sends it once, and
    /// commits the answer.
    pub(super) async fn finish(&mut self, snapshot: &Snapshot) -> Result<Vec<Sent>, LedgerError> {
        let mut sent = vec![];
        let groups: Vec<GroupName> = self.policy.groups.keys().cloned().collect();
        for group in groups {
            let settled = self.history.actions.values().any(|action| {
                action.group == group && matches!(action.state, ActionState::Settling { .. })
            });
            if !settled {
                continue;
            }
            if let Some(one) = self.finish_group(&group, snapshot).await? {
                sent.push(one);
            }
        }
        Ok(sent)
    }

    async fn finish_group(
        &mut self,
        group: &GroupName,
        snapshot: &Snapshot,
    ) -> Result<Option<Sent>, LedgerError> {
        self.inquire(group, snapshot);
        let recount = self.recount(group, snapshot).await;
        // The last look at the switches: nothing but the commit lies between
        // it and the call. What was settled is released at the next tick.
        self.history.stop = self.stop().or(self.history.stop.take());
        let now = self.ports.clock.now();
        // The trial in `recount` does not clear anything: the switch, the clock and the
        // counts were read after it, and each of them can forbid the request.
        let Some(cleared) = self.clear(group, snapshot, recount.as_ref(), now) else {
            return Ok(None);
        };
        let Some(writers) = &self.ports.writers else { return Ok(None) };
        let writer = Arc::clone(&writers.cluster);
        let Some(committed) = executor::commit(&*self.ledger, &mut self.history, cleared, now)?
        else {
            return Ok(None);
        };
        let sent = executor::send(&*writer, &*self.ports.clock, committed).await;
        let now = self.ports.clock.now();
        let had_accepted = self.history.has_accepted;
        executor::record(&*self.ledger, &mut self.history, &sent, now)?;
        self.report_refusal(&sent, snapshot, had_accepted, now);
        if let (DeleteOutcome::Refused { cause: Refusal::Unknown, .. }, Cleared::Group(_)) =
            (&sent.outcome, sent.request.cleared())
        {
            // What cannot be sent back, or is refused as it is, will be so the next time: by
            // ids the group can still go. An operator was told; a new start tries again.
            self.history.group_calls_refused.insert(group.clone());
        }
        Ok(Some(sent))
    }

    /// DescribeCluster once more, if the group could go by one call as a whole:
    /// the looks are over, and what the counts say now holds for the call (S8b).
    async fn recount(&self, group: &GroupName, snapshot: &Snapshot) -> Option<Recount> {
        let policy = self.policy.groups.get(group)?;
        match self.history.group_calls(group, policy) {
            GroupCalls::Never => return None,
            GroupCalls::ToZero | GroupCalls::WholeGroup => {}
        }
        let begun_at = self.ports.clock.now();
        let gated = |action: &OpenAction| self.has_passed(action, snapshot);
        let (policy, history, now) = (&self.policy, &self.history, begun_at);
        let trial = Offer { group, gated: &gated, snapshot, policy, history, now };
        audit::group_trial(&trial).ok()?;
        match self.ports.cluster.recount(&self.policy.cluster).await {
            Ok(description) => Some(Recount { begun_at, description }),
            Err(why) => {
                tracing::warn!(%group, %why, "recount failed; trying a request by node ids");
                None
            }
        }
    }

    /// A call for the whole group if that is wanted and clear, else one by ids.
    fn clear(
        &self,
        group: &GroupName,
        snapshot: &Snapshot,
        recount: Option<&Recount>,
        now: Time,
    ) -> Option<Cleared> {
        let gated = |action: &OpenAction| self.has_passed(action, snapshot);
        let (policy, history) = (&self.policy, &self.history);
        let offer = Offer { group, gated: &gated, snapshot, policy, history, now };
        let whole = recount.and_then(|recount| audit::clear_group(offer, recount).ok());
        match whole {
            Some(group) => Some(group.into()),
            None => audit::clear(offer).request.map(Cleared::from),
        }
    }

    /// Tells an operator of a refusal that only an operator can do something about,
    /// and of a cluster that was probably never patched.
    fn report_refusal(&self, sent: &Sent, snapshot: &Snapshot, had_accepted: bool, now: Time) {
        let request = sent.request.id();
        let refuses_every_id = match (&sent.outcome, sent.request.cleared()) {
            (DeleteOutcome::Refused { cause, .. }, of) => {
                if let Some(backoff) = self.history.backoff.clone()
                    && cause.wants_an_operator()
                {
                    self.notify(now, &Notification::Refused { request, backoff });
                }
                // A count names no id, and other causes have nothing to do with them.
                *cause == Refusal::Unknown && matches!(of, Cleared::Batch(_))
            }
            (DeleteOutcome::Answered { accepted, failed }, Cleared::Batch(_)) => {
                accepted.is_empty() && !failed.is_empty()
            }
            (DeleteOutcome::Answered { .. }, Cleared::Group(_))
            | (DeleteOutcome::NoAnswer { .. }, _) => false,
        };
        let created = snapshot.state.as_ref().and_then(|state| state.created);
        if refuses_every_id
            && !had_accepted
            && let Some(created) = created.filter(|created| *created < DELETES_BY_ID_SINCE)
        {
            self.notify(now, &Notification::ProbablyNeverPatched { request, created });
        }
    }
}
