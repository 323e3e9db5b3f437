//! Reads from `sacct` when past jobs ran and on how many nodes, as recorded by slurmdbd.
//!
//! trimtab requests only numbers, times and partitions, so that a trace contains no user names
//! and no names that users chose. Requeued jobs have one record per run (`-D`); tasks of arrays
//! and components of heterogeneous jobs have their own records; steps have none (`-X`).
//!
//! Limits: a user sees all jobs only if slurmdbd.conf does not make them private or if the user
//! is an operator in Slurm, and slurmdbd does not report that jobs are missing. A suspended job
//! keeps its nodes. Jobs whose end slurmctld never reported to slurmdbd ("runaway" jobs) appear
//! as running without end.

use std::collections::{BTreeMap, BTreeSet};

use trimtab_core::ids::PartitionName;
use trimtab_core::packing::JOB_NODES_MAX;
use trimtab_core::text::start;
use trimtab_core::trace::TraceJob;
use trimtab_core::units::{MilliGpus, NodeCount, Span, Time};
use trimtab_daemon::ports::ReadError;

use crate::command::{Commands, Program};
use crate::malformed::Malformed;
use crate::time;

/// The ASCII unit separator. No name in Slurm can contain it.
const SEPARATOR: char = '\u{1f}';

/// Longest period of one request. A busy cluster runs about 100,000 jobs in it, whose records
/// take a fifth of the output limit of a command.
const WINDOW: Span = Span::hours(7 * 24);

/// One run of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// When the job was submitted or requeued.
    pub submit: Time,
    pub start: Time,
    /// When the run ended; `None` while it continues.
    pub end: Option<Time>,
    pub nodes: NodeCount,
    /// GPUs on all nodes together; 0 where slurmdbd does not record GPUs.
    pub gpus: MilliGpus,
    pub partition: PartitionName,
}

/// Runs and waiting jobs that slurmdbd recorded in some period.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    /// By job number and start time, because a job that spans two periods is reported in both.
    runs: BTreeMap<(u64, Time), Run>,
    /// Jobs that wait, wait again, or were cancelled while waiting.
    waited: BTreeSet<u64>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Extract {
    /// Runs, ordered by start.
    pub jobs: Vec<TraceJob>,
    /// Number of jobs that were running when the trace begins. Their start is set to its
    /// beginning.
    pub cut_at_begin: usize,
    /// Number of jobs that were running when the trace ends. Their end is set to its end.
    pub cut_at_end: usize,
    /// Number of jobs that never started.
    pub never_started: usize,
    /// Number of runs shorter than one second. They are left out.
    pub momentary: usize,
}

/// Reads every run that overlaps `from..to`.
///
/// # Errors
/// When an answer cannot be read, or slurmdbd is not available.
pub async fn read(commands: &Commands, from: Time, to: Time) -> Result<History, ReadError> {
    let mut history = History::default();
    let mut at = from;
    while at < to {
        let until = to.min(at + WINDOW);
        let arguments = arguments(at, until);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let text = commands.run(Program::Sacct, &arguments).await?;
        let unreadable = |why: Malformed| ReadError::Unreadable(format!("sacct: {why}").into());
        history.add(&text).map_err(unreadable)?;
        at = until;
    }
    Ok(history)
}

/// Jobs of all users, without steps, one record per run, and numbers without unit suffixes.
fn arguments(from: Time, to: Time) -> Vec<String> {
    let mut all: Vec<String> =
        ["-n", "-P", "-a", "-X", "-D", "--noconvert"].map(str::to_owned).into();
    all.push(format!("--delimiter={SEPARATOR}"));
    all.push(format!("--starttime={}", time::print(from)));
    all.push(format!("--endtime={}", time::print(to)));
    all.push("--format=JobIDRaw,Submit,Start,End,AllocTRES,Partition".to_owned());
    all
}

impl History {
    /// Adds the output of one command.
    ///
    /// # Errors
    /// At the first line that is not in the requested format.
    pub fn add(&mut self, text: &str) -> Result<(), Malformed> {
        for line in text.lines().filter(|line| !line.is_empty()) {
            self.add_line(line).map_err(|what| odd(line, &what))?;
        }
        Ok(())
    }

