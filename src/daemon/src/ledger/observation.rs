//! Writes the observations of a tick: a row for the tick, and the changes of its groups.

use std::collections::{BTreeMap, VecDeque};

use rusqlite::{Connection, Transaction, params};
use trimtab_core::history::Freeze;
use trimtab_core::ids::{ClusterName, GroupName, InstanceId, TickId};
use trimtab_core::rule::{GroupState, Member, SampleRun};

use super::fault::Fault;
use super::memory::{ClusterMemory, GroupMemory};
use super::stored::{self, int};
use crate::ports::Observation;

/// Changes that were written, for the memory after the commit.
pub(super) struct Seen {
    pub(super) tick: TickId,
    groups: Vec<GroupSeen>,
}

struct GroupSeen {
    name: GroupName,
    /// Everything but the members.
    state: GroupMemory,
    members: MemberChanges,
}

struct MemberChanges {
    put: Vec<(InstanceId, Member)>,
    left: Vec<InstanceId>,
}

/// Writes the differences from `known`.
pub(super) fn write(
    tx: &Transaction<'_>,
    known: &ClusterMemory,
    observation: &Observation<'_>,
) -> Result<Seen, Fault> {
    tx.prepare_cached(
        "INSERT INTO tick (cluster, at, begun_at, ring, gap) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?
    .execute(params![
        observation.cluster.as_str(),
        observation.at.0,
        observation.begun_at.0,
        stored::ring_name(observation.ring),
        observation.gap,
    ])?;
    let tick = TickId(u64::try_from(tx.last_insert_rowid()).unwrap_or(0));
    let mut groups = vec![];
    for (name, state) in observation.groups {
        let known = known.groups.get(name);
        groups.push(write_group(tx, observation.cluster, name, state, known)?);
    }
    if let Some(freeze) = observation.freeze {
        write_freeze(tx, observation.cluster, freeze)?;
    }
    Ok(Seen { tick, groups })
}

impl Seen {
    /// Applies the changes to the memory.
    pub(super) fn remember(self, known: &mut ClusterMemory) {
        for seen in self.groups {
            let before = known.groups.remove(&seen.name).map(|before| before.members);
            let mut members = before.unwrap_or_default();
            members.extend(seen.members.put);
            for node in seen.members.left {
                members.remove(&node);
            }
            known.groups.insert(seen.name, GroupMemory { members, ..seen.state });
        }
    }
}

/// Writes a freeze, unless the ledger already contains it.
pub(super) fn write_freeze(
    conn: &Connection,
    cluster: &ClusterName,
    freeze: &Freeze,
) -> Result<(), Fault> {
    conn.prepare_cached(
        "INSERT INTO freeze (cluster, at, why) VALUES (?1, ?2, ?3)
         ON CONFLICT (cluster, at) DO NOTHING",
    )?
    .execute(params![cluster.as_str(), freeze.at.0, stored::json(&freeze.why)?])?;
    Ok(())
}

fn write_group(
    tx: &Transaction<'_>,
    cluster: &ClusterName,
    name: &GroupName,
    state: &GroupState,
    known: Option<&GroupMemory>,
) -> Result<GroupSeen, Fault> {
    let row = match known {
        Some(known) => known.row,
        None => stored::group_row(tx, cluster, name)?,
    };
    let before = known.map_or((0, None), |known| (known.window, known.newest));
    let (window, newest) = write_runs(tx, row, before, &state.runs)?;
    let (largest, departed) = (state.largest, state.departed);
    let is_new = known.is_none_or(|known| {
        known.window != window
            || known.newest.is_some() != newest.is_some()
            || known.largest != largest
            || known.departed != departed
    });
    if is_new {
        tx.prepare_cached(
            "INSERT INTO group_state (instance_group, window_no, watching, largest, departed)
             VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT (instance_group) DO UPDATE SET
                 window_no = excluded.window_no, watching = excluded.watching,
                 largest = excluded.largest, departed = excluded.departed",
        )?
        .execute(params![row, window, newest.is_some(), largest.0, int(departed)?])?;
    }
    let members = write_members(tx, row, state, known)?;
    let fits = write_learner(tx, row, window, state, known.and_then(|known| known.fits))?;
    let members_later = BTreeMap::new();
    let state =
        GroupMemory { row, window, newest, largest, departed, fits, members: members_later };
    Ok(GroupSeen { name: name.clone(), state, members })
}

/// The newest window and, while it is open, the row and the value of its newest run.
type Newest = (i64, Option<(i64, SampleRun)>);

/// Extends the newest run in place and adds the runs after it. Runs that do not continue
/// it start a new window.
fn write_runs(
    tx: &Transaction<'_>,
    group: i64,
    before: Newest,
    runs: &VecDeque<SampleRun>,
) -> Result<Newest, Fault> {
    let (window, newest) = before;
    if runs.is_empty() {
        return Ok((window, None));
    }
    let goes_on = newest.and_then(|(row, was)| {
        let same = |run: &SampleRun| {
            run.from == was.from && run.counts == was.counts && run.departed == was.departed
        };
        // Search from the end, because it is nearly always the last one.
        let place = runs.iter().rposition(same)?;
        Some((row, was, place, *runs.get(place)?))
    });
    let (window, mut newest, written) = match goes_on {
        Some((row, was, place, run)) => {
            if run.to != was.to {
                tx.prepare_cached("UPDATE sample_run SET until = ?1 WHERE id = ?2")?
                    .execute([run.to.0, row])?;
            }
            (window, Some((row, run)), place + 1)
        }
        None => (window + 1, None, 0),
    };
    for run in runs.iter().skip(written) {
        let counts = &run.counts;
        tx.prepare_cached(
            "INSERT INTO sample_run (instance_group, window_no, since, until, busy, idle, unknown,
                 arriving, leaving, impaired, queued, upcoming, floor, departed)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
        )?
        .execute(params![
            group,
            window,
            run.from.0,
            run.to.0,
            counts.busy.0,
            counts.idle.0,
            counts.unknown.0,
            counts.arriving.0,
            counts.leaving.0,
            counts.impaired.0,
            counts.queued.0,
            counts.upcoming.0,
            counts.floor.0,
            int(run.departed)?,
        ])?;
        newest = Some((tx.last_insert_rowid(), *run));
    }
    Ok((window, newest))
}

