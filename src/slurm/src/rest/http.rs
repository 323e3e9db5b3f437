//! One request to slurmrestd, bounded in every direction: a connection of its own, a
//! time limit, no redirect, and of the answer no more bytes than a limit, of which only
//! what is needed is held.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use trimtab_daemon::config::RestAddress;

use super::members::Members;

/// How long one request may take. slurmrestd itself waits 9 seconds for a slurmctld
/// that is away, and as the commands do it needs a while for 20,000 jobs.
const TIME_MAX: Duration = Duration::from_secs(20);

/// The most bytes that are taken from the line: 100,000 jobs of 9 kB.
const READ_MAX: u64 = 1 << 30;

/// The most bytes that are held.
pub(super) const HELD_MAX: usize = 64 << 20;

/// The header that Slurm's tokens are sent in.
const TOKEN_HEADER: &str = "x-slurm-user-token";

/// What is asked.
pub(super) struct Question<'a> {
    pub(super) method: Method,
    pub(super) path: &'a str,
    pub(super) body: Vec<u8>,
    pub(super) token: Option<HeaderValue>,
    /// The members that are needed of what is listed in the answer; see [`Members`].
    pub(super) wanted: &'a [&'a str],
}

/// What came back, whatever it says.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// Its members, where it is JSON; otherwise its start.
    pub(super) body: Result<Vec<u8>, String>,
}

/// A connection, whatever carries it.
trait Line: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Line for T {}

/// Asks.
///
/// # Errors
/// When nobody answers as HTTP does, or not in time.
pub(super) async fn ask(address: &RestAddress, question: Question<'_>) -> Result<Answer, String> {
    timeout(TIME_MAX, exchange(address, question, None))
        .await
        .map_err(|_| format!("nothing for {} s", TIME_MAX.as_secs()))?
}

async fn exchange(
    address: &RestAddress,
    question: Question<'_>,
    roots: Option<RootCertStore>,
) -> Result<Answer, String> {
    let line = dial(address, roots).await?;
    let handshake = http1::handshake(TokioIo::new(line)).await;
    let (mut send, connection) = handshake.map_err(|why| why.to_string())?;
    let wanted = question.wanted;
    let request = request(address, question)?;
    let answer = async {
        let response = send.send_request(request).await.map_err(|why| why.to_string())?;
        receive(response, wanted).await
    };
    drive(answer, connection).await
}

fn request(address: &RestAddress, question: Question<'_>) -> Result<Request<Full<Bytes>>, String> {
    let host = match address {
        RestAddress::Socket(_) => "localhost".to_owned(),
        RestAddress::Loopback(address) => address.to_string(),
        RestAddress::Tls { host, port } if host.contains(':') => format!("[{host}]:{port}"),
        RestAddress::Tls { host, port } => format!("{host}:{port}"),
    };
    let mut request = Request::builder()
        .method(question.method)
        .uri(question.path)
        .header(HOST, host)
        .header(ACCEPT, "application/json");
    if !question.body.is_empty() {
        request = request.header(CONTENT_TYPE, "application/json");
    }
    if let Some(token) = question.token {
        request = request.header(TOKEN_HEADER, token);
    }
    request.body(Full::new(question.body.into())).map_err(|why| why.to_string())
}

/// The connection moves only while somebody waits for it, and nothing is spawned here.
async fn drive<T>(
    answer: impl Future<Output = Result<T, String>>,
    connection: impl Future<Output = Result<(), hyper::Error>>,
) -> Result<T, String> {
    let (mut answer, mut connection) = (std::pin::pin!(answer), std::pin::pin!(connection));
    tokio::select! {
        biased;
        answer = &mut answer => answer,
        // Whatever came before it ended has been passed on by now.
        _ = &mut connection => answer.await,
    }
}

async fn receive(
    response: hyper::Response<hyper::body::Incoming>,
    wanted: &[&str],
) -> Result<Answer, String> {
    let status = response.status().as_u16();
    let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let kind = kind.unwrap_or("something unnamed");
    if !kind.starts_with("application/json") {
        let what: String = kind.chars().filter(|c| !c.is_control()).take(60).collect();
        return Ok(Answer { status, body: Err(format!("it is {what} instead of JSON")) });
    }
    let mut body = response.into_body();
    let mut members = Members::new(wanted, HELD_MAX);
    let mut read = 0_u64;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|why| format!("it broke off: {why}"))?;
        let Some(bytes) = frame.data_ref() else { continue };
        read = read.saturating_add(bytes.len() as u64);
        if read > READ_MAX {
            return Ok(Answer { status, body: Err(format!("it has more than {READ_MAX} bytes")) });
        }
        if let Err(why) = members.push(bytes) {
            return Ok(Answer { status, body: Err(why.to_string()) });
        }
    }
    Ok(Answer { status, body: members.end().map_err(|why| why.to_string()) })
}

/// Connects; for TLS by these roots or, without any, by this machine's.
async fn dial(
    address: &RestAddress,
    roots: Option<RootCertStore>,
) -> Result<Box<dyn Line>, String> {
    let text = |why: std::io::Error| why.to_string();
    match address {
        RestAddress::Socket(path) => Ok(Box::new(UnixStream::connect(path).await.map_err(text)?)),
        RestAddress::Loopback(address) => {
            Ok(Box::new(TcpStream::connect(address).await.map_err(text)?))
        }
        RestAddress::Tls { host, port } => {
            let roots = match roots {
                Some(roots) => roots,
                None => machine_roots()?,
            };
            let connector = connector(roots)?;
            let name = ServerName::try_from(host.clone()).map_err(|why| why.to_string())?;
            let stream = TcpStream::connect((host.as_str(), *port)).await.map_err(text)?;
            Ok(Box::new(connector.connect(name, stream).await.map_err(text)?))
        }
    }
}

/// Whom this machine trusts, read anew for each connection: certificates are replaced,
/// too. `SSL_CERT_FILE` and `SSL_CERT_DIR` name others than the system's.
fn machine_roots() -> Result<RootCertStore, String> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        let first = found.errors.first().map(ToString::to_string).unwrap_or_default();
        return Err(format!("this machine trusts no certificate authority {first}"));
    }
    Ok(roots)
}

fn connector(roots: RootCertStore) -> Result<TlsConnector, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = builder.map_err(|why| why.to_string())?.with_root_certificates(roots);
    Ok(TlsConnector::from(Arc::new(config.with_no_client_auth())))
}
