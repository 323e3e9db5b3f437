//! Keeps the records that [`Truth`] is made of.

use std::collections::BTreeMap;

use trimtab_core::units::{NodeCount, Span, Time};

use crate::fleet::GroupNo;
use crate::spec::{GroupSpec, WorldSpec};
use crate::truth::{AskedNode, DeleteRequest, GroupTruth, Truth};
use crate::world::Inner;

/// Records so far.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) groups: Vec<GroupTruth>,
    pub(crate) asked: Vec<AskedNode>,
    pub(crate) requests: Vec<DeleteRequest>,
}

/// Returns a new account of a group with `live` nodes.
fn account(group: &GroupSpec, live: NodeCount, since: Time) -> GroupTruth {
    GroupTruth {
        price: group.price,
        live,
        live_min: live,
        live_series: vec![(since, live)],
        members: live,
        launched: 0,
        regrown: 0,
        deleted: 0,
        billed: Span::ZERO,
        busy: Span::ZERO,
        booting: Span::ZERO,
    }
}

impl Record {
    pub(crate) fn new(spec: &WorldSpec) -> Self {
        let group = |group: &GroupSpec| account(group, group.count, spec.start);
        Self { groups: spec.groups.iter().map(group).collect(), asked: vec![], requests: vec![] }
    }

    /// Adds the account of a group that was added after the start.
    pub(crate) fn add_group(&mut self, group: &GroupSpec, now: Time) {
        self.groups.push(account(group, NodeCount::ZERO, now));
    }

    /// Records a change of the number of live nodes.
    pub(crate) fn live(&mut self, group: GroupNo, at: Time, live: NodeCount) {
        let group = &mut self.groups[group.0];
        group.live = live;
        group.live_min = group.live_min.min(live);
        match group.live_series.last_mut() {
            Some(last) if last.0 == at => last.1 = live,
            Some(last) if last.1 == live => {}
            Some(_) | None => group.live_series.push((at, live)),
        }
    }
}

impl Inner {
    pub(crate) fn truth(&self) -> Truth {
        let mut groups = BTreeMap::new();
        for (number, named) in self.spec.groups.iter().enumerate() {
            let mut group = self.record.groups[number].clone();
            let (billed, booting) = self.open_accounts(GroupNo(number));
            group.billed += billed;
            group.booting += booting;
            group.busy += self.open_busy(GroupNo(number));
            group.members = NodeCount(self.fleet.groups[number].members);
            groups.insert(named.name.clone(), group);
        }
        Truth {
            at: self.now,
            since: self.spec.start,
            jobs: self.scheduler.records(self.now),
            groups,
            asked: self.record.asked.clone(),
            requests: self.record.requests.clone(),
            cordons: self.scheduler.cordons(),
        }
    }
}
