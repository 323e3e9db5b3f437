//! Failed calls in our own words.
//!
//! For a read the question is what to tell the operator. For a call that changes something
//! it is whether it is *proven* that nothing was done: only then is it a refusal. Whatever
//! leaves that open, a 5xx included, is no answer.

use std::error::Error as StdError;
use std::fmt::Write as _;
use std::io;
use std::sync::Arc;

use aws_credential_types::provider::error::CredentialsError;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use trimtab_daemon::ports::{DeleteOutcome, ReadError, Refusal};

/// The most bytes of an answer that are kept as evidence.
const KEPT_BODY: usize = 4096;

/// Codes by which AWS services ask to slow down (the list that the AWS SDKs retry on).
const THROTTLING: [&str; 14] = [
    "BandwidthLimitExceeded",
    "EC2ThrottledException",
    "LimitExceededException",
    "PriorRequestNotComplete",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "RequestThrottled",
    "RequestThrottledException",
    "SlowDown",
    "ThrottledException",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
    "TransactionInProgressException",
];
const CONFLICTS: [&str; 3] = ["ConflictException", "ResourceInUse", "ResourceInUseException"];
const DENIALS: [&str; 5] = [
    "AccessDenied",
    "AccessDeniedException",
    "NotAuthorized",
    "OptInRequired",
    "UnauthorizedOperation",
];
const EXPIRED: [&str; 10] = [
    "ExpiredToken",
    "ExpiredTokenException",
    "IncompleteSignature",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "MissingAuthenticationToken",
    "MissingAuthenticationTokenException",
    "RequestExpired",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
];
const MISSING: [&str; 2] = ["ResourceNotFound", "ResourceNotFoundException"];

/// HTTP's status for a request that took too long to arrive.
const REQUEST_TIMEOUT: u16 = 408;

/// A failed call of any operation.
pub(crate) type Failed<E> = SdkError<E, HttpResponse>;

/// What a failed read is.
pub(crate) fn read_error<E>(service: &'static str, error: &Failed<E>) -> ReadError
where
    E: ProvideErrorMetadata + StdError + 'static,
{
    match error {
        SdkError::ServiceError(context) => {
            let code = context.err().code().unwrap_or("an error without a code");
            if THROTTLING.contains(&code) {
                return ReadError::Throttled(service.into());
            }
            let message = context.err().message().unwrap_or("");
            let said = format!("{service}: {code}: {message}").into();
            if DENIALS.contains(&code) || EXPIRED.contains(&code) {
                return ReadError::Denied(said);
            }
            ReadError::Refused(said)
        }
        SdkError::TimeoutError(_) => {
            ReadError::NoAnswer(format!("{service}: it took too long").into())
        }
        SdkError::ResponseError(_) => {
            ReadError::Unreadable(format!("{service}: {}", causes(error)).into())
        }
        SdkError::DispatchFailure(_) if was_without_credentials(error) => {
            ReadError::Denied(format!("{service}: {}", causes(error)).into())
        }
        SdkError::DispatchFailure(_) | SdkError::ConstructionFailure(_) => {
            ReadError::NoAnswer(format!("{service}: {}", causes(error)).into())
        }
        _ => ReadError::NoAnswer(format!("{service}: {}", causes(error)).into()),
    }
}

/// The API's code of a refused read, if it was refused.
#[expect(clippy::wildcard_enum_match_arm, reason = "the SDK's enum is open-ended")]
pub(crate) fn code<E: ProvideErrorMetadata>(error: &Failed<E>) -> Option<&str> {
    match error {
        SdkError::ServiceError(context) => context.err().code(),
        _ => None,
    }
}

/// Whether the API says that what was asked for is not there.
pub(crate) fn is_not_found(code: &str) -> bool {
    MISSING.contains(&code)
}

/// How a call that changes something ended when it did not end well.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the SDK's enum is open-ended, and whatever is not proven is no answer"
)]
pub(crate) fn write_outcome<E>(error: &Failed<E>) -> DeleteOutcome
where
    E: ProvideErrorMetadata + StdError + 'static,
{
    match error {
        SdkError::ServiceError(context) => {
            let code = context.err().code().unwrap_or("");
            let raw = context.raw();
            let why = said(code, context.err().message().unwrap_or(""), raw);
            match refusal(raw.status().as_u16(), code) {
                Some(cause) => DeleteOutcome::Refused { cause, why },
                None => DeleteOutcome::NoAnswer { why },
            }
        }
        // Never built, so never sent.
        SdkError::ConstructionFailure(_) => not_sent(Refusal::NotSent, error),
        SdkError::DispatchFailure(_) if was_without_credentials(error) => {
            not_sent(Refusal::ExpiredCredentials, error)
        }
        SdkError::DispatchFailure(_) if was_never_connected(error) => {
            not_sent(Refusal::NotSent, error)
        }
        SdkError::TimeoutError(_) => {
            DeleteOutcome::NoAnswer { why: "it took too long to answer".into() }
        }
        // Broken off somewhere between the first byte sent and the last one read, or an
        // answer that cannot be understood.
        _ => DeleteOutcome::NoAnswer { why: causes(error).into() },
    }
}

