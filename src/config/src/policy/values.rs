//! Parses single values, without regard to other keys.
//!
//! Values are not converted: a count is a whole number, a duration is a text with a unit, a
//! share of the size is a text with a percent sign. `min_nodes = "8"` may be a mistake, so it
//! is refused.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde_json::json;
use trimtab_core::ids::{ClusterName, GroupName, InstanceId, ParseIdError, PartitionName};
use trimtab_core::join::{BadNaming, NodeNaming};
use trimtab_core::policy::{
    Amount, EvidenceSource, Factor, GroupCalls, NodeLocalData, Prefer, TimerChoice,
};
use trimtab_core::reads::Capacity;
use trimtab_core::units::{NodeCount, ParseSpanError, Share, Span, SpanFault, Usd, UsdPerHour};

use super::presets::Preset;
use super::rest_address::RestAddress;
use super::schedule::Schedule;
use super::settings::{AccountId, EndpointUrl, LogLevel, Mode, Region, RoleArn};
use super::signals::Measure;
use crate::language::document::Value;
use crate::language::read::{Refusal, Scalar};
use crate::language::suggest;

/// Longest duration. It keeps sums far from overflow.
const LONGEST: Span = Span::hours(366 * 24);

/// Problem of a duration longer than [`LONGEST`].
const TOO_LONG: &str = "is longer than a year";

/// Largest amount of money, in dollars: more than any boot costs.
const MOST_DOLLARS: f64 = 1_000_000.0;

/// Pattern of a duration for editors: each unit once, largest first.
const DURATION_PATTERN: &str = "^([0-9]+d( ?[0-9]+h)?( ?[0-9]+m)?( ?[0-9]+s)?\
    |[0-9]+h( ?[0-9]+m)?( ?[0-9]+s)?|[0-9]+m( ?[0-9]+s)?|[0-9]+s)$";

pub(crate) fn text<'a>(value: &'a Value, wanted: &str, example: &str) -> Result<&'a str, Refusal> {
    match value {
        Value::Text(text) => Ok(text),
        Value::Integer(_)
        | Value::HugeInteger
        | Value::Float(_)
        | Value::Boolean(_)
        | Value::Datetime
        | Value::List(_)
        | Value::Table(_) => {
            Err(Refusal::kind(value, wanted, format!("write a text in quotes, such as {example}")))
        }
    }
}

/// A text without further rules.
impl Scalar for String {
    fn parse(value: &Value) -> Result<Self, Refusal> {
        text(value, "a text", "\"mon-fri\"").map(str::to_owned)
    }

    fn schema() -> serde_json::Value {
        json!({ "type": "string" })
    }
}

impl Scalar for bool {
    fn parse(value: &Value) -> Result<Self, Refusal> {
        if let Value::Boolean(answer) = value {
            return Ok(*answer);
        }
        Err(Refusal::kind(value, "true or false", "write true or false, without quotes"))
    }

    fn schema() -> serde_json::Value {
        json!({ "type": "boolean" })
    }
}

impl Scalar for u32 {
    fn parse(value: &Value) -> Result<Self, Refusal> {
        let wanted = "a whole number";
        match value {
            Value::Integer(number) if *number < 0 => {
                Err(Refusal::new("is less than 0", "write 0 or more"))
            }
            Value::Integer(number) => Self::try_from(*number).map_err(|_| too_large()),
            Value::HugeInteger => Err(too_large()),
            Value::Text(text) => {
                let instead = match text.trim().parse::<Self>() {
                    Ok(number) => format!("write {number}, without quotes"),
                    Err(_) => "write a whole number, such as 8".to_owned(),
                };
                Err(Refusal::kind(value, wanted, instead))
            }
            Value::Float(number) => Err(Refusal::kind(value, wanted, whole_neighbours(*number))),
            Value::Boolean(_) | Value::Datetime | Value::List(_) | Value::Table(_) => {
                Err(Refusal::kind(value, wanted, "write a whole number, such as 8"))
            }
        }
    }

    fn schema() -> serde_json::Value {
        json!({ "type": "integer", "minimum": 0, "maximum": u32::MAX })
    }
}

fn too_large() -> Refusal {
    Refusal::new("is too large", format!("write at most {}", u32::MAX))
}

