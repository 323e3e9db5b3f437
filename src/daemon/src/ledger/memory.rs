//! What was last written of each cluster, so that a tick writes only what
//! changed.
//!
//! It always equals the file: it is read from there, and what a transaction
//! wrote is taken in after its commit. A transaction that fails has its
//! cluster forgotten, to be read anew.

use std::collections::BTreeMap;

use rusqlite::Connection;
use trimtab_core::ids::{ClusterName, GroupName, InstanceId};
use trimtab_core::plan::{GroupFigures, Verdict};
use trimtab_core::rule::{Member, SampleRun};
use trimtab_core::units::NodeCount;

use super::fault::Fault;
use super::stored;

/// What was last written of every cluster that was asked about.
#[derive(Default)]
pub(super) struct Memory {
    clusters: BTreeMap<ClusterName, ClusterMemory>,
}

/// What was last written of one cluster.
#[derive(Default)]
pub(super) struct ClusterMemory {
    pub(super) groups: BTreeMap<GroupName, GroupMemory>,
    pub(super) verdicts: BTreeMap<InstanceId, CurrentVerdict>,
    pub(super) figures: BTreeMap<GroupName, CurrentFigures>,
}

/// What was last written of one group's count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct GroupMemory {
    pub(super) row: i64,
    /// The newest window's number.
    pub(super) window: i64,
    /// Its newest run and that run's row; `None` once the window has ended.
    pub(super) newest: Option<(i64, SampleRun)>,
    pub(super) largest: NodeCount,
    pub(super) departed: u64,
    /// How often what was kept of the learner had been fitted.
    pub(super) fits: Option<u64>,
    pub(super) members: BTreeMap<InstanceId, Member>,
}

/// A verdict in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CurrentVerdict {
    pub(super) row: i64,
    pub(super) group: GroupName,
    pub(super) verdict: Verdict,
}

/// Figures in force.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct CurrentFigures {
    pub(super) row: i64,
    pub(super) figures: GroupFigures,
}

impl Memory {
    /// What was last written of a cluster, read if it is not known yet.
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

    /// What was last written of a cluster, if it is known.
    pub(super) fn known(&mut self, cluster: &ClusterName) -> Option<&mut ClusterMemory> {
        self.clusters.get_mut(cluster)
    }

    /// To be read anew.
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

/// Every group ever sampled, without its members and runs, and whether its
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