/// Writes the state of the learner if it was fitted since the last write. Returns its number
/// of fits.
fn write_learner(
    tx: &Transaction<'_>,
    group: i64,
    window: i64,
    state: &GroupState,
    known: Option<u64>,
) -> Result<Option<u64>, Fault> {
    let Some(learner) = &state.learner else { return Ok(None) };
    let fits = Some(learner.fits());
    if fits != known {
        tx.prepare_cached(
            "INSERT INTO learner (instance_group, at, window_no, fits, state)
             VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT (instance_group) DO UPDATE SET
                 at = excluded.at, window_no = excluded.window_no, fits = excluded.fits,
                 state = excluded.state",
        )?
        .execute(params![
            group,
            learner.at().0,
            window,
            int(learner.fits())?,
            stored::json(learner)?
        ])?;
    }
    Ok(fits)
}

fn write_members(
    tx: &Transaction<'_>,
    group: i64,
    state: &GroupState,
    known: Option<&GroupMemory>,
) -> Result<MemberChanges, Fault> {
    let before = |node| known.and_then(|known| known.members.get(node));
    let changed = state.members.iter().filter(|(node, member)| before(*node) != Some(*member));
    let put: Vec<(InstanceId, Member)> = changed.map(|(node, member)| (*node, *member)).collect();
    for (node, member) in &put {
        tx.prepare_cached(
            "INSERT INTO member (instance_group, node, class, idle_since, joined)
             VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT (instance_group, node) DO UPDATE SET
                 class = excluded.class, idle_since = excluded.idle_since,
                 joined = excluded.joined",
        )?
        .execute(params![
            group,
            node.to_string(),
            member.class.name(),
            member.idle_since.map(|since| since.0),
            member.joined,
        ])?;
    }
    let were = known.into_iter().flat_map(|known| known.members.keys());
    let left: Vec<InstanceId> =
        were.filter(|node| !state.members.contains_key(node)).copied().collect();
    for node in &left {
        tx.prepare_cached("DELETE FROM member WHERE instance_group = ?1 AND node = ?2")?
            .execute(params![group, node.to_string()])?;
    }
    Ok(MemberChanges { put, left })
}
