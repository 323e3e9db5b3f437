//! The two protocols of current CloudWatch clients: smithy-rpc-v2-cbor (the Rust SDK) and
//! JSON 1.0 (boto3, the AWS CLI).
//!
//! No input causes a panic: a request that cannot be parsed returns a
//! `SerializationException`.

use std::io::Read;

use ciborium::Value as Cbor;
use flate2::read::MultiGzDecoder;
use serde_json::Value as Json;

use super::failure::{Failure, FailureKind};
use super::value::{Value, time_of_seconds};
use crate::wire::{Reply, Request};

/// Prefix of the `x-amz-target` header in the JSON protocol.
const TARGET: &str = "GraniteServiceVersion20100801.";
/// Prefix of the path in the CBOR protocol.
const PATH: &str = "/service/GraniteServiceVersion20100801/operation/";
/// Value of the `smithy-protocol` header in the CBOR protocol.
const RPC_V2_CBOR: &str = "rpc-v2-cbor";
/// CBOR tag for a number of seconds since the epoch (RFC 8949, 3.4.2).
const TAG_EPOCH: u64 = 1;
/// Maximum nesting depth. CloudWatch's structures are at most six levels deep.
const DEPTH_MAX: usize = 64;
/// Maximum decompressed body size in bytes: well above the largest GetMetricData request,
/// which has 500 queries with 30 dimensions each.
pub(super) const BODY_BYTES_MAX: usize = 32 << 20;

/// A client's protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Cbor,
    Json,
}

/// Format of the response to one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Dialect {
    pub(super) protocol: Protocol,
    /// Whether the client also requests the error codes of the query protocol.
    pub(super) query_mode: bool,
    pub(super) request_id: String,
}

/// The value of a header, without surrounding white space.
pub(super) fn header<'a>(request: &'a Request, name: &str) -> Option<&'a str> {
    let found = request.headers.iter().find(|(own, _)| own.eq_ignore_ascii_case(name));
    found.map(|(_, value)| value.trim())
}

/// The protocol and the operation's name; `None` if the request is not for CloudWatch.
pub(super) fn operation(request: &Request) -> Option<(Protocol, &str)> {
    if let Some(name) = request.path.strip_prefix(PATH) {
        return Some((Protocol::Cbor, name));
    }
    let target = header(request, "x-amz-target")?;
    Some((Protocol::Json, target.strip_prefix(TARGET)?))
}

/// The body of the request, decompressed.
pub(super) fn body(request: &Request) -> Result<Vec<u8>, Failure> {
    let too_large = || FailureKind::TooLarge.because("Request size is too large.");
    if request.body.len() > BODY_BYTES_MAX {
        return Err(too_large());
    }
    match header(request, "content-encoding") {
        None | Some("" | "identity") => Ok(request.body.clone()),
        Some(encoding) if encoding.eq_ignore_ascii_case("gzip") => {
            let mut unzipped = vec![];
            let limit = BODY_BYTES_MAX as u64 + 1;
            let read =
                MultiGzDecoder::new(&request.body[..]).take(limit).read_to_end(&mut unzipped);
            match read {
                Err(e) => Err(FailureKind::Serialization.because(format!("Malformed gzip: {e}."))),
                Ok(_) if unzipped.len() > BODY_BYTES_MAX => Err(too_large()),
                Ok(_) => Ok(unzipped),
            }
        }
        Some(other) => {
            let what = format!("Content-Encoding {other} is not supported; use gzip.");
            Err(FailureKind::Serialization.because(what))
        }
    }
}

