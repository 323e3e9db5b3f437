//! Models the operator, or the pipeline, that grows a group when jobs wait for nodes.

use std::collections::BTreeMap;

use trimtab_core::packing::{Need, nodes_for};
use trimtab_core::units::{MilliGpus, Time};

use crate::fleet::GroupNo;
use crate::scheduler::Footprint;
use crate::world::{Inner, Scheduled};

/// State of the regrow actor.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shortages {
    /// Time since which each group has been short of nodes.
    since: BTreeMap<GroupNo, Time>,
}

impl Inner {
    /// Checks the queue, and grows each group that has been short of nodes for `regrow.delay`.
    pub(crate) fn look_for_shortage(&mut self) {
        let Some(regrow) = self.spec.regrow.clone() else { return };
        self.plan(self.now + regrow.every, Scheduled::Regrow);
        for number in 0..self.scheduler.partitions.len() {
            if self.scheduler.partitions[number].waiting.is_empty() {
                for group in &self.scheduler.partitions[number].groups {
                    self.shortages.since.remove(group);
                }
                continue;
            }
            for group in self.scheduler.partitions[number].groups.clone() {
                let short = self.shortage(number, group);
                if short == 0 {
                    self.shortages.since.remove(&group);
                    continue;
                }
                let since = *self.shortages.since.entry(group).or_insert(self.now);
                let is_due = self.now.since(since) >= regrow.delay;
                let is_blocked =
                    self.is_updated() || (self.is_classic() && self.fleet.is_operating());
                if is_due && !is_blocked {
                    self.shortages.since.remove(&group);
                    self.record.groups[group.0].regrown += u64::from(short);
                    self.grow(group, short, regrow.boot);
                }
            }
        }
    }

    /// Returns how many nodes this partition's waiting jobs need in this group, limited by the
    /// group's size. Jobs that fit in an earlier group of the partition do not count here.
    fn shortage(&self, partition: usize, group: GroupNo) -> u32 {
        let partition = &self.scheduler.partitions[partition];
        let room_of = |group: GroupNo| {
            let size = self.spec.groups[group.0].size().0;
            (size, size.saturating_sub(self.fleet.groups[group.0].members))
        };
        let (_, room) = room_of(group);
        if room == 0 || self.fleet.groups[group.0].deleting {
            return 0;
        }
        let fits = |job: &crate::demand::Order, group: GroupNo| {
            let per_node = self.scheduler.gpus[group.0];
            let has_gpus = job.gpus == MilliGpus(0) || per_node > MilliGpus(0);
            let nodes = match Footprint::of(job.nodes, job.gpus, per_node) {
                Footprint::Part(_) => 1,
                Footprint::Whole(nodes) => nodes,
            };
            has_gpus && nodes <= room_of(group).0
        };
        let orders = partition.waiting.iter().map(|(_, job)| self.scheduler.job(*job));
        let needs = orders
            .filter(|job| job.waits_since <= self.now)
            .map(|job| &job.order)
            .filter(|order| partition.groups.iter().find(|g| fits(order, **g)) == Some(&group))
            .map(|order| Need { nodes: order.nodes, gpus: order.gpus });
        let wanted = nodes_for(needs, self.scheduler.gpus[group.0]).0;
        let coming = self.fleet.groups[group.0].arriving + self.scheduler.idle(group).0;
        wanted.saturating_sub(coming).min(room)
    }
}
