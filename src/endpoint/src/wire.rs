//! Requests and answers as the protocols see them, apart from any HTTP library.

/// One HTTP request, read whole.
pub(crate) struct Request {
    /// `GET`, `POST`, …
    pub(crate) method: String,
    /// The path, as sent.
    pub(crate) path: String,
    /// What stands behind the `?`, as sent; empty if there is none.
    pub(crate) query: String,
    /// Headers, their names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    /// The body, unpacked if it came packed.
    pub(crate) body: Vec<u8>,
}

impl Request {
    /// The first header of this name (in lower case).
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }
}

/// One HTTP answer.
pub(crate) struct Reply {
    /// The status code, 100 to 599.
    pub(crate) status: u16,
    /// Headers, their names in lower case.
    pub(crate) headers: Vec<(&'static str, String)>,
    /// The body.
    pub(crate) body: Vec<u8>,
}

/// What becomes of a request.
pub(crate) enum Answer {
    /// It is answered.
    Reply(Reply),
    /// The connection is closed without a word: what a time-out looks like from
    /// the other side, whether or not anything was done.
    HangUp,
}

impl From<Reply> for Answer {
    fn from(reply: Reply) -> Self {
        Self::Reply(reply)
    }
}
