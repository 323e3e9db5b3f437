//! Decoded requests and responses, in a form that is the same for both protocols; and
//! access to their members.

use trimtab_core::units::Time;

use super::failure::{Failure, FailureKind};

/// A decoded value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    /// Bytes that are not UTF-8.
    Blob,
    List(Vec<Self>),
    Map(Vec<(String, Self)>),
    Time(Time),
}

impl Value {
    pub(super) fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// The kind of the value, for messages.
    fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool(_) => "a boolean",
            Self::Int(_) => "an integer",
            Self::Float(_) => "a number",
            Self::Text(_) => "a string",
            Self::Blob => "bytes",
            Self::List(_) => "a list",
            Self::Map(_) => "a structure",
            Self::Time(_) => "a timestamp",
        }
    }
}

/// The latest time that is accepted, in seconds since the epoch: the year 5138.
const SECONDS_MAX: f64 = 1e11;

/// The time `seconds` after the epoch, rounded to milliseconds; `None` if out of range.
pub(super) fn time_of_seconds(seconds: f64) -> Option<Time> {
    (seconds.abs() <= SECONDS_MAX).then(|| Time((seconds * 1000.0).round() as i64))
}

/// The members of a structure, and its path in the request.
#[derive(Debug, Clone)]
pub(super) struct Members<'a> {
    path: String,
    members: &'a [(String, Value)],
}

impl<'a> Members<'a> {
    /// The members of the request itself.
    pub(super) fn of(request: &'a Value) -> Result<Self, Failure> {
        match request {
            Value::Map(members) => Ok(Self { path: String::new(), members }),
            Value::Null => Ok(Self { path: String::new(), members: &[] }),
            Value::Bool(_)
            | Value::Int(_)
            | Value::Float(_)
            | Value::Text(_)
            | Value::Blob
            | Value::List(_)
            | Value::Time(_) => {
                let what = format!("The request is {}, not a structure.", request.kind());
                Err(FailureKind::Serialization.because(what))
            }
        }
    }

    /// The full name of a member, as in CloudWatch's messages.
    pub(super) fn path(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    fn member(&self, name: &str) -> Option<&'a Value> {
        let found = self.members.iter().find(|(own, _)| own == name);
        found.map(|(_, value)| value).filter(|value| **value != Value::Null)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.member(name).is_some()
    }

    fn wrong(&self, name: &str, value: &Value, wanted: &str) -> Failure {
        let path = self.path(name);
        FailureKind::Serialization.because(format!("{path} is {}, not {wanted}.", value.kind()))
    }

    fn read<T>(
        &self,
        name: &str,
        wanted: &str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, Failure> {
        let Some(value) = self.member(name) else { return Ok(None) };
        read(value).map(Some).ok_or_else(|| self.wrong(name, value, wanted))
    }

    pub(super) fn text(&self, name: &str) -> Result<Option<&'a str>, Failure> {
        self.read(name, "a string", |value| {
            if let Value::Text(text) = value { Some(text.as_str()) } else { None }
        })
    }

    pub(super) fn boolean(&self, name: &str) -> Result<Option<bool>, Failure> {
        self.read(
            name,
            "a boolean",
            |value| {
                if let Value::Bool(is) = value { Some(*is) } else { None }
            },
        )
    }

    /// An integer of 32 bits, as all integers of CloudWatch are. A float without a fraction is
    /// accepted.
    pub(super) fn integer(&self, name: &str) -> Result<Option<i64>, Failure> {
        self.read(name, "an integer of 32 bits", |value| match value {
            Value::Int(number) => i32::try_from(*number).ok().map(i64::from),
            Value::Float(number) if number.fract() == 0.0 && number.abs() < 2e9 => {
                Some(*number as i64)
            }
            Value::Null
            | Value::Bool(_)
            | Value::Float(_)
            | Value::Text(_)
            | Value::Blob
            | Value::List(_)
            | Value::Map(_)
            | Value::Time(_) => None,
        })
    }

    pub(super) fn float(&self, name: &str) -> Result<Option<f64>, Failure> {
        self.read(name, "a number", float)
    }

    pub(super) fn floats(&self, name: &str) -> Result<Option<Vec<f64>>, Failure> {
        self.read(name, "a list of numbers", |value| {
            if let Value::List(list) = value { list.iter().map(float).collect() } else { None }
        })
    }

    /// A timestamp. In JSON it is a number of seconds.
    pub(super) fn time(&self, name: &str) -> Result<Option<Time>, Failure> {
        self.read(name, "a timestamp in seconds since the epoch", |value| match value {
            Value::Time(time) => Some(*time),
            Value::Int(seconds) => time_of_seconds(*seconds as f64),
            Value::Float(seconds) => time_of_seconds(*seconds),
            Value::Null
            | Value::Bool(_)
            | Value::Text(_)
            | Value::Blob
            | Value::List(_)
            | Value::Map(_) => None,
        })
    }

    pub(super) fn structure(&self, name: &str) -> Result<Option<Members<'a>>, Failure> {
        let path = self.path(name);
        self.read(name, "a structure", |value| {
            if let Value::Map(members) = value { Some(Members { path, members }) } else { None }
        })
    }

    /// A list of structures; empty if the member is missing.
    pub(super) fn structures(&self, name: &str) -> Result<Vec<Members<'a>>, Failure> {
        let path = self.path(name);
        let item = |(n, value): (usize, &'a Value)| {
            let path = format!("{path}.member.{}", n + 1);
            if let Value::Map(members) = value { Some(Members { path, members }) } else { None }
        };
        let list = self.read(name, "a list of structures", |value| {
            if let Value::List(list) = value {
                list.iter().enumerate().map(item).collect::<Option<Vec<_>>>()
            } else {
                None
            }
        })?;
        Ok(list.unwrap_or_default())
    }
}

/// Reads an integer, a float, or the text of a float that JSON numbers cannot express.
fn float(value: &Value) -> Option<f64> {
    match value {
        Value::Int(number) => Some(*number as f64),
        Value::Float(number) => Some(*number),
        // JSON has no numbers for these.
        Value::Text(text) if text == "NaN" => Some(f64::NAN),
        Value::Text(text) if text == "Infinity" => Some(f64::INFINITY),
        Value::Text(text) if text == "-Infinity" => Some(f64::NEG_INFINITY),
        Value::Null
        | Value::Bool(_)
        | Value::Text(_)
        | Value::Blob
        | Value::List(_)
        | Value::Map(_)
        | Value::Time(_) => None,
    }
}
