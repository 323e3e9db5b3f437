//! Best-fit packing: how many equal nodes a set of jobs takes.
//!
//! [`Packer`] replays the jobs of a trace and counts the nodes that they kept busy. [`nodes_for`]
//! returns how many empty nodes a queue of waiting jobs takes.
//!
//! Limits: only GPUs are packed. Memory, CPUs and topology are ignored, so a real scheduler may
//! need more nodes. A job that does not name a part of one node (no GPUs, or several nodes) takes
//! whole nodes. Too high a count keeps a node too long; too low a count would delete a node that a
//! job needs.

use std::collections::{BTreeMap, BTreeSet};

use crate::units::{MilliGpus, NodeCount};

/// Most nodes that one job counts for: as many as a large cluster has. The limit protects the
/// memory from a job that asks for billions of nodes by mistake.
pub const JOB_NODES_MAX: NodeCount = NodeCount(100_000);

/// Nodes and GPUs that one job asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Need {
    /// Nodes of the job; 0 is read as 1.
    pub nodes: NodeCount,
    /// GPUs of the whole job, over all its nodes. A fraction of one GPU is allowed.
    pub gpus: MilliGpus,
}

/// What one job takes on nodes of one size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Footprint {
    /// More than 0 and fewer than all GPUs of one node.
    Part(MilliGpus),
    /// Nodes that are not shared with another job; 1 to [`JOB_NODES_MAX`].
    Whole(NodeCount),
}

impl Need {
    fn on(self, gpus_per_node: MilliGpus) -> Footprint {
        let by_gpus = match gpus_per_node {
            MilliGpus(0) => 0,
            MilliGpus(per_node) => self.gpus.0.div_ceil(per_node),
        };
        let names_a_part = self.gpus > MilliGpus(0) && self.gpus < gpus_per_node;
        if self.nodes <= NodeCount(1) && names_a_part {
            return Footprint::Part(self.gpus);
        }
        // A job of 2 nodes and 32 GPUs does not fit on 2 nodes of 8 GPUs: it takes 4.
        Footprint::Whole(self.nodes.max(NodeCount(by_gpus)).clamp(NodeCount(1), JOB_NODES_MAX))
    }
}

/// Nodes that one placed job takes.
#[derive(Debug, Clone)]
enum JobPlacement {
    Part { node: u32, gpus: MilliGpus },
    Whole(Vec<u32>),
}

/// Jobs on equal nodes. There are as many nodes as the jobs need.
///
/// A part goes to the fullest node that fits it; of equal nodes, to the lowest number. An empty
/// node is taken last, lowest number first. So the same jobs in the same order always get the same
/// nodes. A call costs O(log n) for each node it touches, where n is the number of jobs and used
/// nodes.
#[derive(Debug, Clone)]
pub struct Packer {
    gpus_per_node: MilliGpus,
    /// Shared nodes by (free GPUs, number): the first that fits is the best.
    by_free: BTreeSet<(MilliGpus, u32)>,
    /// Free GPUs of the same nodes, by number.
    free_of: BTreeMap<u32, MilliGpus>,
    /// Nodes below `first_unused` that are empty again.
    emptied: BTreeSet<u32>,
    /// Nodes from this number up never had a job.
    first_unused: u32,
    jobs: BTreeMap<u64, JobPlacement>,
}

impl Packer {
    /// Creates a packer without jobs. With 0 GPUs per node (CPU nodes), every job takes whole
    /// nodes.
    pub fn new(gpus_per_node: MilliGpus) -> Self {
        Self {
            gpus_per_node,
            by_free: BTreeSet::new(),
            free_of: BTreeMap::new(),
            emptied: BTreeSet::new(),
            first_unused: 0,
            jobs: BTreeMap::new(),
        }
    }

    /// Places a job and returns the numbers of its nodes, lowest first. A job that is placed
    /// already is freed first and then placed again.
    pub fn place(&mut self, job: u64, need: Need) -> Vec<u32> {
        self.free(job);
        let (placement, nodes) = match need.on(self.gpus_per_node) {
            Footprint::Part(gpus) => {
                let Some(node) = self.node_for_part(gpus) else {
                    return Vec::new();
                };
                (JobPlacement::Part { node, gpus }, vec![node])
            }
            Footprint::Whole(count) => {
                let nodes: Vec<u32> = (0..count.0).map_while(|_| self.take_empty()).collect();
                (JobPlacement::Whole(nodes.clone()), nodes)
            }
        };
        self.jobs.insert(job, placement);
        nodes
    }

