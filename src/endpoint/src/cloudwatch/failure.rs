//! What CloudWatch says when it refuses: one list of its codes, each in the two
//! spellings that clients know.

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) kind: FailureKind,
    pub(super) message: String,
}

/// The kinds of refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FailureKind {
    /// The request cannot be read.
    Serialization,
    /// There is no such operation here.
    UnknownOperation,
    /// The body is larger than CloudWatch takes.
    TooLarge,
    /// A constraint that the model does not name an error for.
    Validation,
    InvalidParameterValue,
    InvalidParameterCombination,
    MissingParameter,
    InvalidNextToken,
    Throttling,
    AccessDenied,
    /// Our own fault.
    Internal,
}

/// Where the shapes of CloudWatch's own errors live.
const OWN: &str = "com.amazonaws.cloudwatch#";
/// Where those live that every service has.
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

    /// Its code in the query protocol, which clients of old still go by.
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

    /// HTTP's status. Throttling is a 400 with a code, as CloudWatch's is: clients do
    /// not retry a bare 429.
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

    /// Who is to blame, as the query protocol says it.
    pub(super) fn blame(self) -> &'static str {
        match self.status() {
            500.. => "Receiver",
            _ => "Sender",
        }
    }

    /// What the model calls the member with the message.
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
