//! Errors in the format and wording of the service.

use serde_json::{Map, Value, json};

use crate::wire::Reply;

/// Maximum length of a message in a modelled exception, in characters (`FailureReason`).
const LONGEST_MESSAGE: usize = 1024;
/// Exceptions of the model, whose message member is `Message` with a capital letter.
const MODELLED: [&str; 3] = ["ResourceNotFound", "ConflictException", "ResourceLimitExceeded"];

/// An error response with HTTP status 400.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ApiError {
    /// Name of the exception.
    pub(crate) code: String,
    pub(crate) message: String,
    /// Further members of the body.
    pub(crate) more: Map<String, Value>,
}

impl ApiError {
    pub(crate) fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into(), more: Map::new() }
    }

    pub(crate) fn validation(message: impl Into<String>) -> Self {
        Self::new("ValidationException", message)
    }

    /// A value of the wrong JSON type.
    pub(crate) fn serialization(path: &str, value: &Value, wanted: &str) -> Self {
        Self::new("SerializationException", format!("{path} is {value}, expected {wanted}"))
    }

    /// Converts an error text of the world: `CODE: MESSAGE`, or only a code.
    pub(crate) fn said(why: &str) -> Self {
        let (code, message) = why.split_once(": ").unwrap_or((why, why));
        let message = match code {
            "AccessDeniedException" => "User is not authorized to perform this action",
            "ThrottlingException" => "Rate exceeded",
            _ => message,
        };
        Self::new(code, message)
    }

    /// The HTTP response.
    pub(crate) fn reply(self) -> Reply {
        let Self { code, mut message, more } = self;
        let is_modelled = MODELLED.contains(&code.as_str());
        if is_modelled && message.chars().count() > LONGEST_MESSAGE {
            message = message.chars().take(LONGEST_MESSAGE).collect();
        }
        let key = if is_modelled { "Message" } else { "message" };
        let mut body = json!({ "__type": code, key: message });
        if let Some(body) = body.as_object_mut() {
            body.extend(more);
        }
        Reply {
            status: 400,
            headers: vec![
                ("content-type", super::CONTENT_TYPE.to_owned()),
                ("x-amzn-errortype", code),
            ],
            body: body.to_string().into_bytes(),
        }
    }
}
