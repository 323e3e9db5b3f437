//! The model's constraints on names, dimensions and units, which all operations share. Each
//! operation reports a violation with its own error code.

use super::failure::{Failure, FailureKind};
use super::store::SeriesKey;
use super::value::Members;

/// Maximum length of a namespace, metric name or dimension name, in characters.
const NAME_MAX: usize = 255;
/// Maximum length of a dimension value, in characters.
const DIMENSION_VALUE_MAX: usize = 1024;
/// Maximum number of dimensions of a metric.
pub(super) const DIMENSIONS_MAX: usize = 30;

/// The units of CloudWatch.
const UNITS: [&str; 27] = [
    "Seconds",
    "Microseconds",
    "Milliseconds",
    "Bytes",
    "Kilobytes",
    "Megabytes",
    "Gigabytes",
    "Terabytes",
    "Bits",
    "Kilobits",
    "Megabits",
    "Gigabits",
    "Terabits",
    "Percent",
    "Count",
    "Bytes/Second",
    "Kilobytes/Second",
    "Megabytes/Second",
    "Gigabytes/Second",
    "Terabytes/Second",
    "Bits/Second",
    "Kilobits/Second",
    "Megabits/Second",
    "Gigabits/Second",
    "Terabits/Second",
    "Count/Second",
    "None",
];

/// The unit of data without a Unit member.
pub(super) const NO_UNIT: &str = "None";

/// The constraints, with the error codes of one operation.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    /// The error for a value that is not allowed.
    pub(super) wrong: FailureKind,
    /// The error for a missing value.
    pub(super) missing: FailureKind,
}

impl Rules {
    pub(super) fn required<T>(
        self,
        members: &Members<'_>,
        name: &str,
        value: Option<T>,
    ) -> Result<T, Failure> {
        value.ok_or_else(|| {
            self.missing.because(format!("The parameter {} is required.", members.path(name)))
        })
    }

    /// Reads a text of 1 to `max` characters; `None` if the member is missing.
    fn text<'a>(
        self,
        members: &Members<'a>,
        name: &str,
        max: usize,
    ) -> Result<Option<&'a str>, Failure> {
        let Some(text) = members.text(name)? else { return Ok(None) };
        let path = members.path(name);
        let chars = text.chars().count();
        if chars == 0 {
            let what = format!("The parameter {path} must have a length of at least 1.");
            return Err(self.wrong.because(what));
        }
        if chars > max {
            let what = format!("The parameter {path} has {chars} characters; the limit is {max}.");
            return Err(self.wrong.because(what));
        }
        Ok(Some(text))
    }

    pub(super) fn name<'a>(
        self,
        members: &Members<'a>,
        name: &str,
    ) -> Result<Option<&'a str>, Failure> {
        self.text(members, name, NAME_MAX)
    }

    pub(super) fn namespace<'a>(self, members: &Members<'a>) -> Result<Option<&'a str>, Failure> {
        let namespace = self.name(members, "Namespace")?;
        match namespace {
            Some(text) if text.starts_with(':') => {
                let path = members.path("Namespace");
                Err(self
                    .wrong
                    .because(format!("The value {text} for parameter {path} is invalid.")))
            }
            Some(_) | None => Ok(namespace),
        }
    }

    /// Reads the value of a dimension; `None` if it is missing.
    pub(super) fn dimension_value<'a>(
        self,
        members: &Members<'a>,
    ) -> Result<Option<&'a str>, Failure> {
        self.text(members, "Value", DIMENSION_VALUE_MAX)
    }

    /// Reads the dimensions and sorts them by name. A name may appear only once.
    pub(super) fn dimensions(
        self,
        members: &Members<'_>,
    ) -> Result<Vec<(String, String)>, Failure> {
        let list = members.structures("Dimensions")?;
        self.size(members, "Dimensions", list.len(), DIMENSIONS_MAX)?;
        let mut dimensions = vec![];
        for one in &list {
            let name = self.required(one, "Name", self.name(one, "Name")?)?;
            let value = self.required(one, "Value", self.dimension_value(one)?)?;
            dimensions.push((name.to_owned(), value.to_owned()));
        }
        dimensions.sort();
        if let Some([(name, _), _]) = dimensions.array_windows().find(|[a, b]| a.0 == b.0) {
            let path = members.path("Dimensions");
            let what = format!("The dimension {name} appears twice in {path}.");
            return Err(self.wrong.because(what));
        }
        Ok(dimensions)
    }

    /// Reads the key of a series. MetricName is required.
    pub(super) fn key(self, namespace: &str, members: &Members<'_>) -> Result<SeriesKey, Failure> {
        let metric = self.required(members, "MetricName", self.name(members, "MetricName")?)?;
        Ok(SeriesKey {
            namespace: namespace.to_owned(),
            metric: metric.to_owned(),
            dimensions: self.dimensions(members)?,
        })
    }

    pub(super) fn unit<'a>(self, members: &Members<'a>) -> Result<Option<&'a str>, Failure> {
        let unit = members.text("Unit")?;
        match unit {
            Some(text) if !UNITS.contains(&text) => {
                let path = members.path("Unit");
                let units = UNITS.join(", ");
                let what = format!("The parameter {path} must be a value in the set [ {units} ].");
                Err(self.wrong.because(what))
            }
            Some(_) | None => Ok(unit),
        }
    }

    /// Fails if a collection has more than `max` items.
    pub(super) fn size(
        self,
        members: &Members<'_>,
        name: &str,
        size: usize,
        max: usize,
    ) -> Result<(), Failure> {
        if size <= max {
            return Ok(());
        }
        let path = members.path(name);
        let what = format!("The collection {path} must not have a size greater than {max}.");
        Err(self.wrong.because(what))
    }
}