    /// Removes a job from its nodes. Does nothing if the job is not placed.
    pub fn free(&mut self, job: u64) {
        match self.jobs.remove(&job) {
            None => {}
            Some(JobPlacement::Whole(nodes)) => self.emptied.extend(nodes),
            Some(JobPlacement::Part { node, gpus }) => {
                let Some(free) = self.free_of.remove(&node) else {
                    return;
                };
                self.by_free.remove(&(free, node));
                self.share(node, MilliGpus(free.0.saturating_add(gpus.0)));
            }
        }
    }

    /// Returns the number of nodes with a job.
    pub fn busy(&self) -> NodeCount {
        NodeCount(self.first_unused).saturating_sub(NodeCount::of(self.emptied.len()))
    }

    /// Takes GPUs from the best node. Returns `None` only if there are no more node numbers.
    fn node_for_part(&mut self, gpus: MilliGpus) -> Option<u32> {
        let best = self.by_free.range((gpus, 0)..).next().copied();
        let (free, node) = match best {
            Some(found) => {
                self.by_free.remove(&found);
                found
            }
            None => (self.gpus_per_node, self.take_empty()?),
        };
        self.share(node, MilliGpus(free.0.saturating_sub(gpus.0)));
        Some(node)
    }

    /// Records the free GPUs of a shared node. A node with all GPUs free is empty.
    fn share(&mut self, node: u32, free: MilliGpus) {
        if free >= self.gpus_per_node {
            self.free_of.remove(&node);
            self.emptied.insert(node);
        } else {
            self.free_of.insert(node, free);
            self.by_free.insert((free, node));
        }
    }

    fn take_empty(&mut self) -> Option<u32> {
        if let Some(node) = self.emptied.pop_first() {
            return Some(node);
        }
        let node = self.first_unused;
        self.first_unused = node.checked_add(1)?;
        Some(node)
    }
}