fn whole_neighbours(number: f64) -> String {
    let in_range = (0.0..1e9).contains(&number);
    match (number.floor(), number.ceil()) {
        (below, above) if in_range && below == above => format!("write {below}"),
        (below, above) if in_range => format!("write {below} or {above}"),
        _ => "write a whole number, such as 8".to_owned(),
    }
}

impl Scalar for NodeCount {
    fn parse(value: &Value) -> Result<Self, Refusal> {
        u32::parse(value).map(Self)
    }

    fn schema() -> serde_json::Value {
        <u32 as Scalar>::schema()
    }
}

/// A number of nodes, or a share of the declared size.
impl Scalar for Amount {
    fn parse(value: &Value) -> Result<Self, Refusal> {
        let instead = "write a number of nodes, such as 8, or a share of the size, such as \"25%\"";
        let Value::Text(text) = value else {
            return NodeCount::parse(value)
                .map(Self::Nodes)
                .map_err(|refusal| Refusal { instead: instead.to_owned(), ..refusal });
        };
        let Some(percent) = text.strip_suffix('%') else {
            return Err(match text.trim().parse::<u32>() {
                Ok(number) => Refusal::new(
                    "is a text without a percent sign",
                    format!("write {number} for nodes, or \"{number}%\" for a share of the size"),
                ),
                Err(_) => Refusal::new("is neither a number of nodes nor a share", instead),
            });
        };
        let plain = percent.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        let number = percent.parse().ok().filter(|_| plain);
        let number =
            number.ok_or_else(|| Refusal::new("has no number before the percent sign", instead))?;
        share(number).map(Self::ShareOfSize)
    }

    fn schema() -> serde_json::Value {
        json!({ "oneOf": [
            <u32 as Scalar>::schema(),
            { "type": "string", "pattern": r"^[0-9]+(\.[0-9]{1,2})?%$" },
        ] })
    }
}

fn share(percent: f64) -> Result<Share, Refusal> {
    let share = Share::try_from_percent(percent)
        .ok_or_else(|| Refusal::new("is not between 0 and 100 percent", "write 0 to 100"))?;
    if has_more_digits_than(percent, 100.0) {
        let instead = format!("write {}", (percent * 100.0).round() / 100.0);
        return Err(Refusal::new("has more than two digits after the point", instead));
    }
    Ok(share)
}

/// Whether rounding to `1 / parts` would change the number.
fn has_more_digits_than(number: f64, parts: f64) -> bool {
    ((number * parts).round() - number * parts).abs() > 1e-6
}

/// Returns a finite number, whole or not.
pub(crate) fn number(value: &Value, example: &str) -> Result<f64, Refusal> {
    let instead = format!("write a number, such as {example}");
    match value {
        // Above 2^53 the conversion is inexact, but every range here ends below that.
        Value::Integer(number) => Ok(*number as f64),
        Value::Float(number) if number.is_finite() => Ok(*number),
        Value::Float(_) => Err(Refusal::new("is not a finite number", instead)),
        Value::HugeInteger => Err(Refusal::new("is too large", instead)),
        Value::Text(_) | Value::Boolean(_) | Value::Datetime | Value::List(_) | Value::Table(_) => {
            Err(Refusal::kind(value, "a number", instead))
        }
    }
}

/// Percent, for keys that end in `percent`.
impl Scalar for Share {
    fn parse(value: &Value) -> Result<Self, Refusal> {
        share(number(value, "25, for 25 percent")?)
    }

    fn schema() -> serde_json::Value {
        json!({ "type": "number", "minimum": 0, "maximum": 100 })
    }
}

impl Scalar for Usd {
    fn parse(value: &Value) -> Result<Self, Refusal> {
        let dollars = number(value, "12.50")?;
        if !(0.0..=MOST_DOLLARS).contains(&dollars) {
            let what = format!("is not between 0 and {MOST_DOLLARS} dollars");
            return Err(Refusal::new(what, "write dollars, such as 12.50"));
        }
        Ok(Self::from_dollars(dollars))
    }

    fn schema() -> serde_json::Value {
        json!({ "type": "number", "minimum": 0, "maximum": MOST_DOLLARS })
    }
}

impl Scalar for UsdPerHour {
    fn parse(value: &Value) -> Result<Self, Refusal> {
        let instead = "write the price of one node in dollars an hour, such as 3.06";
        Self::try_from_dollars(number(value, "3.06")?)
            .ok_or_else(|| Refusal::new("is not between 0 and 10000 dollars an hour", instead))
    }

