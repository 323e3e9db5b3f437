//! Checks of a world file, and the lines of its problems.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;

use serde::Deserialize;
use serde::de::IgnoredAny;
use toml::Spanned;
use trimtab_core::ids::PartitionName;
use trimtab_core::units::{NodeCount, Span};

use super::WorldSpec;
use crate::faults::FaultKind;

/// All problems of a world's spec.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct SpecError {
    /// File name; empty for a world that was not read from a file.
    pub file: String,
    /// Problems, sorted by line.
    pub problems: Vec<Problem>,
}

/// A problem of a world's spec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Line number, counted from 1, if the world was read from text.
    pub line: Option<usize>,
    pub what: String,
}

impl fmt::Display for SpecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = if self.file.is_empty() { "world" } else { &self.file };
        for (i, Problem { line, what }) in self.problems.iter().enumerate() {
            let new_line = if i == 0 { "" } else { "\n" };
            match line {
                Some(line) => write!(f, "{new_line}{file}:{line}: {what}")?,
                None => write!(f, "{new_line}{file}: {what}")?,
            }
        }
        Ok(())
    }
}

impl SpecError {
    /// Returns an error with one problem of a world that was not read from text.
    pub(crate) fn one(what: String) -> Self {
        Self { file: String::new(), problems: vec![Problem { line: None, what }] }
    }
}

/// Table of the file that has a problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SpecPath {
    World,
    Api,
    Group(usize),
    Job(usize),
    Generator(usize),
    Trace,
    Fault(usize),
}

/// Positions of the tables in a file.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Tables {
    api: Option<Spanned<IgnoredAny>>,
    group: Vec<Spanned<IgnoredAny>>,
    job: Vec<Spanned<IgnoredAny>>,
    generate: Vec<Spanned<IgnoredAny>>,
    trace: Option<Spanned<IgnoredAny>>,
    fault: Vec<Spanned<IgnoredAny>>,
}

impl Tables {
    fn find(&self, place: SpecPath) -> Option<Range<usize>> {
        let table = match place {
            SpecPath::World => None,
            SpecPath::Api => self.api.as_ref(),
            SpecPath::Group(i) => self.group.get(i),
            SpecPath::Job(i) => self.job.get(i),
            SpecPath::Generator(i) => self.generate.get(i),
            SpecPath::Trace => self.trace.as_ref(),
            SpecPath::Fault(i) => self.fault.get(i),
        };
        table.map(Spanned::span)
    }
}

pub(super) fn parse(text: &str, file: &str) -> Result<WorldSpec, SpecError> {
    let line_of = |at: usize| text.as_bytes().iter().take(at).filter(|b| **b == b'\n').count() + 1;
    let spec: WorldSpec = toml::from_str(text).map_err(|e| SpecError {
        file: file.to_owned(),
        problems: vec![Problem {
            line: e.span().map(|span| line_of(span.start)),
            what: e.message().trim().replace('\n', "; "),
        }],
    })?;
    let tables: Tables = toml::from_str(text).unwrap_or_default();
    let mut problems: Vec<Problem> = find(&spec)
        .into_iter()
        .map(|(place, what)| {
            let line = tables.find(place).map(|span| line_of(span.start));
            Problem { line, what }
        })
        .collect();
    if problems.is_empty() {
        return Ok(spec);
    }
    problems.sort_by_key(|problem| problem.line);
    Err(SpecError { file: file.to_owned(), problems })
}

pub(super) fn check(spec: &WorldSpec) -> Result<(), SpecError> {
    let problems: Vec<Problem> =
        find(spec).into_iter().map(|(_, what)| Problem { line: None, what }).collect();
    if problems.is_empty() { Ok(()) } else { Err(SpecError { file: String::new(), problems }) }
}

