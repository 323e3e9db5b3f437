//! Filters a stream of JSON: keeps only the members that are needed, as the bytes arrive.
//!
//! slurmrestd sends about 9 kB per job, indented, of which a tenth is needed; 20,000 jobs are
//! 180 MB. The answer is therefore never held as a whole. In an object of lists of objects
//! (`{"jobs": [{…}, …], …}`), the filter keeps members of the inner objects by name and drops
//! whitespace; everything else passes unchanged. It checks that brackets and quotes match, and
//! the result is then parsed as JSON, so that a truncated or corrupt answer is rejected.

/// Limit on the nesting of brackets. Slurm's answers need 8.
const DEPTH_MAX: usize = 32;

/// Limit on the length of a member name that is compared, in bytes.
const NAME_MAX: usize = 64;

/// Open brackets around the members of the inner objects: `{ [ {`.
const INNER: [u8; 3] = *b"{[{";

/// Why a stream is rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Error {
    /// The stream is not JSON.
    #[error("the answer is not JSON")]
    NotJson,
    /// The kept members exceed the limit, in bytes.
    #[error("the needed members exceed {0} bytes")]
    TooLarge(usize),
}

/// Filter for one stream.
pub(super) struct Members<'a> {
    wanted: &'a [&'a str],
    limit: usize,
    kept: Vec<u8>,
    /// Open brackets.
    open: Vec<u8>,
    text: Text,
    member: Member,
    is_first: bool,
    is_over: bool,
}

/// Whether the next byte belongs to a quoted text.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Text {
    Outside,
    Inside,
    /// After a backslash.
    Escaped,
}

/// What the next byte belongs to in an inner object.
#[derive(Clone, PartialEq, Eq)]
enum Member {
    /// The object has no members so far.
    Nothing,
    /// A name, or the text around it.
    Name(Vec<u8>),
    /// A value that is kept.
    Kept,
    /// A value that is dropped.
    Dropped,
}