/// Returns the number of empty nodes that these jobs take together, packed by best fit decreasing
/// (largest part first). The result is at most 11/9 of the optimum plus 4 (Johnson and others,
/// SIAM J. Comput. 3, 1974). It does not depend on the order of the jobs and is at most
/// [`NodeCount::UNBOUNDED`].
pub fn nodes_for(jobs: impl IntoIterator<Item = Need>, gpus_per_node: MilliGpus) -> NodeCount {
    let mut nodes = NodeCount::ZERO;
    let mut parts = Vec::new();
    for need in jobs {
        match need.on(gpus_per_node) {
            Footprint::Part(gpus) => parts.push(gpus),
            Footprint::Whole(count) => nodes += count,
        }
    }
    parts.sort_unstable_by(|a, b| b.cmp(a));
    // Number of shared nodes by free GPUs. Node numbers are not needed here.
    let mut shared: BTreeMap<MilliGpus, u32> = BTreeMap::new();
    for gpus in parts {
        let best = shared.range(gpus..).next().map(|(free, count)| (*free, *count));
        let free = match best {
            Some((free, 1)) => {
                shared.remove(&free);
                free
            }
            Some((free, count)) => {
                shared.insert(free, count - 1);
                free
            }
            None => {
                nodes += NodeCount(1);
                gpus_per_node
            }
        };
        *shared.entry(MilliGpus(free.0.saturating_sub(gpus.0))).or_default() += 1;
    }
    nodes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const EIGHT: MilliGpus = MilliGpus::whole(8);

    fn gpus(milli: u32) -> Need {
        Need { nodes: NodeCount(1), gpus: MilliGpus(milli) }
    }

    fn nodes(count: u32) -> Need {
        Need { nodes: NodeCount(count), gpus: MilliGpus::whole(count.saturating_mul(8)) }
    }

    #[test]
    fn a_part_goes_to_the_fullest_node_that_fits() {
        let mut packer = Packer::new(EIGHT);
        assert_eq!(packer.place(1, gpus(5_000)), [0]);
        assert_eq!(packer.place(2, gpus(6_000)), [1]);
        assert_eq!(packer.place(3, gpus(2_000)), [1], "fuller than node 0");
        assert_eq!(packer.place(4, gpus(500)), [0], "node 1 is full");
        assert_eq!(packer.place(5, gpus(2_501)), [2]);
        assert_eq!(packer.busy(), NodeCount(3));
    }

    #[test]
    fn ties_and_empty_nodes_go_by_the_lowest_number() {
        let mut packer = Packer::new(EIGHT);
        for job in 0..3 {
            packer.place(job, gpus(7_000));
        }
        packer.free(0);
        packer.free(1);
        assert_eq!(packer.place(3, gpus(8_000)), [0]);
        assert_eq!(packer.place(4, nodes(2)), [1, 3], "freed nodes before new ones");
        packer.free(3);
        packer.place(5, gpus(7_000));
        assert_eq!(packer.place(6, gpus(1_000)), [0], "nodes 0 and 2 are as full");
    }

    #[test]
    fn jobs_that_name_no_part_take_whole_nodes() {
        for (need, per_node, want) in [
            (gpus(9_000), EIGHT, 2),
            (gpus(8_000), EIGHT, 1),
            (nodes(3), EIGHT, 3),
            (Need { nodes: NodeCount(2), gpus: MilliGpus(100) }, EIGHT, 2),
            (Need { nodes: NodeCount(2), gpus: MilliGpus::whole(32) }, EIGHT, 4),
            (gpus(0), EIGHT, 1),
            (Need { nodes: NodeCount(0), gpus: MilliGpus(0) }, EIGHT, 1),
            (gpus(4_000), MilliGpus(0), 1),
            (nodes(5), MilliGpus(0), 5),
            (nodes(u32::MAX), EIGHT, JOB_NODES_MAX.0),
        ] {
            let mut packer = Packer::new(per_node);
            assert_eq!(packer.place(1, need).len(), NodeCount(want).get(), "{need:?}");
            assert_eq!(packer.busy(), NodeCount(want), "{need:?}");
            assert_eq!(nodes_for([need], per_node), NodeCount(want), "{need:?}");
        }
        let mut packer = Packer::new(EIGHT);
        packer.place(1, nodes(2));
        assert_eq!(packer.place(2, gpus(1)), [2], "whole nodes are not shared");
    }

    #[test]
    fn a_job_placed_again_moves_and_an_unknown_job_frees_nothing() {
        let mut packer = Packer::new(EIGHT);
        packer.place(1, nodes(3));
        assert_eq!(packer.place(1, gpus(100)), [0]);
        packer.free(2);
        assert_eq!(packer.busy(), NodeCount(1));
    }

    #[test]
    fn a_queue_is_packed_largest_first() {
        let queue = [2_000, 6_000, 2_000, 6_000, 460, 460].map(gpus);
        assert_eq!(nodes_for(queue, EIGHT), NodeCount(3));
        assert_eq!(nodes_for(queue.into_iter().chain([nodes(4)]), EIGHT), NodeCount(7));
        assert_eq!(nodes_for([], EIGHT), NodeCount::ZERO);
        assert_eq!(nodes_for(vec![nodes(u32::MAX); 50_000], EIGHT), NodeCount::UNBOUNDED);
    }

    fn any_need() -> impl Strategy<Value = Need> {
        let gpus = prop_oneof![0u32..=1_000, (0u32..=20).prop_map(|whole| whole * 1_000)];
        (0u32..=3, gpus)
            .prop_map(|(nodes, gpus)| Need { nodes: NodeCount(nodes), gpus: MilliGpus(gpus) })
    }

    proptest! {
        /// Each step places or frees a job. After each step the load of the nodes is added up
        /// again from the returned node numbers.
        #[test]
        fn no_node_is_over_capacity_and_freeing_all_leaves_none(
            per_node in prop_oneof![Just(0u32), Just(1_000), Just(8_000)],
            steps in prop::collection::vec((0u64..40, any_need(), any::<bool>()), 1..200),
        ) {
            let per_node = MilliGpus(per_node);
            let mut packer = Packer::new(per_node);
            let mut placed: BTreeMap<u64, (Need, Vec<u32>)> = BTreeMap::new();
            for (job, need, goes) in steps {
                if goes {
                    packer.free(job);
                    placed.remove(&job);
                } else {
                    placed.insert(job, (need, packer.place(job, need)));
                }
                let mut load: BTreeMap<u32, u32> = BTreeMap::new();
                for (need, on) in placed.values() {
                    let share = match need.on(per_node) {
                        Footprint::Part(gpus) => gpus.0,
                        Footprint::Whole(_) => per_node.0.max(1),
                    };
                    for node in on {
                        *load.entry(*node).or_default() += share;
                    }
                }
                prop_assert!(load.values().all(|load| *load <= per_node.0.max(1)), "{load:?}");
                prop_assert_eq!(packer.busy(), NodeCount::of(load.len()));
                let singles = placed.values().map(|(need, _)| nodes_for([*need], per_node)).sum();
                prop_assert!(packer.busy() <= singles);
            }
            for job in 0..40 {
                packer.free(job);
            }
            prop_assert_eq!(packer.busy(), NodeCount::ZERO);
        }

        #[test]
        fn a_queue_takes_at_least_its_gpus_and_at_most_its_jobs_alone(
            mut queue in prop::collection::vec(any_need(), 0..60),
        ) {
            let together = nodes_for(queue.iter().copied(), EIGHT);
            let gpus: u32 = queue.iter().map(|need| need.gpus.0).sum();
            prop_assert!(together >= NodeCount(gpus.div_ceil(EIGHT.0)));
            prop_assert!(together <= queue.iter().map(|need| nodes_for([*need], EIGHT)).sum());
            queue.reverse();
            prop_assert_eq!(nodes_for(queue, EIGHT), together);
        }
    }
}
