//! Parses the values of a metric that the operator describes, by the limits of CloudWatch.

use std::collections::BTreeMap;

use serde_json::json;

use super::signals::DimensionPattern;
use super::values::{number, text};
use crate::language::document::Value;
use crate::language::entry::{Findings, Spot};
use crate::language::read::{Read, Refusal, Scalar};
use crate::language::suggest;

/// Limits of CloudWatch for a name and for the value of a dimension, in bytes.
const LONGEST_NAME: usize = 255;
const LONGEST_DIMENSION: usize = 1024;

/// Limit of CloudWatch for the dimensions of a series.
const MOST_DIMENSIONS: usize = 30;

/// Largest full scale: a petabyte in bytes, more than the memory of any node.
const MOST_FULL_SCALE: f64 = 1e15;

/// Placeholders in the text of a dimension.
const PLACEHOLDERS: [&str; 4] = ["instance_id", "node", "cluster", "group"];

/// Declares a name with the rules of CloudWatch.
macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $wanted:literal, $example:literal, $pattern:literal,
     $is_valid:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub(crate) struct $type(pub(crate) String);

        impl Scalar for $type {
            fn parse(value: &Value) -> Result<Self, Refusal> {
                let text = text(value, $wanted, $example)?;
                let is_valid: fn(&str) -> bool = $is_valid;
                if is_valid(text) && (1..=LONGEST_NAME).contains(&text.len()) {
                    return Ok(Self(text.to_owned()));
                }
                let instead = concat!("write it as CloudWatch shows it, such as ", $example);
                Err(Refusal::new(concat!("is not ", $wanted), instead))
            }

            fn schema() -> serde_json::Value {
                json!({ "type": "string", "pattern": $pattern })
            }
        }
    };
}
name!(
    /// A namespace.
    Namespace, "a namespace", "\"CWAgent\"", "^[A-Za-z0-9._/# -][A-Za-z0-9._/#: -]*$",
    |text| !text.starts_with(':') && text.bytes().all(|b| {
        b.is_ascii_alphanumeric() || b"._/#: -".contains(&b)
    })
);
name!(
    /// A metric's name.
    MetricName, "a metric's name", "\"nvidia_smi_utilization_gpu\"", "^[ -~]+$",
    |text| text.bytes().all(|b| b == b' ' || b.is_ascii_graphic())
);
name!(
    /// A dimension's name.
    DimensionName, "a dimension's name", "\"index\"", "^[!-9;-~][!-~]*$",
    |text| !text.starts_with(':') && text.bytes().all(|b| b.is_ascii_graphic())
);

/// Value of a metric at full use.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct FullScaleValue(pub(crate) f64);

impl Scalar for FullScaleValue {
    fn parse(value: &Value) -> Result<Self, Refusal> {
        let number = number(value, "100")?;
        if number > 0.0 && number <= MOST_FULL_SCALE {
            return Ok(Self(number));
        }
        let instead = "write the metric's value at full use: 100 for percent, 1 for a fraction";
        Err(Refusal::new(format!("is not between 0 and {MOST_FULL_SCALE:e}"), instead))
    }

    fn schema() -> serde_json::Value {
        json!({ "type": "number", "exclusiveMinimum": 0, "maximum": MOST_FULL_SCALE })
    }
}

/// Dimensions by name, each with its place.
#[derive(Debug, Clone)]
pub(crate) struct Dimensions(pub(crate) BTreeMap<String, (Spot, DimensionPattern)>);

impl Dimensions {
    /// Returns the place of a dimension whose text has this placeholder.
    pub(crate) fn use_of(&self, placeholder: &str) -> Option<&Spot> {
        let braced = format!("{{{placeholder}}}");
        self.0.values().find_map(|(spot, pattern)| match pattern {
            DimensionPattern::Text(text) => text.contains(&braced).then_some(spot),
            DimensionPattern::Any => None,
        })
    }
}

impl Read for Dimensions {
    fn read(
        node: &crate::language::document::Node,
        spot: Spot,
        findings: &mut Findings,
    ) -> Option<Self> {
        let example = "write dimensions = { InstanceId = \"{instance_id}\", index = \"*\" }";
        let Value::Table(entries) = &node.value else {
            let Refusal { what, instead } = Refusal::kind(&node.value, "a table", example);
            findings.problems.push(spot.problem(what, instead));
            return None;
        };
        let mut dimensions = BTreeMap::new();
        for (name, written) in entries {
            let spot = spot.child(name, &written.key, Some(&written.node));
            let name_given = DimensionName::parse(&Value::Text(name.clone()));
            match name_given.and_then(|_| pattern(&written.node.value)) {
                Ok(pattern) => {
                    dimensions.insert(name.clone(), (spot, pattern));
                }
                Err(Refusal { what, instead }) => {
                    findings.problems.push(spot.problem(what, instead));
                }
            }
        }
        if entries.len() > MOST_DIMENSIONS {
            let what =
                format!("has more than {MOST_DIMENSIONS} dimensions, the limit of CloudWatch");
            findings.problems.push(spot.problem(
                what,
                "write only the dimensions that identify a \
                                                       series",
            ));
            return None;
        }
        (dimensions.len() == entries.len()).then_some(Self(dimensions))
    }

    fn schema() -> serde_json::Value {
        json!({
            "type": "object",
            "additionalProperties": { "type": "string", "minLength": 1 },
            "maxProperties": MOST_DIMENSIONS,
        })
    }
}

fn pattern(value: &Value) -> Result<DimensionPattern, Refusal> {
    let example = "\"{instance_id}\"";
    let text = text(value, "a dimension's text", example)?;
    if text == "*" {
        return Ok(DimensionPattern::Any);
    }
    let plain = text.bytes().all(|b| b == b' ' || b.is_ascii_graphic());
    if !plain || !(1..=LONGEST_DIMENSION).contains(&text.len()) {
        let what = format!("is not 1 to {LONGEST_DIMENSION} printable ASCII characters");
        return Err(Refusal::new(what, format!("write {example}, or \"*\" for anything")));
    }
    if text.contains('*') {
        let what = "contains `*`, which matches anything only if it is the whole text";
        return Err(Refusal::new(what, "write \"*\", or the whole text"));
    }
    let all = PLACEHOLDERS.map(|name| format!("{{{name}}}")).join(", ");
    let mut rest = text;
    while let Some(brace) = rest.find(['{', '}']) {
        let inside = rest.get(brace..).and_then(|from| from.strip_prefix('{'));
        let Some((name, after)) = inside.and_then(|inside| inside.split_once('}')) else {
            return Err(Refusal::new("has an unmatched brace", format!("write {all}")));
        };
        if !PLACEHOLDERS.contains(&name) {
            let instead = match suggest::nearest(name, PLACEHOLDERS) {
                Some(near) => format!("did you mean {{{near}}}?"),
                None => format!("write one of {all}"),
            };
            return Err(Refusal::new("has an unknown placeholder", instead));
        }
        rest = after;
    }
    Ok(DimensionPattern::Text(text.to_owned()))
}
