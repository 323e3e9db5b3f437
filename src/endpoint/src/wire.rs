//! HTTP requests and responses as the protocol modules use them, independent of the HTTP
//! library.

/// One complete HTTP request.
pub(crate) struct Request {
    /// `GET`, `POST`, …
    pub(crate) method: String,
    /// The path, not decoded.
    pub(crate) path: String,
    /// The query string without the `?`, not decoded; empty if there is none.
    pub(crate) query: String,
    /// Headers, with names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    /// The body, decompressed. A CloudWatch body is as sent: `cloudwatch` decompresses it.
    pub(crate) body: Vec<u8>,
}

impl Request {
    /// The value of the first header with this name, which must be in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }
}

/// One HTTP response.
pub(crate) struct Reply {
    /// The status code, 100 to 599.
    pub(crate) status: u16,
    /// Headers, with names in lower case.
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Vec<u8>,
}

/// How the endpoint answers a request.
pub(crate) enum Answer {
    Reply(Reply),
    /// The endpoint closes the connection without a response, which simulates a time-out.
    /// The request may or may not have taken effect.
    HangUp,
}

impl From<Reply> for Answer {
    fn from(reply: Reply) -> Self {
        Self::Reply(reply)
    }
}
