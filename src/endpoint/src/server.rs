//! The HTTP server. It polls all connections in one task and reads each request completely
//! before it answers.

use std::collections::BTreeMap;
use std::future::Future;
use std::io::Read;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use flate2::read::MultiGzDecoder;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Body, Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper::{HeaderMap, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use trimtab_core::ids::{ClusterName, GroupName};
use trimtab_simulator::World;

use crate::configured::BadDetail;
use crate::hosts::{Hosts, NodeChange, Pace, Scope};
use crate::messages::{MONOTONIC_HEADER, NOW_HEADER};
use crate::wire::{Answer, Reply, Request};
use crate::{cloudwatch, sagemaker, world_api};

/// Maximum body size in bytes, compressed and decompressed. PutMetricData accepts 1 MB;
/// the limit is higher so that tests can send bodies that are too large.
const LARGEST_BODY: usize = 4 * 1024 * 1024;
/// Maximum number of open connections. Further connections wait in the listener's queue.
/// An SDK keeps a few dozen open; the limit keeps a leak from using all file descriptors.
const MOST_CONNECTIONS: usize = 512;

/// Why [`Endpoint::bind`] failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "cannot listen on {0}: it is not a loopback address, and the endpoint has no access control; use 127.0.0.1 or [::1]"
    )]
    NotLoopback(SocketAddr),
    #[error("no world to serve: name at least one world file")]
    NoWorld,
    #[error(
        "two worlds have cluster {cluster} in the same account and region ({arn}): change the name, account or region of one"
    )]
    Twice { cluster: ClusterName, arn: String },
    /// All worlds must start at the same time.
    #[error(
        "the worlds of clusters {one} and {other} start at different times: give them the same `start`"
    )]
    Times { one: ClusterName, other: ClusterName },
    /// Instance ids are derived from the seed, so each world needs its own.
    #[error(
        "the worlds of clusters {one} and {other} have the same seed, so their nodes would have the same ids: give each its own `seed`"
    )]
    Seeds { one: ClusterName, other: ClusterName },
    /// A value in the `details` of a group cannot be written as JSON.
    #[error("group {group}: invalid details: {source}")]
    Details { group: GroupName, source: BadDetail },
    #[error("cannot listen on {addr}: {source}")]
    Listen { addr: SocketAddr, source: std::io::Error },
}

/// Options of an endpoint.
#[derive(Clone, Default)]
pub struct Options {
    /// The clock that simulated time follows; `None` for lock-step, where only requests
    /// to `/_world` advance it.
    pub pace: Option<Arc<dyn Pace>>,
}

/// An HTTP endpoint that is bound to an address and ready to serve its worlds.
pub struct Endpoint {
    listener: TcpListener,
    addr: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    hosts: Hosts,
    requests: AtomicU64,
    /// Number of requests by operation; all of `/_world` counts as one operation.
    calls: Mutex<BTreeMap<String, u64>>,
    changed: Notify,
}

/// Access to a running endpoint for the program that serves it.
#[derive(Clone)]
pub struct Handle {
    shared: Arc<Shared>,
}

impl Handle {
    /// Advances the worlds to the clock in [`Options::pace`]; in lock-step it does nothing.
    pub fn catch_up(&self) {
        self.shared.hosts.catch_up();
        self.shared.take_note();
    }

    /// Returns and removes the node changes since the last call.
    pub fn take_changes(&self) -> Vec<NodeChange> {
        self.shared.hosts.take_changes()
    }

    /// Waits until a node is added or terminated.
    pub async fn changed(&self) {
        self.shared.changed.notified().await;
    }
}

impl Shared {
    fn take_note(&self) {
        if self.hosts.take_note() {
            self.changed.notify_one();
        }
    }
}

impl Endpoint {
    /// Binds to a loopback address. Port 0 selects a free port.
    ///
    /// # Errors
    /// If the address is not a loopback address or is in use, if there is no world, or if
    /// the worlds cannot be served together.
    pub async fn bind(
        addr: SocketAddr,
        worlds: Vec<World>,
        options: Options,
    ) -> Result<Self, Error> {
        if !addr.ip().is_loopback() {
            return Err(Error::NotLoopback(addr));
        }
        let hosts = Hosts::new(worlds, options.pace)?;
        let listen = |source| Error::Listen { addr, source };
        let listener = TcpListener::bind(addr).await.map_err(listen)?;
        let addr = listener.local_addr().map_err(listen)?;
        let shared = Shared {
            hosts,
            requests: AtomicU64::new(0),
            calls: Mutex::default(),
            changed: Notify::new(),
        };
        Ok(Self { listener, addr, shared: Arc::new(shared) })
    }

