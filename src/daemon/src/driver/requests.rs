//! The last step of a tick: delete requests.
//!
//! A node can be deleted when it has settled, has passed the inquiries, and a later
//! look found no objection. trimtab then reads the switches, the audit clears the
//! request, trimtab commits the request with its charges, sends it once, and commits
//! the answer.

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

/// A cluster created before 2024-06-20T00:00Z deletes nodes by id only after a
/// software update (documentation and release note of BatchDeleteClusterNodes).
const DELETES_BY_ID_SINCE: Time = Time::from_secs(1_718_841_600);

impl Driver {
    /// Deletes the nodes that can be deleted, with at most one request per group.
    /// Returns the requests that were sent.
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
        // The last read of the switches: only the commit comes between it and the
        // request. After a stop, the next tick releases the settled nodes.
        self.history.stop = self.stop().or(self.history.stop.take());
        let now = self.ports.clock.now();
        // The trial in `recount` clears nothing: the switch, the clock and the counts were
        // read after it, and each of them can forbid the request.
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
            // The API would refuse the same request again, but requests by node ids may
            // work. An operator was notified, and a restart tries again.
            self.history.group_calls_refused.insert(group.clone());
        }
        Ok(Some(sent))
    }

    /// Reads DescribeCluster again if one request could delete the whole group, so that
    /// the request uses counts from after the looks (S8b). Returns `None` if it could not,
    /// or if the read failed.
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

    /// Clears a whole-group request if the recount allows it, else a request by node ids.
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

    /// Notifies operators of a refusal that only an operator can resolve, and of a cluster
    /// that was probably never patched.
    fn report_refusal(&self, sent: &Sent, snapshot: &Snapshot, had_accepted: bool, now: Time) {
        let request = sent.request.id();
        let refuses_every_id = match (&sent.outcome, sent.request.cleared()) {
            (DeleteOutcome::Refused { cause, .. }, of) => {
                if let Some(backoff) = self.history.backoff.clone()
                    && cause.wants_an_operator()
                {
                    self.notify(now, &Notification::Refused { request, backoff });
                }
                // A whole-group request names no ids, and other causes do not concern ids.
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