impl Protocol {
    /// Parses a body. An empty body is [`Value::Null`].
    pub(super) fn decode(self, body: &[u8]) -> Result<Value, Failure> {
        if body.is_empty() {
            return Ok(Value::Null);
        }
        let wrong = |what: String| FailureKind::Serialization.because(what);
        match self {
            Self::Cbor => {
                let mut rest = body;
                let read = ciborium::de::from_reader_with_recursion_limit(&mut rest, DEPTH_MAX);
                let value: Cbor = read.map_err(|e| wrong(format!("Malformed CBOR: {e}.")))?;
                if !rest.is_empty() {
                    return Err(wrong("Malformed CBOR: bytes after the request.".into()));
                }
                from_cbor(value)
            }
            Self::Json => {
                let read = serde_json::from_slice(body);
                let value: Json = read.map_err(|e| wrong(format!("Malformed JSON: {e}.")))?;
                Ok(from_json(value))
            }
        }
    }

    pub(super) fn encode(self, value: &Value) -> Vec<u8> {
        let mut bytes = vec![];
        match self {
            Self::Cbor => ciborium::into_writer(&to_cbor(value), &mut bytes)
                .expect("writing to a vector does not fail"),
            Self::Json => serde_json::to_writer(&mut bytes, &to_json(value))
                .expect("writing to a vector does not fail, and keys are strings"),
        }
        bytes
    }
}

impl Dialect {
    /// A success response; `output` is `None` for an operation without output.
    pub(super) fn success(&self, output: Option<&Value>) -> Reply {
        match (self.protocol, output) {
            (_, Some(output)) => self.reply(200, Some(output)),
            (Protocol::Cbor, None) => self.reply(200, None),
            (Protocol::Json, None) => self.reply(200, Some(&Value::Map(vec![]))),
        }
    }

    /// An error response.
    pub(super) fn failure(&self, failure: &Failure) -> Reply {
        let kind = failure.kind;
        let (namespace, shape) = kind.shape();
        let message = Value::text(failure.message.as_str());
        let body = Value::Map(vec![
            ("__type".to_owned(), Value::Text(format!("{namespace}{shape}"))),
            (kind.message_member().to_owned(), message),
        ]);
        let mut reply = self.reply(kind.status(), Some(&body));
        if self.query_mode {
            let code = format!("{};{}", kind.query_code(), kind.blame());
            reply.headers.push(("x-amzn-query-error", code));
        }
        reply
    }

    fn reply(&self, status: u16, output: Option<&Value>) -> Reply {
        let mut headers = vec![("x-amzn-requestid", self.request_id.clone())];
        if self.protocol == Protocol::Cbor {
            headers.push(("smithy-protocol", RPC_V2_CBOR.to_owned()));
        }
        let body = match output {
            None => vec![],
            Some(output) => {
                let content_type = match self.protocol {
                    Protocol::Cbor => "application/cbor",
                    Protocol::Json => "application/x-amz-json-1.0",
                };
                headers.push(("content-type", content_type.to_owned()));
                self.protocol.encode(output)
            }
        };
        Reply { status, headers, body }
    }
}

fn from_cbor(value: Cbor) -> Result<Value, Failure> {
    let wrong = |what: &str| FailureKind::Serialization.because(format!("Malformed CBOR: {what}."));
    Ok(match value {
        Cbor::Null => Value::Null,
        Cbor::Bool(is) => Value::Bool(is),
        Cbor::Integer(number) => match i64::try_from(number) {
            Ok(number) => Value::Int(number),
            Err(_) => Value::Float(i128::from(number) as f64),
        },
        Cbor::Float(number) => Value::Float(number),
        Cbor::Text(text) => Value::Text(text),
        // Some clients send text as a byte string.
        Cbor::Bytes(bytes) => String::from_utf8(bytes).map_or(Value::Blob, Value::Text),
        Cbor::Array(list) => {
            Value::List(list.into_iter().map(from_cbor).collect::<Result<_, _>>()?)
        }
        Cbor::Map(members) => {
            let member = |(key, value): (Cbor, Cbor)| match from_cbor(key)? {
                Value::Text(name) => Ok((name, from_cbor(value)?)),
                Value::Null
                | Value::Bool(_)
                | Value::Int(_)
                | Value::Float(_)
                | Value::Blob
                | Value::List(_)
                | Value::Map(_)
                | Value::Time(_) => Err(wrong("a map key is not a string")),
            };
            Value::Map(members.into_iter().map(member).collect::<Result<_, _>>()?)
        }
        Cbor::Tag(TAG_EPOCH, content) => {
            let seconds = match (content.as_integer(), content.as_float()) {
                (Some(number), _) => Some(i128::from(number) as f64),
                (None, number) => number,
            };
            let time = seconds.and_then(time_of_seconds);
            Value::Time(time.ok_or_else(|| wrong("a timestamp is not a number in range"))?)
        }
        Cbor::Tag(tag, _) => return Err(wrong(&format!("unsupported tag {tag}"))),
        // Ciborium's enum is non-exhaustive.
        _ => return Err(wrong("unsupported data type")),
    })
}