    fn schema() -> serde_json::Value {
        json!({ "type": "number", "minimum": 0, "maximum": 10_000 })
    }
}

impl Scalar for Factor {
    fn parse(value: &Value) -> Result<Self, Refusal> {
        let factor = number(value, "1.5")?;
        if has_more_digits_than(factor, 10.0) {
            let what = "has more than one digit after the point";
            return Err(Refusal::new(what, "write it in tenths, such as 1.5"));
        }
        Self::try_from_factor(factor)
            .ok_or_else(|| Refusal::new("is not between 0 and 100", "write a factor, such as 1.5"))
    }

    fn schema() -> serde_json::Value {
        json!({ "type": "number", "minimum": 0, "maximum": 100 })
    }
}

impl Scalar for Span {
    fn parse(value: &Value) -> Result<Self, Refusal> {
        let text = match value {
            Value::Text(text) => text,
            Value::Integer(n) => {
                let instead = format!("write a number with a unit: \"{n}s\", \"{n}m\" or \"{n}h\"");
                return Err(Refusal::new("is a number without a unit", instead));
            }
            Value::HugeInteger
            | Value::Float(_)
            | Value::Boolean(_)
            | Value::Datetime
            | Value::List(_)
            | Value::Table(_) => {
                let instead = "write a text such as \"45m\", \"1h 30m\" or \"90s\"";
                return Err(Refusal::kind(value, "a duration", instead));
            }
        };
        duration(text).map_err(|what| {
            Refusal::new(
                what,
                "write whole numbers with units d, h, m, s, largest first: \"45m\", \"1h 30m\"",
            )
        })
    }

    fn schema() -> serde_json::Value {
        json!({ "type": "string", "pattern": DURATION_PATTERN })
    }
}

fn duration(text: &str) -> Result<Span, &'static str> {
    let span: Span = text.parse().map_err(|why: ParseSpanError| match why.fault {
        SpanFault::Empty => "is empty, not a duration",
        SpanFault::NoUnit => "is a number without a unit",
        SpanFault::UnitOrder => "has units that are not in the order d, h, m, s",
        SpanFault::Malformed => "is not a duration",
        SpanFault::TooLong => TOO_LONG,
    })?;
    if span > LONGEST { Err(TOO_LONG) } else { Ok(span) }
}

impl Scalar for TimerChoice {
    fn parse(value: &Value) -> Result<Self, Refusal> {
        if let Value::Text(text) = value {
            match text.as_str() {
                "learned" => return Ok(Self::Learned),
                "break-even" => return Ok(Self::BreakEven),
                _ => {}
            }
        }
        Span::parse(value).map(Self::Fixed).map_err(|refusal| Refusal {
            instead: "write \"learned\", \"break-even\", or a duration such as \"20m\"".to_owned(),
            ..refusal
        })
    }

    fn schema() -> serde_json::Value {
        json!({ "oneOf": [
            { "enum": ["learned", "break-even"] },
            <Span as Scalar>::schema(),
        ] })
    }
}

impl Scalar for Schedule {
    fn parse(value: &Value) -> Result<Self, Refusal> {
        let text = text(value, "a schedule", "\"0 */2 * * * *\"")?;
        let instead = "write six cron fields in UTC, such as \"0 */2 * * * *\" for every two \
                       minutes; numbers, names, `*`, ranges, lists and steps are allowed";
        Self::parse(text).map_err(|what| Refusal::new(what, instead))
    }

    fn schema() -> serde_json::Value {
        json!({ "type": "string", "pattern": r"^\s*(\S+\s+){5}\S+\s*$" })
    }
}

/// An absolute path, which is the same file for the daemon and for every command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AbsolutePath(pub(crate) PathBuf);

impl Scalar for AbsolutePath {
    fn parse(value: &Value) -> Result<Self, Refusal> {
        let path = Path::new(text(value, "a path", "\"/var/lib/trimtab/trimtab.db\"")?);
        if !path.is_absolute() {
            let what = "is not an absolute path, so its file would depend on the directory in \
                        which trimtab starts";
            return Err(Refusal::new(what, "write the absolute path, starting with `/`"));
        }
        Ok(Self(path.to_owned()))
    }

