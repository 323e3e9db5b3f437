//! Checks the floors of a group: which nodes must stay, and when.

use trimtab_core::policy::{Amount, KeepWindow};
use trimtab_core::units::{NodeCount, Span, Time};
use trimtab_core::windows::{WindowError, WindowSpec};

use super::file::{GroupTable, WindowTable};
use crate::language::entry::{Findings, Item, Spot};

/// Monday 2026-01-05, 00:00 UTC, from which the openings of a window are computed. Almost no
/// zone changes its clocks at that time of the year.
const SOME_MONDAY: Time = Time::from_secs(1_767_571_200);

/// Number of openings and closings computed: two a day for more than a week.
const WEEK_OF_CHANGES: usize = 16;

/// The floors of a group.
pub(crate) struct Floors {
    pub(crate) min_nodes: Amount,
    pub(crate) min_idle_nodes: NodeCount,
    pub(crate) keep_windows: Vec<KeepWindow>,
    pub(crate) lookahead: Span,
}

pub(crate) fn floors(
    table: &GroupTable,
    size: Option<NodeCount>,
    findings: &mut Findings,
) -> Option<Floors> {
    let instead = "write the fewest nodes to keep, such as 4 or \"25%\"; write 0 only if all nodes \
                   may be deleted";
    let min_nodes = table.min_nodes.required(instead, findings).copied();
    let min_idle_nodes = table.min_idle_nodes.value().copied();
    if let (Some(size), Some(min_nodes)) = (size, min_nodes) {
        base_floor(table, size, min_nodes, min_idle_nodes, findings);
    }
    let lookahead = table.lookahead.value().copied();
    let windows = windows(table, size, min_nodes, lookahead, findings);
    Some(Floors {
        min_nodes: min_nodes?,
        min_idle_nodes: min_idle_nodes?,
        keep_windows: windows?,
        lookahead: lookahead?,
    })
}

fn base_floor(
    table: &GroupTable,
    size: NodeCount,
    min_nodes: Amount,
    min_idle_nodes: Option<NodeCount>,
    findings: &mut Findings,
) {
    let floor = min_nodes.of(size);
    let size_at = |from: &Spot| format!("size = {size} ({})", table.size.spot.seen_from(from));
    if floor > size {
        let size_at = size_at(&table.min_nodes.spot);
        let what = format!("is more than {size_at}, so no node of the group could ever be deleted");
        let instead = format!("write 0 to {size}, or a share of the size such as \"25%\"");
        findings.problems.push(table.min_nodes.spot.problem(what, instead));
        return;
    }
    let job = table.max_job_nodes.optional().flatten();
    if let Some(job) = job.filter(|job| *job > size) {
        let spot = &table.max_job_nodes.spot;
        let what = format!("is {job} nodes, more than {}", size_at(spot));
        let instead = format!("write the number of nodes of the largest job, 1 to {size}");
        findings.problems.push(spot.problem(what, instead));
        return;
    }
    let floor = floor.max(job.unwrap_or_default());
    let Some(headroom) = min_idle_nodes else { return };
    if floor + headroom > size {
        let size_at = size_at(&table.min_idle_nodes.spot);
        let what = format!(
            "and min_nodes or max_job_nodes ({floor} nodes) are together more than {size_at}, so \
             no node of the group could ever be deleted"
        );
        let instead = format!("write 0 to {}", size.saturating_sub(floor));
        findings.problems.push(table.min_idle_nodes.spot.problem(what, instead));
    } else if floor + headroom == size {
        findings.notes.push(table.spot.note(format!(
            "the nodes that must stay and min_idle_nodes are together its whole size, {size}: \
             nothing is deleted unless the group has more nodes"
        )));
    }
}

fn windows(
    table: &GroupTable,
    size: Option<NodeCount>,
    min_nodes: Option<Amount>,
    lookahead: Option<Span>,
    findings: &mut Findings,
) -> Option<Vec<KeepWindow>> {
    table.keep_windows.refuse_empty("remove it", findings);
    let items = table.keep_windows.items();
    let windows: Vec<_> = items
        .iter()
        .map(|Item { spot, value: written }| {
            let window = window(written, spot, findings)?;
            if let Some(size) = size {
                let base = min_nodes.map(|base| base.of(size));
                window_floor(&window, written, size, base, findings);
            }
            if let Some(lookahead) = lookahead {
                note_closed_times(&window, spot, lookahead, findings);
            }
            Some(window)
        })
        .collect();
    table.keep_windows.optional()?;
    windows.into_iter().collect()
}

