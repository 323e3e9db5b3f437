//! Sends one request to slurmrestd, on its own connection, with a time limit, without following
//! redirects, and with limits on the bytes that are read and kept.

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
use trimtab_config::RestAddress;
use trimtab_core::text::start;

use super::members::Members;

/// Time limit of one request. slurmrestd itself waits 9 seconds for a slurmctld that does not
/// answer, and for 10,000 jobs it took 12 to 19 seconds on two busy cores.
const TIME_MAX: Duration = Duration::from_secs(60);

/// Limit on the bytes of an answer: 100,000 jobs of 9 kB.
const READ_MAX: u64 = 1 << 30;

/// Limit on the bytes of an answer that are kept.
pub(super) const HELD_MAX: usize = 64 << 20;

/// Header for Slurm's tokens.
const TOKEN_HEADER: &str = "x-slurm-user-token";

/// A request to slurmrestd.
pub(super) struct Question<'a> {
    pub(super) method: Method,
    pub(super) path: &'a str,
    pub(super) body: Vec<u8>,
    pub(super) token: Option<HeaderValue>,
    /// Members to keep of the listed objects; see [`Members`].
    pub(super) wanted: &'a [&'a str],
}

/// An HTTP response.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// The kept members if the body is JSON, otherwise why it is not.
    pub(super) body: Result<Vec<u8>, String>,
}

/// A connection over any transport.
trait Line: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Line for T {}

/// Sends a request and returns the response.
///
/// # Errors
/// When the connection fails, the response is not HTTP, or the time limit passes.
#[expect(
    clippy::disallowed_methods,
    reason = "an adapter limits the time of its remote calls, and this is one"
)]
pub(super) async fn ask(address: &RestAddress, question: Question<'_>) -> Result<Answer, String> {
    timeout(TIME_MAX, exchange(address, question, None))
        .await
        .map_err(|_| format!("timed out after {} s", TIME_MAX.as_secs()))?
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

/// Polls the answer and the connection together, because trimtab spawns no tasks here.
async fn drive<T>(
    answer: impl Future<Output = Result<T, String>>,
    connection: impl Future<Output = Result<(), hyper::Error>>,
) -> Result<T, String> {
    let (mut answer, mut connection) = (std::pin::pin!(answer), std::pin::pin!(connection));
    tokio::select! {
        biased;
        answer = &mut answer => answer,
        // Data that arrived before the connection ended has been passed on by now.
        _ = &mut connection => answer.await,
    }
}

async fn receive(
    response: hyper::Response<hyper::body::Incoming>,
    wanted: &[&str],
) -> Result<Answer, String> {
    let status = response.status().as_u16();
    let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let kind = kind.unwrap_or("an unnamed type");
    if !kind.starts_with("application/json") {
        let what = start(kind, 60);
        return Ok(Answer { status, body: Err(format!("the answer is {what} instead of JSON")) });
    }
    let mut body = response.into_body();
    let mut members = Members::new(wanted, HELD_MAX);
    let mut read = 0_u64;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|why| format!("the answer broke off: {why}"))?;
        let Some(bytes) = frame.data_ref() else { continue };
        read = read.saturating_add(bytes.len() as u64);
        if read > READ_MAX {
            return Ok(Answer {
                status,
                body: Err(format!("the answer exceeds {READ_MAX} bytes")),
            });
        }
        if let Err(why) = members.push(bytes) {
            return Ok(Answer { status, body: Err(why.to_string()) });
        }
    }
    Ok(Answer { status, body: members.end().map_err(|why| why.to_string()) })
}

/// Connects. TLS uses these roots, or the system's if there are none.
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

/// Returns the certificate authorities that this machine trusts. They are read for each
/// connection, because certificates are replaced. `SSL_CERT_FILE` and `SSL_CERT_DIR` replace
/// the system's list.
fn machine_roots() -> Result<RootCertStore, String> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        let first = found.errors.first().map(ToString::to_string).unwrap_or_default();
        return Err(format!("no trusted certificate authority found on this machine {first}"));
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

#[cfg(test)]
mod tests {
    use rustls::ServerConfig;
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    use super::*;

    /// A test authority, and its certificate for `localhost` and 127.0.0.1, valid for a hundred
    /// years.
    const AUTHORITY: &[u8] = include_bytes!("tls/ca.pem");
    const CERTIFICATE: &[u8] = include_bytes!("tls/server.pem");
    const KEY: &[u8] = include_bytes!("tls/server-key.pem");

    fn acceptor() -> TlsAcceptor {
        let certificate = CertificateDer::from_pem_slice(CERTIFICATE).expect("a certificate");
        let key = PrivateKeyDer::from_pem_slice(KEY).expect("a key");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .expect("a key that fits");
        TlsAcceptor::from(Arc::new(config))
    }

    fn trusting(pem: &[u8]) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(pem).expect("a certificate"))
            .expect("an authority");
        roots
    }

    /// Sends a request to a server with that certificate at this address.
    async fn ask_by(
        bound: &str,
        host: &str,
        roots: Option<RootCertStore>,
    ) -> (Result<Answer, String>, String) {
        let listener = TcpListener::bind((bound, 0)).await.expect("bound");
        let port = listener.local_addr().expect("an address").port();
        let address = RestAddress::Tls { host: host.to_owned(), port };
        let token = HeaderValue::from_static("a.b.c");
        let question = Question {
            method: Method::GET,
            path: "/x",
            body: vec![],
            token: Some(token),
            wanted: &[],
        };
        let serve = async {
            let (stream, _) = listener.accept().await.expect("a connection");
            let Ok(mut stream) = acceptor().accept(stream).await else { return String::new() };
            let mut seen = String::new();
            while !seen.ends_with("\r\n\r\n") {
                let mut byte = [0];
                match stream.read(&mut byte).await {
                    Ok(1) => seen.push(char::from(byte[0])),
                    Ok(_) | Err(_) => return seen,
                }
            }
            let reply = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\
                         Content-Length: 2\r\n\r\n{}";
            stream.write_all(reply.as_bytes()).await.expect("sent");
            seen
        };
        tokio::join!(exchange(&address, question, roots), serve)
    }

    #[tokio::test]
    async fn a_token_goes_only_to_whom_an_authority_vouches_for() {
        for host in ["localhost", "127.0.0.1"] {
            let (answer, seen) = ask_by("127.0.0.1", host, Some(trusting(AUTHORITY))).await;
            let answer = answer.expect("an answer");
            assert_eq!((answer.status, answer.body), (200, Ok(b"{}".to_vec())));
            assert!(seen.contains("x-slurm-user-token: a.b.c\r\n"), "{seen}");
        }
        let (answer, seen) = ask_by("127.0.0.1", "localhost", None).await;
        assert!(answer.is_err() && seen.is_empty(), "this machine does not trust it: {answer:?}");
        let (answer, seen) = ask_by("127.0.0.2", "127.0.0.2", Some(trusting(AUTHORITY))).await;
        let why = answer.expect_err("the certificate is for another host");
        assert!(why.contains("not valid for name") && seen.is_empty(), "{why}");
    }

    #[tokio::test]
    async fn who_does_not_speak_tls_is_no_slurmrestd() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("bound");
        let port = listener.local_addr().expect("an address").port();
        let address = RestAddress::Tls { host: "localhost".to_owned(), port };
        let question =
            Question { method: Method::GET, path: "/", body: vec![], token: None, wanted: &[] };
        let serve = async {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.expect("sent");
        };
        let (answer, ()) =
            tokio::join!(exchange(&address, question, Some(trusting(AUTHORITY))), serve);
        assert!(answer.is_err(), "{answer:?}");
    }
}