    fn schema() -> serde_json::Value {
        json!({ "type": "string", "pattern": "^/" })
    }
}

impl Scalar for NodeNaming {
    fn parse(value: &Value) -> Result<Self, Refusal> {
        let text = text(value, "a pattern for node names", "\"{group}-{ip}\"")?;
        let instead = "write how nodes are named in Slurm, with {dns}, {ip}, {instance_id} or \
                       {group} for the part that differs";
        text.parse().map_err(|what: BadNaming| {
            Refusal::new(format!("is not a valid pattern for node names: {what}"), instead)
        })
    }

    fn schema() -> serde_json::Value {
        json!({ "type": "string", "pattern": r"\{(dns|ip|instance_id)\}" })
    }
}

/// Values parsed from a text by `FromStr`.
macro_rules! parsed {
    ($($type:ty, $wanted:literal, $example:literal, $pattern:literal, $instead:literal;)+) => {$(
        impl Scalar for $type {
            fn parse(value: &Value) -> Result<Self, Refusal> {
                let text = text(value, $wanted, $example)?;
                Self::from_str(text).map_err(|ParseIdError { wanted, .. }| {
                    Refusal::new(format!("is not {wanted}"), $instead)
                })
            }

            fn schema() -> serde_json::Value {
                json!({ "type": "string", "pattern": $pattern })
            }
        }
    )+};
}
parsed! {
    ClusterName, "a cluster's name", "\"research\"",
        "^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$", "write it as SageMaker shows it";
    GroupName, "a group's name", "\"workers\"",
        "^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$", "write it as SageMaker shows it";
    PartitionName, "a partition's name", "\"gpu\"",
        "^[A-Za-z0-9._-]{1,256}$", "write it as `sinfo` shows it";
    InstanceId, "an instance id", "\"i-0123456789abcdef0\"",
        "^i-([0-9a-f]{8}|[0-9a-f]{17})$", "write it as SageMaker shows it";
    Region, "a region", "\"us-west-2\"",
        "^[a-z]{2,4}(-[a-z]+)+-[0-9]{1,2}$", "write its code, such as \"us-west-2\"";
    AccountId, "an account id", "\"123456789012\"",
        "^[0-9]{12}$", "write all 12 digits, in quotes";
    RoleArn, "a role's ARN", "\"arn:aws:iam::123456789012:role/trimtab\"",
        "^arn:aws[a-z-]*:iam::[0-9]{12}:role/[A-Za-z0-9+=,.@_/-]+$",
        "write it as `arn:aws:iam::ACCOUNT:role/NAME`";
    EndpointUrl, "a URL", "\"http://127.0.0.1:4010\"",
        "^https?://[^/]+/?$",
        "write only scheme, host and port; `http` is accepted only for this machine";
    RestAddress, "where slurmrestd is", "\"unix:/run/slurmrestd/slurmrestd.socket\"",
        "^(unix:/.+|https?://[^/@]+:[0-9]+/?)$",
        "write unix:/PATH/OF/THE/SOCKET or https://HOST:PORT; http is accepted only for this \
         machine (http://127.0.0.1:PORT), because it does not encrypt the token";
    InstanceType, "an instance type", "\"ml.g5.12xlarge\"",
        r"^ml\.[a-z0-9-]+\.[a-z0-9-]+$", "write it as SageMaker shows it";
    LogLevel, "a log level", "\"info\"",
        "^[A-Za-z0-9_:=,-]+$",
        "write error, warn, info, debug or trace, with optional levels of single modules: \
         \"info,trimtab_daemon=debug\"";
}

/// An instance type of SageMaker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct InstanceType(String);

impl InstanceType {
    /// Whether a deleted node of this type may not be available again: the families p4, p5, p6
    /// and trn are sold out for weeks at a time.
    pub(crate) fn is_scarce(&self) -> bool {
        ["ml.p4", "ml.p5", "ml.p6", "ml.trn"].iter().any(|family| self.0.starts_with(family))
    }
}

impl FromStr for InstanceType {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_word = |word: &str| {
            !word.is_empty()
                && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        };
        match text.split('.').collect::<Vec<_>>().as_slice() {
            ["ml", family, size] if is_word(family) && is_word(size) => Ok(Self(text.to_owned())),
            _ => Err(ParseIdError {
                text: text.to_owned(),
                wanted: "an instance type, such as `ml.g5.12xlarge`",
            }),
        }
    }
}

