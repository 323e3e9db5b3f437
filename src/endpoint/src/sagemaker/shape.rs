//! Constraints on the members of a request, and AWS's messages for violations.
//!
//! All constraints are checked before the operation runs, and one error reports all
//! violations: `2 validation errors detected: Value …`. A value of the wrong JSON type is a
//! `SerializationException`. Unknown members are ignored, as by the service.

use serde_json::{Map, Value};

use super::error::ApiError;

/// Constraints on a value.
pub(super) enum Shape {
    Text(Text),
    /// One of these words.
    Word(&'static [&'static str]),
    /// An integer; both bounds are inclusive.
    Whole {
        min: i64,
        max: i64,
    },
    /// `true` or `false`.
    Flag,
    /// Seconds since 1970, with or without a fraction.
    Timestamp,
    /// A list; `min` and `max` are numbers of items.
    List {
        min: usize,
        max: usize,
        of: &'static Shape,
    },
    /// A JSON object whose content is not checked.
    Map,
    Structure(&'static [Member]),
}

/// Constraints on a text.
pub(super) struct Text {
    /// Minimum length, in characters.
    pub(super) min: usize,
    /// Maximum length, in characters.
    pub(super) max: usize,
    /// `None` if any text is valid.
    pub(super) pattern: Option<Pattern>,
}