    /// The address that the endpoint listens on.
    pub fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    pub fn handle(&self) -> Handle {
        Handle { shared: Arc::clone(&self.shared) }
    }

    /// Serves until `stop` completes, then answers the requests in progress and returns. A
    /// client that never finishes its request keeps this from returning, so the caller should
    /// limit the wait.
    pub async fn serve(self, stop: impl Future<Output = ()>) {
        let mut stop = pin!(stop);
        let mut connections = FuturesUnordered::new();
        loop {
            tokio::select! {
                () = &mut stop => break,
                Some(ended) = connections.next(), if !connections.is_empty() => note_end(ended),
                accepted = self.listener.accept(), if connections.len() < MOST_CONNECTIONS => {
                    match accepted {
                        Ok((stream, _)) => {
                            // Responses are small, and the client waits for each one.
                            let _ = stream.set_nodelay(true);
                            let front = Connection { shared: Arc::clone(&self.shared) };
                            let builder = http1::Builder::new();
                            let connection = builder.serve_connection(TokioIo::new(stream), front);
                            connections.push(Box::pin(connection));
                        }
                        Err(why) => {
                            tracing::warn!(%why, "cannot accept a connection");
                            // Usually no file descriptor is left; serve the open connections.
                            tokio::task::yield_now().await;
                        }
                    }
                }
            }
        }
        drop(self.listener);
        // A new set polls each connection once. Idle connections then see the shutdown;
        // nothing else would wake them.
        let mut ending = FuturesUnordered::new();
        for mut connection in connections {
            connection.as_mut().graceful_shutdown();
            ending.push(connection);
        }
        while let Some(ended) = ending.next().await {
            note_end(ended);
        }
    }
}

fn note_end(ended: Result<(), hyper::Error>) {
    if let Err(why) = ended {
        // A simulated time-out ends like this, and so does a client that disconnects.
        tracing::debug!(%why, "connection ended");
    }
}

/// Makes hyper close the connection without a response.
#[derive(Debug, thiserror::Error)]
#[error("closed without a response: the world simulates a time-out")]
struct HungUp;

/// Answers the requests of one connection.
struct Connection {
    shared: Arc<Shared>,
}

impl Service<hyper::Request<Incoming>> for Connection {
    type Response = Response<Full<Bytes>>;
    type Error = HungUp;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, HungUp>> + Send>>;

    fn call(&self, request: hyper::Request<Incoming>) -> Self::Future {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            match receive(request).await {
                Ok(request) => shared.answer(&request),
                Err(reply) => Ok(shared.response(reply)),
            }
        })
    }
}

impl Shared {
    fn answer(&self, request: &Request) -> Result<Response<Full<Bytes>>, HungUp> {
        let Request { method, path, query, .. } = request;
        let target = request.header("x-amz-target").unwrap_or_default();
        tracing::debug!(method, path, query, target, "request received");
        self.hosts.catch_up();
        self.count(request);
        let answer = if is_count_asked(request) {
            self.counted().into()
        } else if world_api::is_for_us(request) {
            world_api::answer(&self.hosts, request)
        } else if cloudwatch::is_for_us(request) {
            let (worlds, store) = self.hosts.of_metrics(&Scope::of(request));
            cloudwatch::answer(&worlds, store, request).into()
        } else if sagemaker::is_for_us(request) {
            sagemaker::answer(&self.hosts, request)
        } else {
            unknown(request).into()
        };
        self.take_note();
        match answer {
            Answer::Reply(reply) => Ok(self.response(reply)),
            Answer::HangUp => Err(HungUp),
        }
    }

    fn count(&self, request: &Request) {
        let operation = operation_of(request).to_owned();
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        *calls.entry(operation).or_default() += 1;
    }

    fn counted(&self) -> Reply {
        let calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        let headers = vec![("content-type", "application/json".to_owned())];
        let body = serde_json::to_vec(&*calls).unwrap_or_default();
        Reply { status: 200, headers, body }
    }