    fn add_line(&mut self, line: &str) -> Result<(), String> {
        let fields: Vec<&str> = line.split(SEPARATOR).collect();
        let [id, submit, start, end, tres, partition] = fields[..] else {
            return Err(format!("{} fields instead of 6", fields.len()));
        };
        let id: u64 = id.parse().map_err(|_| format!("the job number is `{id}`"))?;
        let (start, end) = (time::parse(start)?, time::parse(end)?);
        // A job that was cancelled while waiting has a start time but no node.
        let (Some(start), Some(nodes)) = (start, count(tres, "node")?.filter(|n| *n > 0)) else {
            self.waited.insert(id);
            return Ok(());
        };
        let nodes = NodeCount(nodes);
        if nodes > JOB_NODES_MAX {
            return Err(format!("the job ran on {nodes} nodes, more than {JOB_NODES_MAX}"));
        }
        if end.is_some_and(|end| end < start) {
            return Err("the end is before the start".to_owned());
        }
        let submit = time::parse(submit)?.ok_or("there is no submit time")?;
        let partition = partition.parse().map_err(|why| format!("{why}"))?;
        let gpus = MilliGpus::whole(gpus(tres)?);
        let run = Run { submit: submit.min(start), start, end, nodes, gpus, partition };
        self.runs.insert((id, start), run);
        Ok(())
    }

    /// Returns every run, ordered by job number.
    pub fn runs(&self) -> impl Iterator<Item = &Run> {
        self.runs.values()
    }

    /// Returns the runs in `from..to` as a trace that starts at 0 s.
    pub fn extract(&self, from: Time, to: Time) -> Extract {
        let ran: BTreeSet<u64> = self.runs.keys().map(|(id, _)| *id).collect();
        let never_started = self.waited.difference(&ran).count();
        let mut extract = Extract { never_started, ..Extract::default() };
        let after = |at: Time| at.since(from).max(Span::ZERO);
        for run in self.runs() {
            let end = run.end.filter(|end| *end <= to);
            if run.start >= to || end.is_some_and(|end| end <= from) {
                continue;
            }
            let (start, ends) = (after(run.start), after(end.unwrap_or(to)));
            if start >= ends {
                extract.momentary += 1;
                continue;
            }
            extract.cut_at_begin += usize::from(run.start < from);
            extract.cut_at_end += usize::from(end.is_none());
            extract.jobs.push(TraceJob {
                submit: after(run.submit),
                start,
                end: ends,
                nodes: run.nodes,
                gpus: run.gpus,
                partition: run.partition.clone(),
            });
        }
        extract.jobs.sort_by_key(|job| job.start);
        extract
    }
}

/// Returns the number of one resource in a list such as `cpu=8,gres/gpu=2,node=1`.
fn count(tres: &str, what: &str) -> Result<Option<u32>, String> {
    let found = tres.split(',').find_map(|item| {
        let (name, count) = item.split_once('=')?;
        (name == what).then_some((item, count))
    });
    let Some((item, count)) = found else { return Ok(None) };
    count.parse().map(Some).map_err(|_| format!("`{item}` is not a count"))
}

/// Returns the GPUs of all types. slurmdbd may record types without their total.
fn gpus(tres: &str) -> Result<u32, String> {
    if let Some(all) = count(tres, "gres/gpu")? {
        return Ok(all);
    }
    let mut sum = 0_u32;
    for item in tres.split(',').filter(|item| item.starts_with("gres/gpu:")) {
        let name = item.split('=').next().unwrap_or_default();
        sum = sum.saturating_add(count(item, name)?.unwrap_or(0));
    }
    Ok(sum)
}

fn odd(line: &str, what: &str) -> String {
    let start = start(&line.replace(SEPARATOR, "|"), 100);
    format!("unexpected job line, {what}: `{start}`")
}

#[cfg(test)]
mod tests {
    use trimtab_core::trace::write_jobs;

    use super::*;

    /// Output of sacct 22.05, with the times and the last job edited: a job that began before
    /// 09:00 and was cancelled; one cancelled while held; one with GPUs; one on two nodes; one
    /// that was requeued, lost its node and waits again; one that failed at once; two tasks of
    /// an array; one that runs.
    const RECORDED: &str = include_str!("../tests/sacct-22.05.txt");

    fn time(text: &str) -> Time {
        time::parse(text).expect("a time").expect("one")
    }

    fn history(text: &str) -> History {
        let mut history = History::default();
        history.add(text).expect("an answer");
        history
    }

