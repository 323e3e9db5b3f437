//! The last written rows of each cluster, so that a tick writes only changes.
//!
//! The memory always equals the file: it is read from the file, and takes the changes
//! of a transaction after its commit. After a failed transaction, the cluster is
//! forgotten and read again.

use std::collections::BTreeMap;

use rusqlite::Connection;
use trimtab_core::ids::{ClusterName, GroupName, InstanceId};
use trimtab_core::plan::{GroupFigures, Verdict};
use trimtab_core::rule::{Member, SampleRun};
use trimtab_core::units::NodeCount;

use super::fault::Fault;
use super::stored;

/// The last written rows of every cluster that was read or written.
#[derive(Default)]
pub(super) struct Memory {
    clusters: BTreeMap<ClusterName, ClusterMemory>,
}

/// The last written rows of one cluster.
#[derive(Default)]
pub(super) struct ClusterMemory {
    pub(super) groups: BTreeMap<GroupName, GroupMemory>,
    pub(super) verdicts: BTreeMap<InstanceId, CurrentVerdict>,
    pub(super) figures: BTreeMap<GroupName, CurrentFigures>,
}

/// The last written count of one group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct GroupMemory {
    pub(super) row: i64,
    /// The newest window's number.
    pub(super) window: i64,
    /// The row and the value of its newest run; `None` when the window has ended.
    pub(super) newest: Option<(i64, SampleRun)>,
    pub(super) largest: NodeCount,
    pub(super) departed: u64,
    /// Number of fits of the learner when it was written.
    pub(super) fits: Option<u64>,
    pub(super) members: BTreeMap<InstanceId, Member>,
}

/// The current verdict on a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CurrentVerdict {
    pub(super) row: i64,
    pub(super) group: GroupName,
    pub(super) verdict: Verdict,
}

/// The current figures of a group.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct CurrentFigures {
    pub(super) row: i64,
    pub(super) figures: GroupFigures,
}

impl Memory {
    /// Returns the last written rows of a cluster, and reads them if they are not known yet.
    pub(super) fn of(
        &mut self,
        conn: &Connection,
        cluster: &ClusterName,
    ) -> Result<&mut ClusterMemory, Fault> {
        if !self.clusters.contains_key(cluster) {
            let read = ClusterMemory::read(conn, cluster)?;
            self.clusters.insert(cluster.clone(), read);
        }
        Ok(self.clusters.entry(cluster.clone()).or_default())
    }

    /// Returns the last written rows of a cluster, if they are known.
    pub(super) fn known(&mut self, cluster: &ClusterName) -> Option<&mut ClusterMemory> {
        self.clusters.get_mut(cluster)
    }

    /// Forgets a cluster, so that it is read again.
    pub(super) fn forget(&mut self, cluster: &ClusterName) {
        self.clusters.remove(cluster);
    }
}

impl ClusterMemory {
    fn read(conn: &Connection, cluster: &ClusterName) -> Result<Self, Fault> {
        let mut groups = BTreeMap::new();
        for (name, mut group, watching) in read_groups(conn, cluster)? {
            if watching {
                group.newest = read_newest_run(conn, group.row, group.window)?;
            }
            let members = stored::rows(
                conn,
                "member",
                "SELECT node, class, idle_since, joined FROM member WHERE instance_group = ?1",
                [group.row],
                |cells| cells.member(),
            )?;
            group.members = members.into_iter().collect();
            groups.insert(name, group);
        }
        let verdicts = stored::rows(
            conn,
            "verdict_span",
            "SELECT v.id, v.node, g.name, v.verdict
             FROM instance_group g JOIN verdict_span v ON v.instance_group = g.id
             WHERE g.cluster = ?1 AND v.until IS NULL",
            [cluster.as_str()],
            |cells| {
                let current = CurrentVerdict {
                    row: cells.cell("id")?,
                    group: cells.parsed("name")?,
                    verdict: cells.json("verdict")?,
                };
                Ok((cells.parsed("node")?, current))
            },
        )?;
        let figures = stored::rows(
            conn,
            "figures_span",
            "SELECT f.id, g.name, f.figures
             FROM instance_group g JOIN figures_span f ON f.instance_group = g.id
             WHERE g.cluster = ?1 AND f.until IS NULL",
            [cluster.as_str()],
            |cells| {
                let (row, figures) = (cells.cell("id")?, cells.json("figures")?);
                let current = CurrentFigures { row, figures };
                Ok((cells.parsed("name")?, current))
            },
        )?;
        Ok(Self {
            groups,
            verdicts: verdicts.into_iter().collect(),
            figures: figures.into_iter().collect(),
        })
    }
}

/// Reads every group that was ever sampled, without its members and runs, and whether its
/// window is open.
fn read_groups(
    conn: &Connection,
    cluster: &ClusterName,
) -> Result<Vec<(GroupName, GroupMemory, bool)>, Fault> {
    stored::rows(
        conn,
        "group_state",
        "SELECT s.instance_group, g.name, s.window_no, s.watching, s.largest, s.departed, l.fits
         FROM instance_group g JOIN group_state s ON s.instance_group = g.id
         LEFT JOIN learner l ON l.instance_group = g.id
         WHERE g.cluster = ?1",
        [cluster.as_str()],
        |cells| {
            let group = GroupMemory {
                row: cells.cell("instance_group")?,
                window: cells.cell("window_no")?,
                newest: None,
                largest: cells.count("largest")?,
                departed: cells.whole("departed")?,
                fits: cells.maybe_whole("fits")?,
                members: BTreeMap::new(),
            };
            Ok((cells.parsed("name")?, group, cells.cell("watching")?))
        },
    )
}

fn read_newest_run(
    conn: &Connection,
    group: i64,
    window: i64,
) -> Result<Option<(i64, SampleRun)>, Fault> {
    stored::first_row(
        conn,
        "sample_run",
        "SELECT * FROM sample_run WHERE instance_group = ?1 AND window_no = ?2
         ORDER BY id DESC LIMIT 1",
        [group, window],
        |cells| Ok((cells.cell("id")?, cells.run()?)),
    )
}
