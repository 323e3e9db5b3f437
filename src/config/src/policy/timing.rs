//! Checks the times of a cluster against each other and against the schedule.

use trimtab_core::policy::Timing;
use trimtab_core::units::Span;

use super::context::Daemon;
use super::file::TimingTable;
use crate::language::entry::{Entry, Findings};

pub(crate) fn timing(
    entry: &Entry<TimingTable>,
    daemon: &Daemon<'_>,
    findings: &mut Findings,
) -> Option<Timing> {
    let table = entry.value()?;
    let value = |entry: &Entry<Span>| entry.value().copied();
    let (settle, clock_tolerance) = (value(&table.settle), value(&table.clock_tolerance));
    let looked_at = [
        (&table.cordon_timeout, "cordon_timeout", value(&table.cordon_timeout)),
        (
            &table.settling_timeout,
            "settling_timeout minus settle",
            value(&table.settling_timeout).zip(settle).map(|(timeout, settle)| timeout - settle),
        ),
    ];
    for (entry, name, time) in looked_at {
        let (Some(time), Some(tick)) = (time, daemon.tick) else { continue };
        if time > tick {
            continue;
        }
        let spot = if entry.is_written() { &entry.spot } else { daemon.schedule };
        let what = format!(
            "makes timing.{name} ({time}) not longer than one tick ({tick}, schedule, {}): a \
             cordon would time out before the next look",
            daemon.schedule.seen_from(spot)
        );
        findings.problems.push(spot.problem(what, "tick more often, or set a longer time"));
    }
    if let (Some(tolerance), Some(settle)) = (clock_tolerance, settle)
        && tolerance >= settle
    {
        let written = [&table.clock_tolerance, &table.settle].into_iter().find(|e| e.is_written());
        let spot = written.map_or(&entry.spot, |entry| &entry.spot);
        let what = format!(
            "makes timing.clock_tolerance ({tolerance}) not shorter than timing.settle ({settle}): \
             a step of the clock could look like the settle time"
        );
        findings.problems.push(spot.problem(
            what,
            "set a shorter clock_tolerance, or a longer \
                                                   settle",
        ));
    }
    table.over(Timing { tick: daemon.tick?, ..Timing::default() })
}