impl fmt::Display for InstanceType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Value of `regain`. The accepted risk is a separate key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RegainWord {
    Plentiful,
    Scarce,
}

/// Kind of scheduler in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SchedulerKind {
    Slurm,
    Kubernetes,
    Simulated,
    None,
}

/// Kind of metrics source in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SourceKind {
    Cloudwatch,
    Simulated,
}

/// Values that are one of a few words. A word under `not yet` is parsed, so that it can be
/// refused with a better reason, but no message or schema suggests it.
macro_rules! words {
    ($($type:ty {
        $($word:literal => $value:expr,)+
        $(not yet { $later:literal => $later_value:expr, })?
    })+) => {$(
        impl Scalar for $type {
            fn parse(value: &Value) -> Result<Self, Refusal> {
                let all = [$($word),+];
                let choice = choice(&all);
                match text(value, "a word", all.first().copied().unwrap_or_default()) {
                    $(Ok($word) => Ok($value),)+
                    $(Ok($later) => Ok($later_value),)?
                    Ok(other) => {
                        let what = match suggest::nearest(other, all) {
                            Some(near) => format!("is not a known value; did you mean \"{near}\"?"),
                            None => "is not a known value".to_owned(),
                        };
                        Err(Refusal::new(what, choice))
                    }
                    Err(refusal) => Err(Refusal { instead: choice, ..refusal }),
                }
            }

            fn schema() -> serde_json::Value {
                json!({ "enum": [$($word),+] })
            }
        }
    )+};
}
words! {
    Mode { "observe" => Self::Observe, "enforce" => Self::Enforce, }
    Capacity {
        "on-demand" => Self::OnDemand,
        "spot" => Self::Spot,
        "training-plan" => Self::TrainingPlan,
        "reserved" => Self::Reserved,
    }
    RegainWord { "plentiful" => Self::Plentiful, "scarce" => Self::Scarce, }
    NodeLocalData { "disposable" => Self::Disposable, "gate" => Self::Gate, }
    Prefer { "oldest" => Self::Oldest, "newest" => Self::Newest, }
    EvidenceSource { "scheduler" => Self::Scheduler, "metrics-only" => Self::MetricsOnly, }
    SchedulerKind {
        "slurm" => Self::Slurm,
        "simulated" => Self::Simulated,
        "none" => Self::None,
        not yet { "kubernetes" => Self::Kubernetes, }
    }
    SourceKind { "cloudwatch" => Self::Cloudwatch, "simulated" => Self::Simulated, }
    Preset {
        "cwagent-nvidia" => Self::CwagentNvidia,
        "cwagent-cpu" => Self::CwagentCpu,
        "container-insights-nvidia" => Self::ContainerInsightsNvidia,
        "container-insights-cpu" => Self::ContainerInsightsCpu,
        "container-insights-neuron" => Self::ContainerInsightsNeuron,
    }
    Measure { "utilization" => Self::Utilization, "memory" => Self::Memory, }
    GroupCalls {
        "never" => Self::Never,
        "to-zero" => Self::ToZero,
        "whole-group" => Self::WholeGroup,
    }
}

/// Returns `write "a", "b" or "c"`.
fn choice(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
    match quoted.split_last() {
        Some((last, [])) => format!("write {last}"),
        Some((last, others)) => format!("write {} or {last}", others.join(", ")),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_at_most_a_year() {
        assert_eq!(duration("366d"), Ok(Span::hours(366 * 24)));
        for text in ["366d 1s", "4294967296s", "99999999999999999999d"] {
            assert_eq!(duration(text), Err("is longer than a year"), "{text}");
        }
    }

    #[test]
    fn amounts_are_nodes_or_percent_texts() {
        let parse = |text: &str| Amount::parse(&Value::Text(text.to_owned()));
        let quarter = Share::try_from_percent(25.0).expect("in range");
        assert_eq!(parse("25%"), Ok(Amount::ShareOfSize(quarter)));
        assert_eq!(parse("100%"), Ok(Amount::ShareOfSize(Share::ALL)));
        assert_eq!(Amount::parse(&Value::Integer(8)), Ok(Amount::Nodes(NodeCount(8))));
        for text in ["25", "101%", "-1%", "%", "25 %", "1e1%", "nan%", "inf%", "33.333%", "half"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