fn find(spec: &WorldSpec) -> Vec<(SpecPath, String)> {
    let mut found = vec![];
    let mut no = |holds: bool, place: SpecPath, what: &dyn Fn() -> String| {
        if !holds {
            found.push((place, what()));
        }
    };
    let partitions: BTreeSet<PartitionName> = spec.partitions().collect();
    let known = |name: &Option<PartitionName>| match name {
        None => !partitions.is_empty(),
        Some(name) => partitions.contains(name),
    };
    let no_partition = |name: &Option<PartitionName>| match name {
        None => "no worker group can run it: add a [[group]] with role `worker`".to_owned(),
        Some(name) => format!("partition `{name}` has no worker group"),
    };

    no(!spec.groups.is_empty(), SpecPath::World, &|| "no [[group]]: add at least one".to_owned());
    no(spec.duration > Span::ZERO, SpecPath::World, &|| "duration must be above 0s".to_owned());
    no(spec.metric_period > Span::ZERO, SpecPath::World, &|| {
        "metric_period must be above 0s".to_owned()
    });
    let lags = [spec.listing_lag, spec.count_lag, spec.cordon_lag, spec.metric_latency];
    no(lags.iter().all(|lag| *lag >= Span::ZERO), SpecPath::World, &|| {
        "listing_lag, count_lag, cordon_lag and metric_latency must be at least 0s".to_owned()
    });
    no(!spec.metrics || !spec.metrics_layouts.is_empty(), SpecPath::World, &|| {
        "metrics_layouts is empty: add a layout, or set `metrics = false`".to_owned()
    });
    let rate = spec.random_faults_per_day;
    no((0.0..=10_000.0).contains(&rate), SpecPath::World, &|| {
        format!("random_faults_per_day is {rate}: use 0 to 10000")
    });
    if let Some(regrow) = &spec.regrow {
        no(regrow.every >= Span::secs(1), SpecPath::World, &|| {
            "regrow.every must be at least 1s".to_owned()
        });
    }
    let api = &spec.api;
    let digits = api.account.len() == 12 && api.account.bytes().all(|b| b.is_ascii_digit());
    no(digits, SpecPath::Api, &|| format!("account is `{}`: use 12 digits", api.account));
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    no(!api.region.is_empty() && api.region.bytes().all(plain), SpecPath::Api, &|| {
        format!("region is `{}`: use a region name such as `us-west-2`", api.region)
    });
    no(api.instance_delay >= Span::ZERO, SpecPath::Api, &|| {
        "instance_delay must be at least 0s".to_owned()
    });
    no(api.software_update.min >= Span::ZERO, SpecPath::Api, &|| {
        "software_update must be at least 0s".to_owned()
    });
    let mut names = BTreeSet::new();
    for (i, group) in spec.groups.iter().enumerate() {
        let place = SpecPath::Group(i);
        no(names.insert(&group.name), place, &|| format!("duplicate group name `{}`", group.name));
        if let Some(size) = group.size {
            no(size >= group.count, place, &|| {
                format!("size {size} must be at least count {}", group.count)
            });
        }
        let min = group.min_count.unwrap_or_default();
        no(min <= group.count, place, &|| {
            format!("min_count {min} must be at most count {}", group.count)
        });
        no(group.boot.min >= Span::ZERO, place, &|| "boot must be at least 0s".to_owned());
        no(group.size() <= NodeCount(100_000), place, &|| "size must be at most 100000".to_owned());
    }
    for (i, job) in spec.jobs.iter().enumerate() {
        let place = SpecPath::Job(i);
        no(known(&job.partition), place, &|| no_partition(&job.partition));
        no(are_gpus(job.gpus), place, &|| format!("gpus is {}: use 0 to 1000000", job.gpus));
        no(job.length >= Span::ZERO && job.at >= Span::ZERO, place, &|| {
            "at and length must be at least 0s".to_owned()
        });
    }
    for (i, stream) in spec.generators.iter().enumerate() {
        let place = SpecPath::Generator(i);
        no(known(&stream.partition), place, &|| no_partition(&stream.partition));
        no((0.0..=1e6).contains(&stream.per_day), place, &|| {
            format!("per_day is {}: use 0 to 1000000", stream.per_day)
        });
        no((1..=10_000).contains(&stream.burst), place, &|| "burst must be 1 to 10000".to_owned());
        no((0.0..=10.0).contains(&stream.length_spread), place, &|| {
            "length_spread must be 0 to 10".to_owned()
        });
        no(
            stream.length_min <= stream.length_max && stream.length_min >= Span::ZERO,
            place,
            &|| "length_min must be at least 0s and at most length_max".to_owned(),
        );
        let weights: u64 = stream.mix.iter().map(|kind| u64::from(kind.weight)).sum();
        no(stream.mix.is_empty() || weights > 0, place, &|| "mix: set a weight above 0".to_owned());
        no(stream.mix.iter().all(|kind| are_gpus(kind.gpus)), place, &|| {
            "gpus must be 0 to 1000000".to_owned()
        });
        if let Some(hours) = stream.busy_hours {
            let fits =
                hours.from < hours.to && hours.to <= 24 && (1.0..=1e3).contains(&hours.factor);
            no(fits, place, &|| {
                "busy_hours: from must be below to, to at most 24, and factor 1 to 1000".to_owned()
            });
        }
    }
    if let Some(trace) = &spec.trace {
        no(known(&trace.into), SpecPath::Trace, &|| no_partition(&trace.into));
        no(trace.days > 0, SpecPath::Trace, &|| "days must be at least 1".to_owned());
        no((0.0..=1_000.0).contains(&trace.scale), SpecPath::Trace, &|| {
            format!("scale is {}: use 0 to 1000", trace.scale)
        });
    }
    for (i, fault) in spec.faults.iter().enumerate() {
        no(fault.at >= Span::ZERO && fault.lasts >= Span::ZERO, SpecPath::Fault(i), &|| {
            "at and for must be at least 0s".to_owned()
        });
        let needs_time = fault.kind.holds() && fault.lasts == Span::ZERO;
        no(!needs_time, SpecPath::Fault(i), &|| {
            format!("fault `{}` needs a duration: add `for`", fault.kind.name())
        });
        if let FaultKind::MetricsOutOfRange { percent, .. } = fault.kind {
            no(!(0..=100).contains(&percent), SpecPath::Fault(i), &|| {
                format!("percent is {percent}: use a value below 0 or above 100")
            });
        }
        if let FaultKind::MetricsGaps { every } = fault.kind {
            no(every >= 2, SpecPath::Fault(i), &|| {
                format!("every is {every}: use at least 2, or the fault `metrics-missing`")
            });
        }
        if let FaultKind::MetricsLate { by } = fault.kind {
            no(by >= Span::ZERO, SpecPath::Fault(i), &|| format!("by is {by}: use at least 0s"));
        }
    }
    found
}

fn are_gpus(gpus: f64) -> bool {
    (0.0..=1e6).contains(&gpus)
}