/// What an HTTP status and a code prove; `None` where it may have acted all the same.
fn refusal(status: u16, code: &str) -> Option<Refusal> {
    // 503 with these codes is how some services throttle.
    let is_throttled = THROTTLING.contains(&code) && (status < 500 || status == 503);
    if is_throttled {
        return Some(Refusal::Throttled);
    }
    // Whatever timed out or broke inside may have acted before it did.
    let is_open = status == REQUEST_TIMEOUT
        || ["RequestTimeout", "Internal"].iter().any(|begin| code.starts_with(begin))
        || code.contains("Unavailable");
    if !(400..500).contains(&status) || is_open {
        return None;
    }
    Some(if CONFLICTS.contains(&code) {
        Refusal::Conflict
    } else if DENIALS.contains(&code) {
        Refusal::Denied
    } else if EXPIRED.contains(&code) {
        Refusal::ExpiredCredentials
    } else if is_not_found(code) {
        Refusal::NotFound
    } else {
        Refusal::Unknown
    })
}

fn not_sent<E: StdError + 'static>(cause: Refusal, error: &Failed<E>) -> DeleteOutcome {
    DeleteOutcome::Refused { cause, why: format!("not sent: {}", causes(error)).into() }
}

/// Code, message, and the body as it came: what a refusal means is not always published,
/// and whoever reads the ledger must not have to guess.
fn said(code: &str, message: &str, raw: &HttpResponse) -> Arc<str> {
    let mut text = format!("HTTP {} {code}: {message}", raw.status().as_u16());
    if let Some(body) = raw.body().bytes() {
        let kept = body.get(..KEPT_BODY).unwrap_or(body);
        let _ = write!(text, "; body: {}", String::from_utf8_lossy(kept));
        if body.len() > kept.len() {
            let _ = write!(text, " (cut, {} bytes)", body.len());
        }
    }
    text.into()
}

/// The request had no valid credentials, so it was not signed and not sent.
fn was_without_credentials<E: StdError + 'static>(error: &Failed<E>) -> bool {
    chain(error).any(|cause| cause.is::<CredentialsError>())
}

/// Nobody listened: there was no connection over which a request could have gone.
fn was_never_connected<E: StdError + 'static>(error: &Failed<E>) -> bool {
    chain(error).any(|cause| {
        cause
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
    })
}

fn chain<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    let first: Option<&'a (dyn StdError + 'static)> = Some(error);
    std::iter::successors(first, |error| (*error).source())
}

/// All causes on one line.
fn causes(error: &(dyn StdError + 'static)) -> String {
    let mut texts: Vec<String> = chain(error).map(ToString::to_string).collect();
    // A wrapper often repeats what it wraps.
    texts.dedup();
    texts.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_client_error_or_throttling_proves_that_nothing_was_done() {
        for (status, code, proven) in [
            (400, "ThrottlingException", Some(Refusal::Throttled)),
            (503, "SlowDown", Some(Refusal::Throttled)),
            (400, "ConflictException", Some(Refusal::Conflict)),
            (400, "AccessDeniedException", Some(Refusal::Denied)),
            (403, "ExpiredTokenException", Some(Refusal::ExpiredCredentials)),
            (400, "ResourceNotFound", Some(Refusal::NotFound)),
            (400, "ValidationException", Some(Refusal::Unknown)),
            (400, "", Some(Refusal::Unknown)),
            (418, "NobodyKnows", Some(Refusal::Unknown)),
            (400, "RequestTimeout", None),
            (400, "RequestTimeoutException", None),
            (408, "ValidationException", None),
            (400, "InternalFailure", None),
            (400, "ServiceUnavailableException", None),
            (500, "ThrottlingException", None),
            (500, "InternalFailure", None),
            (503, "ServiceUnavailable", None),
            (503, "", None),
            (302, "", None),
        ] {
            assert_eq!(refusal(status, code), proven, "{status} {code}");
        }
    }
}
