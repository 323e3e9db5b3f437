//! A running `trimtab simulate`.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

pub(crate) fn simulate(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trimtab"));
    command.arg("simulate").args(args).current_dir(root()).env_remove("TRIMTAB_LOG");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A running endpoint, stopped at the end of the test, even if the test fails.
pub(crate) struct Running {
    pub(crate) child: Child,
    pub(crate) addr: String,
    // Kept open, so that the program can write its output.
    _lines: BufReader<std::process::ChildStdout>,
}

impl Running {
    pub(crate) fn start(args: &[&str]) -> Self {
        let mut child = simulate(args).spawn().expect("the program starts");
        let mut lines = BufReader::new(child.stdout.take().expect("piped"));
        let mut first = String::new();
        lines.read_line(&mut first).expect("a line");
        let addr = first.trim().strip_prefix("listening on http://").expect("an address");
        Self { child, addr: addr.to_owned(), _lines: lines }
    }

    /// Sends one request on a new connection and returns the body of the 200 response.
    pub(crate) fn ask(&self, method: &str, path: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(&self.addr).expect("it listens");
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: \
             {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("text");
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        answer.split("\r\n\r\n").nth(1).expect("a body").to_owned()
    }
}

impl Running {
    /// Sends one request to the SageMaker API and returns the body as JSON.
    pub(crate) fn sagemaker(&self, operation: &str, body: &str) -> serde_json::Value {
        let mut stream = TcpStream::connect(&self.addr).expect("it listens");
        let length = body.len();
        let request = format!(
            "POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx-amz-target: \
             SageMaker.{operation}\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("text");
        let body = answer.split("\r\n\r\n").nth(1).expect("a body");
        serde_json::from_str(body).expect("JSON")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