impl<'a> Members<'a> {
    /// Returns a filter that keeps these members of the inner objects, and at most `limit`
    /// bytes.
    pub(super) const fn new(wanted: &'a [&'a str], limit: usize) -> Self {
        Self {
            wanted,
            limit,
            kept: vec![],
            open: vec![],
            text: Text::Outside,
            member: Member::Kept,
            is_first: true,
            is_over: false,
        }
    }

    /// Processes the next bytes.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<(), Error> {
        for &byte in bytes {
            self.take(byte)?;
        }
        if self.kept.len() > self.limit { Err(Error::TooLarge(self.limit)) } else { Ok(()) }
    }

    /// Returns the kept bytes at the end of the stream.
    pub(super) fn end(self) -> Result<Vec<u8>, Error> {
        if self.is_over { Ok(self.kept) } else { Err(Error::NotJson) }
    }

    fn is_in_inner(&self) -> bool {
        self.open == INNER
    }

    fn keep(&mut self, byte: u8) {
        if self.member == Member::Kept {
            self.kept.push(byte);
        }
    }

    fn take(&mut self, byte: u8) -> Result<(), Error> {
        match self.text {
            Text::Outside => self.take_outside(byte),
            Text::Escaped => {
                self.text = Text::Inside;
                self.take_text(byte)
            }
            Text::Inside => {
                self.text = match byte {
                    b'"' => Text::Outside,
                    b'\\' => Text::Escaped,
                    _ => Text::Inside,
                };
                self.take_text(byte)
            }
        }
    }

    fn take_text(&mut self, byte: u8) -> Result<(), Error> {
        if self.member == Member::Nothing {
            self.member = Member::Name(vec![]);
        }
        if let Member::Name(name) = &mut self.member {
            // A longer name cannot match a wanted one.
            if name.len() <= NAME_MAX {
                name.push(byte);
            }
        } else {
            self.keep(byte);
        }
        Ok(())
    }

    fn take_outside(&mut self, byte: u8) -> Result<(), Error> {
        if matches!(byte, b' ' | b'\t' | b'\r' | b'\n') {
            return Ok(());
        }
        if self.is_over || (self.open.is_empty() && byte != b'{') {
            return Err(Error::NotJson);
        }
        match byte {
            b'"' => {
                self.text = Text::Inside;
                self.take_text(byte)
            }
            b'{' | b'[' => self.enter(byte),
            b'}' | b']' => self.leave(byte),
            b':' if self.is_in_inner() => self.begin_value(),
            b',' if self.is_in_inner() => {
                self.end_value()?;
                self.member = Member::Name(vec![]);
                Ok(())
            }
            _ if self.is_no_value() => Err(Error::NotJson),
            _ => {
                self.keep(byte);
                Ok(())
            }
        }
    }

    fn enter(&mut self, byte: u8) -> Result<(), Error> {
        if self.is_no_value() || self.open.len() == DEPTH_MAX {
            return Err(Error::NotJson);
        }
        self.keep(byte);
        self.open.push(byte);
        if self.is_in_inner() {
            (self.member, self.is_first) = (Member::Nothing, true);
        }
        Ok(())
    }

    fn leave(&mut self, byte: u8) -> Result<(), Error> {
        if self.is_in_inner() {
            if self.member != Member::Nothing {
                self.end_value()?;
            }
            self.member = Member::Kept;
        }
        let opened = if byte == b'}' { b'{' } else { b'[' };
        if self.open.pop() != Some(opened) {
            return Err(Error::NotJson);
        }
        self.keep(byte);
        self.is_over = self.open.is_empty();
        Ok(())
    }

    /// Decides, at the end of a name, whether its value is kept.
    fn begin_value(&mut self) -> Result<(), Error> {
        let Member::Name(name) = std::mem::replace(&mut self.member, Member::Dropped) else {
            return Err(Error::NotJson);
        };
        let bare = name.strip_prefix(b"\"").and_then(|name| name.strip_suffix(b"\""));
        let bare = bare.ok_or(Error::NotJson)?;
        if self.wanted.iter().any(|wanted| wanted.as_bytes() == bare) {
            if !std::mem::take(&mut self.is_first) {
                self.kept.push(b',');
            }
            self.kept.extend_from_slice(&name);
            self.kept.push(b':');
            self.member = Member::Kept;
        }
        Ok(())
    }

    fn end_value(&self) -> Result<(), Error> {
        if self.is_no_value() { Err(Error::NotJson) } else { Ok(()) }
    }

    const fn is_no_value(&self) -> bool {
        matches!(self.member, Member::Nothing | Member::Name(_))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn kept(text: &str, wanted: &[&str]) -> Result<String, Error> {
        let mut members = Members::new(wanted, 1 << 20);
        // The result does not depend on how the bytes are split.
        for bytes in text.as_bytes().chunks(3) {
            members.push(bytes)?;
        }
        Ok(String::from_utf8(members.end()?).expect("text"))
    }

    #[test]
    fn members_of_the_inner_objects_are_kept_by_name() {
        let text = r#" { "jobs": [ {"a": 1, "b": {"a": [1, "x\"}"]}, "c": "y z" }, {}, {"b": 2} ],
            "meta": { "a": 1, "b": [ {"a": 2} ] }, "errors": [] } "#;
        assert_eq!(
            kept(text, &["a", "c"]).as_deref(),
            Ok(concat!(
                r#"{"jobs":[{"a":1,"c":"y z"},{},{}],"#,
                r#""meta":{"a":1,"b":[{"a":2}]},"errors":[]}"#
            ))
        );
        assert_eq!(
            kept(text, &["b"]).as_deref(),
            Ok(concat!(
                r#"{"jobs":[{"b":{"a":[1,"x\"}"]}},{},{"b":2}],"#,
                r#""meta":{"a":1,"b":[{"a":2}]},"errors":[]}"#
            ))
        );
    }

    #[test]
    fn what_is_cut_off_or_garbled_is_no_answer() {
        let good = r#"{"jobs":[{"a":1,"b":"x"}],"errors":[]}"#;
        for length in 0..good.len() {
            assert_eq!(kept(&good[..length], &["a"]), Err(Error::NotJson), "{length}");
        }
        for wrong in [
            r#"{"jobs":[{"a":1}]}{"#,
            r#"{"jobs":[{"a":1}}]"#,
            r#"{"jobs":[{"a"}]}"#,
            r#"{"jobs":[{"a":1,}]}"#,
            r#"{"jobs":[{"b":1,}]}"#,
            r#"{"jobs":[{,"b":1}]}"#,
            r#"{"jobs":[{1:1}]}"#,
            r#"{"jobs":[{{"a":1}:1}]}"#,
            r#"{"jobs":[{"a":1:2}]}"#,
            "[]",
            "slurm",
            &format!("{{\"jobs\":{}", "[".repeat(40)),
        ] {
            assert_eq!(kept(wrong, &["a"]), Err(Error::NotJson), "{wrong}");
        }
        let mut members = Members::new(&["a"], 20);
        let large =
            format!(r#"{{"jobs":[{{"b":"{}","a":"{}"}}]}}"#, "x".repeat(100), "y".repeat(9));
        assert_eq!(members.push(large.as_bytes()), Err(Error::TooLarge(20)));
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            "[\\PC\"\\\\\\x00-\\x1f{}\\[\\],:]{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[abc\"\\\\]{1,2}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_kept_is_what_a_reader_of_all_of_it_finds(
            jobs in prop::collection::vec(
                prop::collection::btree_map("[abc]{1,2}", value(), 0..4), 0..4),
            rest in value(),
        ) {
            let objects: Vec<Value> =
                jobs.iter().map(|job| Value::Object(job.clone().into_iter().collect())).collect();
            let text = serde_json::to_string_pretty(&json!({ "jobs": objects, "z": [[rest]] }));
            let text = kept(&text.expect("it prints"), &["a", "b"]).expect("it is JSON");
            let found: Value = serde_json::from_str(&text).expect("it stays JSON");
            let wanted: Vec<Value> = jobs
                .into_iter()
                .map(|job| Value::Object(
                    job.into_iter().filter(|(name, _)| name == "a" || name == "b").collect()))
                .collect();
            prop_assert_eq!(found, json!({ "jobs": wanted, "z": [[rest]] }));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut members = Members::new(&["a"], 1 << 20);
            let _ = members.push(&bytes);
        }
    }
}
