//! Converts failed requests into the daemon's errors.
//!
//! For a read, the result is an error for the operator. For a request that changes something,
//! the result is a refusal only if the failure *proves* that nothing was done. Every other
//! failure, including a 5xx status, counts as no answer.

use std::error::Error as StdError;
use std::fmt::Write as _;
use std::io;
use std::sync::Arc;

use aws_credential_types::provider::error::CredentialsError;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use trimtab_daemon::ports::{DeleteOutcome, ReadError, Refusal};

/// Limit on the bytes of an answer that are kept as evidence.
const KEPT_BODY: usize = 4096;

/// Codes that AWS services return for throttling (the list on which the AWS SDKs retry).
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

/// HTTP status of a request that took too long to arrive.
const REQUEST_TIMEOUT: u16 = 408;

/// A failed request of any operation.
pub(crate) type Failed<E> = SdkError<E, HttpResponse>;

/// Returns the error of a failed read.
pub(crate) fn read_error<E>(service: &'static str, error: &Failed<E>) -> ReadError
where
    E: ProvideErrorMetadata + StdError + 'static,
{
    match error {
        SdkError::ServiceError(context) => {
            let code = context.err().code().unwrap_or("no error code");
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
            ReadError::NoAnswer(format!("{service}: timed out waiting for the answer").into())
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

/// Returns the error code if the API refused the read.
#[expect(clippy::wildcard_enum_match_arm, reason = "the SDK's enum is open-ended")]
pub(crate) fn code<E: ProvideErrorMetadata>(error: &Failed<E>) -> Option<&str> {
    match error {
        SdkError::ServiceError(context) => context.err().code(),
        _ => None,
    }
}

/// Whether the code means that the requested resource does not exist.
pub(crate) fn is_not_found(code: &str) -> bool {
    MISSING.contains(&code)
}

/// Returns the outcome of a failed request that changes something.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the SDK's enum is open-ended, and an unproven outcome is no answer"
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
        // The request was not built, so it was not sent.
        SdkError::ConstructionFailure(_) => not_sent(Refusal::NotSent, error),
        SdkError::DispatchFailure(_) if was_without_credentials(error) => {
            not_sent(Refusal::ExpiredCredentials, error)
        }
        SdkError::DispatchFailure(_) if was_never_connected(error) => {
            not_sent(Refusal::NotSent, error)
        }
        SdkError::TimeoutError(_) => {
            DeleteOutcome::NoAnswer { why: "timed out waiting for the answer".into() }
        }
        // The connection broke during the request or response, or the response cannot be
        // parsed.
        _ => DeleteOutcome::NoAnswer { why: causes(error).into() },
    }
}

/// Returns the refusal that an HTTP status and code prove; `None` if the service may have
/// acted.
fn refusal(status: u16, code: &str) -> Option<Refusal> {
    // Some services throttle with status 503 and one of these codes.
    let is_throttled = THROTTLING.contains(&code) && (status < 500 || status == 503);
    if is_throttled {
        return Some(Refusal::Throttled);
    }
    // After a timeout or internal error, the service may already have acted.
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

/// Returns the code, the message and the unchanged body, because the meaning of a refusal is
/// not always documented and the ledger must contain everything that is known.
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

/// Whether the request was not sent because there were no valid credentials to sign it.
fn was_without_credentials<E: StdError + 'static>(error: &Failed<E>) -> bool {
    chain(error).any(|cause| cause.is::<CredentialsError>())
}

/// Whether the connection was refused, so that the request cannot have been sent.
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

/// Returns all causes on one line.
fn causes(error: &(dyn StdError + 'static)) -> String {
    let mut texts: Vec<String> = chain(error).map(ToString::to_string).collect();
    // Wrapping errors often repeat the text of their cause.
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