/// A regular expression as messages quote it, and a function that checks it.
pub(super) type Pattern = (&'static str, fn(&str) -> bool);

/// One member of a structure.
pub(super) struct Member {
    pub(super) name: &'static str,
    pub(super) required: bool,
    pub(super) shape: &'static Shape,
}

/// A required member.
pub(super) const fn must(name: &'static str, shape: &'static Shape) -> Member {
    Member { name, required: true, shape }
}

/// An optional member.
pub(super) const fn may(name: &'static str, shape: &'static Shape) -> Member {
    Member { name, required: false, shape }
}

/// Checks a complete request.
///
/// # Errors
/// One error that lists all violations.
pub(super) fn check(body: &Map<String, Value>, members: &[Member]) -> Result<(), ApiError> {
    let mut problems = vec![];
    check_members(body, members, "", &mut problems)?;
    if problems.is_empty() {
        return Ok(());
    }
    let (n, s) = (problems.len(), if problems.len() == 1 { "" } else { "s" });
    let all = problems.join("; ");
    Err(ApiError::validation(format!("{n} validation error{s} detected: {all}")))
}

fn check_members(
    body: &Map<String, Value>,
    members: &[Member],
    path: &str,
    problems: &mut Vec<String>,
) -> Result<(), ApiError> {
    for member in members {
        let path = format!("{path}{}", lower_first(member.name));
        match body.get(member.name) {
            None | Some(Value::Null) if member.required => {
                problems.push(failed("null", &path, "Member must not be null"));
            }
            None | Some(Value::Null) => {}
            Some(value) => check_value(value, member.shape, &path, problems)?,
        }
    }
    Ok(())
}

fn check_value(
    value: &Value,
    shape: &Shape,
    path: &str,
    problems: &mut Vec<String>,
) -> Result<(), ApiError> {
    let wrong_type = |wanted: &str| ApiError::serialization(path, value, wanted);
    match shape {
        Shape::Text(text) => {
            let said = value.as_str().ok_or_else(|| wrong_type("a string"))?;
            problems.extend(text.complaints(said).iter().map(|what| failed(said, path, what)));
        }
        Shape::Word(words) => {
            let said = value.as_str().ok_or_else(|| wrong_type("a string"))?;
            if !words.contains(&said) {
                let set = words.join(", ");
                let what = format!("Member must satisfy enum value set: [{set}]");
                problems.push(failed(said, path, &what));
            }
        }
        Shape::Whole { min, max } => {
            let said = value.as_i64().ok_or_else(|| wrong_type("an integer"))?;
            if said < *min {
                let what = format!("Member must have value greater than or equal to {min}");
                problems.push(failed(&said.to_string(), path, &what));
            }
            if said > *max {
                let what = format!("Member must have value less than or equal to {max}");
                problems.push(failed(&said.to_string(), path, &what));
            }
        }
        Shape::Flag => {
            value.as_bool().ok_or_else(|| wrong_type("a boolean"))?;
        }
        Shape::Timestamp => {
            value.as_f64().ok_or_else(|| wrong_type("a timestamp in seconds"))?;
        }
        Shape::Map => {
            value.as_object().ok_or_else(|| wrong_type("a map"))?;
        }
        Shape::List { min, max, of } => {
            let items = value.as_array().ok_or_else(|| wrong_type("a list"))?;
            check_list(items, *min..=*max, of, path, problems)?;
        }
        Shape::Structure(members) => {
            let body = value.as_object().ok_or_else(|| wrong_type("a structure"))?;
            check_members(body, members, &format!("{path}."), problems)?;
        }
    }
    Ok(())
}

fn check_list(
    items: &[Value],
    length: std::ops::RangeInclusive<usize>,
    of: &Shape,
    path: &str,
    problems: &mut Vec<String>,
) -> Result<(), ApiError> {
    let said = || {
        let texts = items.iter().map(|item| match item.as_str() {
            Some(text) => text.to_owned(),
            None => item.to_string(),
        });
        format!("[{}]", texts.collect::<Vec<_>>().join(", "))
    };
    if items.len() > *length.end() {
        let what = format!("Member must have length less than or equal to {}", length.end());
        problems.push(failed(&said(), path, &what));
    }
    if items.len() < *length.start() {
        let what = format!("Member must have length greater than or equal to {}", length.start());
        problems.push(failed(&said(), path, &what));
    }
    if let Shape::Text(text) = of {
        // The service reports the whole list and all constraints of its members.
        for item in items {
            let said = item.as_str();
            said.ok_or_else(|| ApiError::serialization(path, item, "a string"))?;
        }
        if items.iter().filter_map(Value::as_str).any(|item| !text.complaints(item).is_empty()) {
            let all = text.constraints().join(", ");
            let what = format!("Member must satisfy constraint: [{all}]");
            problems.push(failed(&said(), path, &what));
        }
        return Ok(());
    }
    for (n, item) in items.iter().enumerate() {
        check_value(item, of, &format!("{path}.{}.member", n + 1), problems)?;
    }
    Ok(())
}

impl Text {
    fn complaints(&self, said: &str) -> Vec<String> {
        let length = said.chars().count();
        let mut complaints = vec![];
        if length > self.max {
            complaints.push(self.too_long());
        }
        if length < self.min {
            complaints.push(self.too_short());
        }
        if let Some((pattern, fits)) = self.pattern
            && !fits(said)
        {
            complaints.push(format!("Member must satisfy regular expression pattern: {pattern}"));
        }
        complaints
    }

    fn constraints(&self) -> Vec<String> {
        let pattern = self.pattern.map(|(pattern, _)| {
            format!("Member must satisfy regular expression pattern: {pattern}")
        });
        [self.too_long(), self.too_short()].into_iter().chain(pattern).collect()
    }

    fn too_long(&self) -> String {
        format!("Member must have length less than or equal to {}", self.max)
    }

    fn too_short(&self) -> String {
        format!("Member must have length greater than or equal to {}", self.min)
    }
}

fn failed(said: &str, path: &str, what: &str) -> String {
    format!("Value '{said}' at '{path}' failed to satisfy constraint: {what}")
}

fn lower_first(name: &str) -> String {
    let mut letters = name.chars();
    let first = letters.next().map(|first| first.to_ascii_lowercase());
    first.into_iter().chain(letters).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sagemaker::requests::{BATCH_DELETE, LIST_NODES};

    fn complaint(body: Value, members: &[Member]) -> String {
        let body = body.as_object().expect("an object").clone();
        check(&body, members).err().map(|error| error.message).unwrap_or_default()
    }

    #[test]
    fn a_bad_node_id_is_refused_in_the_words_of_the_service() {
        let body = serde_json::json!({ "ClusterName": "c", "NodeIds": ["i-111112222233333"] });
        assert_eq!(
            complaint(body, BATCH_DELETE),
            "1 validation error detected: Value '[i-111112222233333]' at 'nodeIds' failed to \
             satisfy constraint: Member must satisfy constraint: [Member must have length less \
             than or equal to 256, Member must have length greater than or equal to 1, Member \
             must satisfy regular expression pattern: i-[a-f0-9]{8}(?:[a-f0-9]{9})?]"
        );
    }

    #[test]
    fn all_that_is_wrong_is_told_at_once() {
        let body = serde_json::json!({ "MaxResults": 101, "SortBy": "AGE" });
        let said = complaint(body, LIST_NODES);
        assert!(said.starts_with("3 validation errors detected: "), "{said}");
        for part in [
            "Value 'null' at 'clusterName' failed to satisfy constraint: Member must not be null",
            "Value '101' at 'maxResults'",
            "less than or equal to 100",
            "Value 'AGE' at 'sortBy' failed to satisfy constraint: Member must satisfy enum value \
             set: [CREATION_TIME, NAME]",
        ] {
            assert!(said.contains(part), "{part}: {said}");
        }
        let body = serde_json::json!({ "ClusterName": "c", "MaxResults": 100, "Whatever": 1 });
        assert_eq!(complaint(body, LIST_NODES), "");
    }

    #[test]
    fn a_value_of_the_wrong_type_is_a_serialization_exception() {
        let body = serde_json::json!({ "ClusterName": 7 });
        let body = body.as_object().expect("an object");
        let error = check(body, LIST_NODES).expect_err("a number is not a name");
        assert_eq!(error.code, "SerializationException");
    }
}
