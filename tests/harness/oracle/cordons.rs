//! Checks of the oracle when a cordon is set or removed. A trimtab cordon in its first tick is the
//! mark.

use trimtab_core::ids::{GroupName, InstanceId, NodeName};
use trimtab_core::units::{Span, Time};
use trimtab_simulator::log::Call;
use trimtab_simulator::truth::Caller;

use super::checks::idle_timer;
use super::model::{Node, Phase};
use super::{Cordoned, Oracle, Rule};

impl Oracle {
    fn is_daemon(&self, call: Call, at: Time) -> bool {
        self.acting == Some((call, at)) && self.fault_at != Some(at)
    }

    pub(super) fn drained(&mut self, name: &NodeName, reason: &str, at: Time) {
        let by_daemon = self.is_daemon(Call::Cordon, at);
        let Some(place) = self.model.places.get_mut(name) else { return };
        let before = place.drain.as_ref().map(|drain| drain.reason.clone());
        let holder = place.holder;
        if !by_daemon {
            place.cordon_lost = Some(at);
            return;
        }
        if let Some(before) = before {
            self.breach(Rule::S17, at, format!("{name} was drained as {before}"));
        }
        let Some(action) = self.ours(reason) else { return };
        self.cordoned.insert(action, Cordoned { node: Some(holder), at });
        self.store_sample();
        self.marked(name, holder, at);
    }

    /// Checks a mark: a trimtab cordon in the tick in which it was set.
    fn marked(&mut self, name: &NodeName, id: InstanceId, at: Time) {
        let Some(node) = self.model.nodes.get(&id) else { return };
        let group = node.group.clone();
        let Some(policy) = self.policy.groups.get(&group) else { return };
        let (grace, headroom) = (policy.post_job_grace, policy.min_idle_nodes.0);
        let tau = idle_timer(policy, self.policy.timing.tick);
        // A mark is not a breach because of data that a scheduler fault hides.
        let is_stale = self.reads.as_of != self.reads.begun && self.call_time == Span::ZERO;
        let busy = self.model.places.get(name).and_then(|place| place.seen_busy);
        if let Some(busy) = busy.filter(|_| !is_stale) {
            let for_how_long = at.since(busy);
            if for_how_long < grace || self.reads.begun.is_some_and(|begun| busy >= begun) {
                let what = format!("{id} is marked {for_how_long} after a job was seen on it");
                self.breach(Rule::S4, at, what);
            }
        }
        let marks = self.marks.entry(group.clone()).or_default();
        *marks += 1;
        let wanted = *marks + headroom;
        let read_at = self.reads.begun.unwrap_or(at);
        let since = read_at - tau;
        if self.last_bad_read.is_some_and(|bad| bad > since) {
            let what = format!("{id} is marked with a failed read within {tau}");
            self.breach(Rule::S3, at, what);
        }
        if self.void_before.is_some_and(|void| void > since) {
            let what = format!("{id} is marked within {tau} after the clocks had parted");
            self.breach(Rule::S20, at, what);
        }
        let counts = self.idle.get(&group).into_iter().flatten();
        let least = counts.filter(|(s, _)| *s > since).min_by_key(|(_, idle)| *idle).copied();
        if let Some((when, idle)) = least.filter(|(_, idle)| *idle < wanted) {
            let what = format!("{id} is marked, {wanted} were wanted, {idle} idle at {when}");
            self.breach(Rule::S3, at, what);
        }
        self.check_leaving(&group, at);
    }

    /// Checks the number of nodes that trimtab cordoned or that are leaving, including the node
    /// that is being cordoned now.
    fn check_leaving(&mut self, group: &GroupName, at: Time) {
        let Some(policy) = self.policy.groups.get(group) else { return };
        let limit = policy.budgets.leaving.of_rounded_down(policy.size).0.max(1);
        let going = |node: &Node| {
            let place = self.model.places.get(&node.name);
            let reason = place.and_then(|place| place.drain.as_ref()).map(|d| &d.reason);
            match node.phase {
                Phase::Leaving(Caller::Daemon, _) => true,
                Phase::Up => reason.is_some_and(|reason| self.ours(reason).is_some()),
                Phase::Leaving(..)
                | Phase::Grown
                | Phase::Replacing
                | Phase::Failed
                | Phase::Replaced
                | Phase::Gone => false,
            }
        };
        let nodes = self.model.nodes.values().filter(|node| node.group == *group);
        let going = nodes.filter(|node| going(node)).count() as u32 + 1;
        if going > limit {
            self.breach(Rule::S6, at, format!("{group}: {going} leaving, at most {limit}"));
        }
    }

    /// Checks that no deletion by count is open in the group. Until all chosen nodes are gone, only
    /// HyperPod knows which nodes it chose.
    fn check_call_is_over(&mut self, holder: InstanceId, at: Time) {
        let Some(node) = self.model.nodes.get(&holder) else { return };
        let group = node.group.clone();
        let Some(victims) = self.shrunk.get_mut(&group) else { return };
        let nodes = &self.model.nodes;
        victims.retain(|id| {
            nodes.get(id).is_some_and(|node| matches!(node.phase, Phase::Leaving(..)))
        });
        let (left, some) = (victims.len(), victims.first().copied());
        if let Some(some) = some {
            let what = format!("{holder} of {group} is resumed, {left} still go, such as {some}");
            self.breach(Rule::S8b, at, what);
        }
    }

    pub(super) fn released(&mut self, name: &NodeName, reason: &str, at: Time) {
        let by_daemon = self.is_daemon(Call::Release, at);
        let ours = self.ours(reason);
        let Some(place) = self.model.places.get_mut(name) else { return };
        let holder = place.holder;
        if ours.is_some() && !by_daemon {
            place.cordon_lost = Some(at);
        }
        if !by_daemon {
            return;
        }
        place.released = Some(at);
        self.resumed.push((at, holder));
        if ours.is_none() {
            self.breach(Rule::S17, at, format!("{name} is resumed, was drained as {reason}"));
        }
        let phase = self.model.nodes.get(&holder).map(|node| node.phase);
        self.check_call_is_over(holder, at);
        if let Some(Phase::Leaving(Caller::Daemon, since)) = phase {
            let what = format!("{name} is resumed, and {holder} is being deleted since {since}");
            self.breach(Rule::S17, at, what);
        }
    }
}