fn to_cbor(value: &Value) -> Cbor {
    match value {
        Value::Null | Value::Blob => Cbor::Null,
        Value::Bool(is) => Cbor::Bool(*is),
        Value::Int(number) => Cbor::Integer((*number).into()),
        Value::Float(number) => Cbor::Float(*number),
        Value::Text(text) => Cbor::Text(text.clone()),
        Value::List(list) => Cbor::Array(list.iter().map(to_cbor).collect()),
        Value::Map(members) => {
            let member =
                |(name, value): &(String, Value)| (Cbor::Text(name.clone()), to_cbor(value));
            Cbor::Map(members.iter().map(member).collect())
        }
        Value::Time(time) => {
            let seconds = match time.0.rem_euclid(1000) {
                0 => Cbor::Integer(time.0.div_euclid(1000).into()),
                _ => Cbor::Float(time.0 as f64 / 1000.0),
            };
            Cbor::Tag(TAG_EPOCH, Box::new(seconds))
        }
    }
}

fn from_json(value: Json) -> Value {
    match value {
        Json::Null => Value::Null,
        Json::Bool(is) => Value::Bool(is),
        Json::Number(number) => match number.as_i64() {
            Some(number) => Value::Int(number),
            None => number.as_f64().map_or(Value::Null, Value::Float),
        },
        Json::String(text) => Value::Text(text),
        Json::Array(list) => Value::List(list.into_iter().map(from_json).collect()),
        Json::Object(members) => {
            let member = |(name, value): (String, Json)| (name, from_json(value));
            Value::Map(members.into_iter().map(member).collect())
        }
    }
}