    fn response(&self, reply: Reply) -> Response<Full<Bytes>> {
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        let clock = self.hosts.first().world.machine_clock();
        let mut response = Response::builder().status(reply.status);
        for (name, value) in &reply.headers {
            response = response.header(*name, value);
        }
        response
            .header("x-amzn-requestid", format!("00000000-0000-4000-8000-{number:012x}"))
            .header(NOW_HEADER, clock.now().0)
            .header(MONOTONIC_HEADER, clock.monotonic().0)
            .body(Full::new(Bytes::from(reply.body)))
            .unwrap_or_else(|_| Response::new(Full::default()))
    }
}

/// Whether this is `GET /_calls`. The counts it returns include this request.
fn is_count_asked(request: &Request) -> bool {
    request.method == "GET" && request.path == "/_calls"
}

/// The operation's name, or the first part of the path if the request names no operation.
fn operation_of(request: &Request) -> &str {
    let by_target = request.header("x-amz-target").and_then(|target| target.split('.').nth(1));
    let last = || request.path.rsplit('/').next();
    let first = || request.path.split('/').nth(1);
    let by_path = if request.path.starts_with("/service/") { last() } else { first() };
    by_target.or(by_path).unwrap_or_default()
}

fn unknown(request: &Request) -> Reply {
    let target = request.header("x-amz-target");
    let what = match target {
        Some(target) => format!("this endpoint does not support `{target}`"),
        None => format!("this endpoint does not support {} {}", request.method, request.path),
    };
    problem(400, "UnknownOperationException", &what)
}

fn problem(status: u16, code: &str, message: &str) -> Reply {
    let body = serde_json::json!({ "__type": code, "message": message });
    Reply {
        status,
        headers: vec![
            ("content-type", sagemaker::CONTENT_TYPE.to_owned()),
            ("x-amzn-errortype", code.to_owned()),
        ],
        body: body.to_string().into_bytes(),
    }
}

/// Reads a complete request and decompresses its body.
async fn receive(request: hyper::Request<Incoming>) -> Result<Request, Reply> {
    let (head, body) = request.into_parts();
    let too_large = || {
        let what = format!("the body has more than {LARGEST_BODY} bytes");
        problem(413, "RequestEntityTooLargeException", &what)
    };
    // If Content-Length is too large, do not wait for the body.
    if body.size_hint().lower() > LARGEST_BODY as u64 {
        return Err(too_large());
    }
    let body = match Limited::new(body, LARGEST_BODY).collect().await {
        Ok(body) => body.to_bytes().to_vec(),
        Err(why) if why.is::<LengthLimitError>() => return Err(too_large()),
        Err(why) => return Err(problem(400, "SerializationException", &why.to_string())),
    };
    let mut request = Request {
        method: head.method.as_str().to_owned(),
        path: head.uri.path().to_owned(),
        query: head.uri.query().unwrap_or_default().to_owned(),
        headers: plain_headers(&head.headers),
        body,
    };
    // `cloudwatch` decompresses by itself, because it reports errors in its own protocol.
    if cloudwatch::is_for_us(&request) {
        return Ok(request);
    }
    request.body = match request.header("content-encoding") {
        None | Some("" | "identity" | "aws-chunked") => request.body,
        Some("gzip") => unpack(&request.body).ok_or_else(too_large)?.map_err(|why| {
            problem(400, "SerializationException", &format!("the body is not valid gzip: {why}"))
        })?,
        Some(other) => {
            let what = format!("unsupported Content-Encoding `{other}`: use gzip");
            return Err(problem(415, "UnsupportedMediaTypeException", &what));
        }
    };
    Ok(request)
}

/// Decompresses gzip. Returns `None` if the result has more than [`LARGEST_BODY`] bytes.
fn unpack(packed: &[u8]) -> Option<std::io::Result<Vec<u8>>> {
    let mut plain = vec![];
    let limit = LARGEST_BODY as u64 + 1;
    match MultiGzDecoder::new(packed).take(limit).read_to_end(&mut plain) {
        Ok(_) if plain.len() > LARGEST_BODY => None,
        Ok(_) => Some(Ok(plain)),
        Err(why) => Some(Err(why)),
    }
}

/// Headers as text. Values that are not text are dropped: the endpoint reads none.
fn plain_headers(headers: &HeaderMap) -> Vec<(String, String)> {
    let text = |value: &hyper::header::HeaderValue| value.to_str().ok().map(ToOwned::to_owned);
    headers.iter().filter_map(|(name, value)| Some((name.to_string(), text(value)?))).collect()
}