/// Returns the window if all of its keys are valid.
fn window(written: &WindowTable, spot: &Spot, findings: &mut Findings) -> Option<KeepWindow> {
    let WindowTable { spot: _, days, from, to, zone, min_nodes } = written;
    let days_given = days.required("write days = \"mon-fri\"", findings).cloned();
    let from_given = from.required("write from = \"08:00\"", findings).cloned();
    let to_given = to.required("write to = \"19:00\"", findings).cloned();
    let instead = "write the IANA name of its zone, zone = \"America/New_York\"";
    let zone_given = zone.required(instead, findings).cloned();
    let min_given = min_nodes
        .required("write the number of nodes to keep in it, such as min_nodes = 16", findings)
        .copied();
    // A missing or invalid key gets a valid value, so that the other keys are checked too. The
    // window is then not used.
    let mut whole = days_given.is_some()
        && from_given.is_some()
        && to_given.is_some()
        && zone_given.is_some()
        && min_given.is_some();
    let mut spec = WindowSpec {
        days: days_given.unwrap_or_else(|| "daily".to_owned()),
        from: from_given.unwrap_or_else(|| "00:00".to_owned()),
        to: to_given.unwrap_or_else(|| "24:00".to_owned()),
        zone: zone_given.unwrap_or_else(|| "UTC".to_owned()),
        min_nodes: min_given.unwrap_or(Amount::Nodes(NodeCount(1))),
    };
    // Each pass replaces the value of one of four keys.
    for _ in 0..=4 {
        match KeepWindow::parse(&spec) {
            Ok(window) => return whole.then_some(window),
            Err(WindowError::Value { key, expected, .. }) => {
                whole = false;
                let (entry, mended, value) = match key {
                    "days" => (days, &mut spec.days, "daily"),
                    "from" => (from, &mut spec.from, "00:00"),
                    "to" => (to, &mut spec.to, "24:00"),
                    _ => (zone, &mut spec.zone, "UTC"),
                };
                value.clone_into(mended);
                findings.problems.push(entry.spot.problem(format!("is not {expected}"), ""));
            }
            Err(why @ (WindowError::NeverOpen { .. } | WindowError::KeepsNothing)) => {
                if whole {
                    findings.problems.push(spot.problem(why.to_string(), ""));
                }
                return None;
            }
        }
    }
    None
}

fn window_floor(
    window: &KeepWindow,
    written: &WindowTable,
    size: NodeCount,
    base: Option<NodeCount>,
    findings: &mut Findings,
) {
    let (floor, spot) = (window.min_nodes.of(size), &written.min_nodes.spot);
    if floor > size {
        let what = format!("is more than the size of the group, {size}");
        let instead = format!("write up to {size}, or a share of the size such as \"50%\"");
        findings.problems.push(spot.problem(what, instead));
    } else if let Some(base) = base.filter(|base| floor <= *base) {
        let what = format!(
            "is not more than min_nodes of the group ({base} nodes), so the window would have no \
             effect"
        );
        findings.problems.push(spot.problem(what, "write a higher number, or remove the window"));
    }
}

/// Notes a window whose floor applies during most or all of the time that it is closed, because
/// a floor applies `lookahead` before the window opens.
fn note_closed_times(window: &KeepWindow, spot: &Spot, lookahead: Span, findings: &mut Findings) {
    let mut at = SOME_MONDAY;
    let mut closed: Vec<Span> = vec![];
    let mut closed_since = None;
    for _ in 0..WEEK_OF_CHANGES {
        let Some(change) = window.next_change(at) else { break };
        if window.is_open(change) {
            closed.extend(closed_since.map(|since| change.since(since)));
        }
        closed_since = (!window.is_open(change)).then_some(change);
        at = change;
    }
    let (shortest, longest) = (closed.iter().min(), closed.iter().max());
    let text = match (shortest, longest) {
        (Some(_), Some(longest)) if *longest <= lookahead => format!(
            "is closed for at most {longest}, and its floor applies {lookahead} (lookahead) before \
             it opens: it applies at all times, and min_nodes of the group never does"
        ),
        (Some(shortest), Some(longest)) if *shortest <= lookahead => format!(
            "is closed for {shortest} to {longest} at a time, and its floor applies {lookahead} \
             (lookahead) before it opens: it also applies during the shorter breaks"
        ),
        (Some(_), Some(_)) => return,
        (None, _) | (_, None) => {
            "is open at all times, so min_nodes of the group never applies".to_owned()
        }
    };
    findings.notes.push(spot.note(text));
}