    #[test]
    fn a_recorded_answer_becomes_a_trace() {
        let (from, to) = (time("2026-11-25T09:00:00"), time("2026-11-25T10:00:00"));
        let extract = history(RECORDED).extract(from, to);
        assert_eq!(
            write_jobs(&extract.jobs),
            "submit_s,start_s,end_s,nodes,gpus,partition\n\
             0,0,426,1,0,gpu\n\
             429,429,431,1,1,gpu\n\
             429,429,431,1,1,gpu\n\
             429,430,433,1,2,gpu\n\
             429,430,433,1,0,gpu\n\
             429,432,437,2,16,gpu\n\
             437,558,564,1,0,gpu\n\
             600,601,3600,4,32,last\n"
        );
        let counts = (extract.cut_at_begin, extract.cut_at_end);
        assert_eq!(counts, (1, 1));
        assert_eq!((extract.never_started, extract.momentary), (1, 1));
    }

    #[test]
    fn what_lies_in_two_windows_counts_once_and_as_it_was_told_last() {
        let mut all = history(RECORDED);
        let once = all.clone();
        all.add(RECORDED).expect("an answer");
        assert_eq!(all, once);
        let ended = "20|2026-11-25T09:10:00|2026-11-25T09:10:01|2026-11-25T09:30:01|\
                     gres/gpu=32,node=4|last";
        all.add(&ended.replace('|', "\u{1f}")).expect("an answer");
        let (from, to) = (time("2026-11-25T09:00:00"), time("2026-11-25T10:00:00"));
        let extract = all.extract(from, to);
        assert_eq!((extract.jobs.len(), extract.cut_at_end), (8, 0));
    }

    #[test]
    fn only_what_ran_in_the_time_is_in_the_trace() {
        let run = |text: &str| history(&text.replace('|', "\u{1f}"));
        let day = |text: &str| time(&format!("2026-11-{text}T00:00:00"));
        let job = "1|2026-11-01T00:00:00|2026-11-02T00:00:00|2026-11-04T00:00:00|node=1|p";
        for (from, to, expected) in [
            ("01", "02", ""),
            ("04", "05", ""),
            ("05", "06", ""),
            ("01", "05", "0,86400,259200"),
            ("03", "05", "0,0,86400"),
            ("01", "03", "0,86400,172800"),
        ] {
            let extract = run(job).extract(day(from), day(to));
            let rows = write_jobs(&extract.jobs);
            let row = rows.lines().nth(1).map_or("", |row| row.trim_end_matches(",1,0,p"));
            assert_eq!(row, expected, "{from} to {to}");
        }
    }

    #[test]
    fn gpus_are_counted_whatever_their_type() {
        assert_eq!(gpus("billing=8,cpu=8,gres/gpu:a100=8,gres/gpu=8,node=1"), Ok(8));
        assert_eq!(gpus("cpu=8,gres/gpu:a100=4,gres/gpu:l4=2,node=1"), Ok(6));
        assert_eq!(gpus("cpu=8,gres/gpumem=4,node=1"), Ok(0));
        assert_eq!(gpus("gres/gpu=x"), Err("`gres/gpu=x` is not a count".to_owned()));
    }

    #[test]
    fn a_line_that_was_not_asked_for_is_no_answer() {
        let good = "1|2026-11-01T00:00:00|2026-11-02T00:00:00|Unknown|cpu=1,node=1|p";
        assert!(History::default().add(&good.replace('|', "\u{1f}")).is_ok());
        for (from, to, said) in [
            ("1|", "", "5 fields instead of 6"),
            ("1|", "1.batch|", "the job number is `1.batch`"),
            ("|p", "|p,q", "`p,q`"),
            ("|p", "|", "a partition name"),
            ("2026-11-02", "soon", "`soonT00:00:00` is not a time"),
            ("Unknown", "2026-11-01T23:59:59", "the end is before the start"),
            ("2026-11-01T00:00:00", "Unknown", "there is no submit time"),
            ("node=1", "node=1K", "`node=1K` is not a count"),
            ("node=1", "node=100001", "more than 100000"),
        ] {
            let text = good.replacen(from, to, 1).replace('|', "\u{1f}");
            let wrong = History::default().add(&text).expect_err(&text).to_string();
            assert!(wrong.contains(said), "{wrong}");
        }
    }
}
