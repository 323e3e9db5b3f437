//! CloudWatch's error codes, each in the two spellings that clients use.

/// Why a request is rejected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) kind: FailureKind,
    pub(super) message: String,
}

/// The kind of a [`Failure`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FailureKind {
    /// The request cannot be parsed.
    Serialization,
    /// This endpoint does not support the operation.
    UnknownOperation,
    /// The body is larger than CloudWatch accepts.
    TooLarge,
    /// A constraint is violated that has no error shape in the model.
    Validation,
    InvalidParameterValue,
    InvalidParameterCombination,
    MissingParameter,
    InvalidNextToken,
    Throttling,
    AccessDenied,
    /// An error of the endpoint itself.
    Internal,
}

/// Namespace of the error shapes of CloudWatch.
const OWN: &str = "com.amazonaws.cloudwatch#";
/// Namespace of the error shapes that all services share.
const COMMON: &str = "com.amazon.coral.service#";

impl FailureKind {
    /// The namespace and name of the error's shape.
    pub(super) fn shape(self) -> (&'static str, &'static str) {
        match self {
            Self::Serialization => (COMMON, "SerializationException"),
            Self::UnknownOperation => (COMMON, "UnknownOperationException"),
            Self::TooLarge => (COMMON, "RequestEntityTooLargeException"),
            Self::Validation => (COMMON, "ValidationException"),
            Self::InvalidParameterValue => (OWN, "InvalidParameterValueException"),
            Self::InvalidParameterCombination => (OWN, "InvalidParameterCombinationException"),
            Self::MissingParameter => (OWN, "MissingRequiredParameterException"),
            Self::InvalidNextToken => (OWN, "InvalidNextToken"),
            Self::Throttling => (COMMON, "ThrottlingException"),
            Self::AccessDenied => (COMMON, "AccessDeniedException"),
            Self::Internal => (OWN, "InternalServiceFault"),
        }
    }

    /// The error's code in the query protocol, which some clients still match on.
    pub(super) fn query_code(self) -> &'static str {
        match self {
            Self::Serialization => "MalformedInput",
            Self::UnknownOperation => "InvalidAction",
            Self::TooLarge => "RequestEntityTooLarge",
            Self::Validation => "ValidationError",
            Self::InvalidParameterValue => "InvalidParameterValue",
            Self::InvalidParameterCombination => "InvalidParameterCombination",
            Self::MissingParameter => "MissingParameter",
            Self::InvalidNextToken => "InvalidNextToken",
            Self::Throttling => "Throttling",
            Self::AccessDenied => "AccessDenied",
            Self::Internal => "InternalServiceError",
        }
    }

    /// The HTTP status. Throttling has status 400 and an error code, as in CloudWatch:
    /// clients do not retry a 429 without a code.
    pub(super) fn status(self) -> u16 {
        match self {
            Self::Serialization
            | Self::Validation
            | Self::InvalidParameterValue
            | Self::InvalidParameterCombination
            | Self::MissingParameter
            | Self::InvalidNextToken
            | Self::Throttling
            | Self::AccessDenied => 400,
            Self::UnknownOperation => 404,
            Self::TooLarge => 413,
            Self::Internal => 500,
        }
    }

    /// The fault's side in the query protocol: `Sender` or `Receiver`.
    pub(super) fn blame(self) -> &'static str {
        match self.status() {
            500.. => "Receiver",
            _ => "Sender",
        }
    }

    /// Name of the member that has the message, as in the model.
    pub(super) fn message_member(self) -> &'static str {
        match self {
            Self::Internal => "Message",
            Self::Serialization
            | Self::UnknownOperation
            | Self::TooLarge
            | Self::Validation
            | Self::InvalidParameterValue
            | Self::InvalidParameterCombination
            | Self::MissingParameter
            | Self::InvalidNextToken
            | Self::Throttling
            | Self::AccessDenied => "message",
        }
    }

    pub(super) fn because(self, message: impl Into<String>) -> Failure {
        Failure { kind: self, message: message.into() }
    }
}