fn to_json(value: &Value) -> Json {
    match value {
        Value::Null | Value::Blob => Json::Null,
        Value::Bool(is) => Json::Bool(*is),
        Value::Int(number) => Json::from(*number),
        Value::Float(number) if number.is_finite() => Json::from(*number),
        Value::Float(number) if number.is_nan() => Json::from("NaN"),
        Value::Float(number) => Json::from(if *number > 0.0 { "Infinity" } else { "-Infinity" }),
        Value::Text(text) => Json::from(text.as_str()),
        Value::List(list) => Json::Array(list.iter().map(to_json).collect()),
        Value::Map(members) => {
            let member = |(name, value): &(String, Value)| (name.clone(), to_json(value));
            Json::Object(members.iter().map(member).collect())
        }
        Value::Time(time) => match time.0.rem_euclid(1000) {
            0 => Json::from(time.0.div_euclid(1000)),
            _ => Json::from(time.0 as f64 / 1000.0),
        },
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            any::<i64>().prop_map(Value::Int),
            (-1e300..1e300).prop_map(Value::Float),
            ".{0,8}".prop_map(Value::Text),
            (-4_000_000_000_000i64..4_000_000_000_000)
                .prop_map(|ms| Value::Time(trimtab_core::units::Time(ms))),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::List),
                prop::collection::vec(("[a-z]{1,4}", inner), 0..4).prop_map(Value::Map),
            ]
        })
    }

    proptest! {
        #[test]
        fn no_bytes_make_either_protocol_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            for protocol in [Protocol::Cbor, Protocol::Json] {
                if let Err(failure) = protocol.decode(&bytes) {
                    prop_assert_eq!(failure.kind, FailureKind::Serialization);
                }
            }
        }

        #[test]
        fn cbor_carries_every_value_there_and_back(value in value()) {
            prop_assert_eq!(Protocol::Cbor.decode(&Protocol::Cbor.encode(&value)), Ok(value));
        }

        #[test]
        fn cbor_that_is_cut_short_or_goes_on_is_refused(value in value(), cut in any::<prop::sample::Index>()) {
            let bytes = Protocol::Cbor.encode(&value);
            let cut = cut.index(bytes.len());
            if cut > 0 {
                prop_assert!(Protocol::Cbor.decode(&bytes[..cut]).is_err());
            }
            let longer = [&bytes[..], &[0xf6]].concat();
            prop_assert!(Protocol::Cbor.decode(&longer).is_err());
        }
    }

    #[test]
    fn cbor_comes_in_many_kinds() {
        let read = |bytes: &[u8]| Protocol::Cbor.decode(bytes);
        let map = |value| Ok(Value::Map(vec![("a".to_owned(), value)]));
        // A map and a list of indefinite length, a string in two pieces.
        assert_eq!(read(b"\xbf\x61a\x01\xff"), map(Value::Int(1)));
        assert_eq!(read(b"\xa1\x61a\x9f\x01\xff"), map(Value::List(vec![Value::Int(1)])));
        assert_eq!(read(b"\xa1\x61a\x7f\x61x\x61y\xff"), map(Value::text("xy")));
        // Keys and text as byte strings, and bytes that are not UTF-8.
        assert_eq!(read(b"\xa1\x41a\x42xy"), map(Value::text("xy")));
        assert_eq!(read(b"\xa1\x61a\x41\xff"), map(Value::Blob));
        // Floats of 16, 32 and 64 bits.
        assert_eq!(read(b"\xa1\x61a\xf9\x3e\x00"), map(Value::Float(1.5)));
        assert_eq!(read(b"\xa1\x61a\xfa\x3f\xc0\x00\x00"), map(Value::Float(1.5)));
        assert_eq!(read(b"\xa1\x61a\xfb\x3f\xf8\0\0\0\0\0\0"), map(Value::Float(1.5)));
        // 2^64 - 1 does not fit an i64.
        assert_eq!(
            read(b"\xa1\x61a\x1b\xff\xff\xff\xff\xff\xff\xff\xff"),
            map(Value::Float(18_446_744_073_709_551_615.0))
        );
        // A time as an integer and as a float.
        assert_eq!(read(b"\xa1\x61a\xc1\x02"), map(Value::Time(trimtab_core::units::Time(2000))));
        let half = map(Value::Time(trimtab_core::units::Time(1500)));
        assert_eq!(read(b"\xa1\x61a\xc1\xf9\x3e\x00"), half);
        for refused in [
            &b"\xa1\x61a\xc1\x61x"[..],              // a time that is text
            b"\xa1\x61a\xc1\xf9\x7e\x00",            // a time that is NaN
            b"\xa1\x61a\xc0\x61x",                   // an unsupported tag
            b"\xa1\x01\x01",                         // a key that is a number
            b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff", // a list longer than memory
            b"\x5b\x7f\xff\xff\xff\xff\xff\xff\xff", // bytes longer than memory
        ] {
            let failure = read(refused).expect_err("refused");
            assert_eq!(failure.kind, FailureKind::Serialization, "{refused:?}");
        }
        let deep = vec![0x81; 100_000];
        assert!(read(&deep).is_err(), "nested too deeply");
        assert!(Protocol::Json.decode("[".repeat(100_000).as_bytes()).is_err());
    }
}
