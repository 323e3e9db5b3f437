//! The HTTP server: connections polled in place, requests read whole.

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

use crate::hosts::{Hosts, NodeChange, Pace, Scope};
use crate::messages::{MONOTONIC_HEADER, NOW_HEADER};
use crate::wire::{Answer, Reply, Request};
use crate::{cloudwatch, sagemaker, world_api};

/// Largest body, as sent and unpacked. CloudWatch takes 1 MB for PutMetricData; the
/// rest is room for what a test sends on purpose.
const LARGEST_BODY: usize = 4 * 1024 * 1024;
/// Connections served at once. More wait in the listener's queue: SDKs keep a few
/// dozen open, and a leak should not eat all file handles.
const MOST_CONNECTIONS: usize = 512;

/// Why an endpoint cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is not this machine's own.
    #[error(
        "{0} is not a loopback address: nothing here is protected, so only 127.0.0.1 and [::1] are served"
    )]
    NotLoopback(SocketAddr),
    /// There is nothing to serve.
    #[error("there is no world to serve")]
    NoWorld,
    /// One cluster is there twice.
    #[error("cluster {cluster} is there twice in one account and region: {arn}")]
    Twice {
        /// Its name.
        cluster: ClusterName,
        /// Its ARN.
        arn: String,
    },
    /// Two worlds do not begin together.
    #[error(
        "clusters {one} and {other} stand at different times: give their worlds the same `start`"
    )]
    Times {
        /// One of them.
        one: ClusterName,
        /// The other.
        other: ClusterName,
    },
    /// Two worlds would have the same instance ids.
    #[error(
        "clusters {one} and {other} have the same seed, so their nodes would have the same ids: give each its own"
    )]
    Seeds {
        /// One of them.
        one: ClusterName,
        /// The other.
        other: ClusterName,
    },
    /// A group's `details` cannot be sent.
    #[error("group {group}: details: {why}")]
    Details {
        /// The group.
        group: GroupName,
        /// What is wrong.
        why: String,
    },
    /// The address cannot be listened on.
    #[error("listening on {addr}: {source}")]
    Listen {
        /// The address.
        addr: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
}

/// How an endpoint is run.
#[derive(Clone, Default)]
pub struct Options {
    /// What the worlds' time follows; `None` for lock-step, where only `/_world`
    /// moves it.
    pub pace: Option<Arc<dyn Pace>>,
}

/// Worlds behind an address, ready to be served.
pub struct Endpoint {
    listener: TcpListener,
    addr: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    hosts: Hosts,
    requests: AtomicU64,
    /// Requests by operation, `/_world` counted as one.
    calls: Mutex<BTreeMap<String, u64>>,
    changed: Notify,
}

/// What the program around an endpoint may ask it for.
#[derive(Clone)]
pub struct Handle {
    shared: Arc<Shared>,
}

impl Handle {
    /// Lets the worlds catch up with the clock that they follow, if they do.
    pub fn catch_up(&self) {
        self.shared.hosts.catch_up();
        self.shared.take_note();
    }

    /// Nodes that joined or ended since the last time.
    pub fn take_changes(&self) -> Vec<NodeChange> {
        self.shared.hosts.take_changes()
    }

    /// Waits until a node joins or ends.
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
    /// Listens on a loopback address; port 0 is any free one.
    ///
    /// # Errors
    /// When the address is another machine's, too, or taken, or when the worlds do
    /// not go together.
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

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    /// A handle for the program around it.
    pub fn handle(&self) -> Handle {
        Handle { shared: Arc::clone(&self.shared) }
    }

    /// Serves until `stop` is done; then answers what is being asked and ends. A
    /// caller that fears a peer who never finishes a request bounds the wait.
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
                            // Small answers, and a client that waits for each.
                            let _ = stream.set_nodelay(true);
                            let front = Connection { shared: Arc::clone(&self.shared) };
                            let builder = http1::Builder::new();
                            let connection = builder.serve_connection(TokioIo::new(stream), front);
                            connections.push(Box::pin(connection));
                        }
                        Err(why) => {
                            tracing::warn!(%why, "a connection could not be accepted");
                            // Out of file handles, most likely: the others go on.
                            tokio::task::yield_now().await;
                        }
                    }
                }
            }
        }
        drop(self.listener);
        // Put in anew, so that each is polled once and the idle ones see that they are to
        // end: nothing else would wake them.
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
        // A hang-up on purpose ends like this, and so does a client that leaves.
        tracing::debug!(%why, "a connection ended");
    }
}

/// The connection is closed without an answer.
#[derive(Debug, thiserror::Error)]
#[error("closed without an answer, as the world wants it")]
struct HungUp;

/// What answers the requests of one connection.
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
        tracing::debug!(method, path, query, target, "a request");
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

/// `GET /_calls`: how often each operation was asked for, this question included.
fn is_count_asked(request: &Request) -> bool {
    request.method == "GET" && request.path == "/_calls"
}

/// What a request asks for: the operation's name, or the first part of its path.
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
        Some(target) => format!("this endpoint does not know `{target}`"),
        None => format!("this endpoint does not know {} {}", request.method, request.path),
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

/// Reads a request whole and unpacks it.
async fn receive(request: hyper::Request<Incoming>) -> Result<Request, Reply> {
    let (head, body) = request.into_parts();
    let too_large = || {
        let what = format!("a body of more than {LARGEST_BODY} bytes");
        problem(413, "RequestEntityTooLargeException", &what)
    };
    // Told in advance, it is not waited for.
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
    // CloudWatch unpacks by itself: what is wrong with a body it says in its own protocol.
    if cloudwatch::is_for_us(&request) {
        return Ok(request);
    }
    request.body = match request.header("content-encoding") {
        None | Some("" | "identity" | "aws-chunked") => request.body,
        Some("gzip") => unpack(&request.body).ok_or_else(too_large)?.map_err(|why| {
            problem(400, "SerializationException", &format!("a body that is no gzip: {why}"))
        })?,
        Some(other) => {
            let what = format!("a body packed with `{other}`, not with gzip");
            return Err(problem(415, "UnsupportedMediaTypeException", &what));
        }
    };
    Ok(request)
}

/// `None` if it is too large.
fn unpack(packed: &[u8]) -> Option<std::io::Result<Vec<u8>>> {
    let mut plain = vec![];
    let limit = LARGEST_BODY as u64 + 1;
    match MultiGzDecoder::new(packed).take(limit).read_to_end(&mut plain) {
        Ok(_) if plain.len() > LARGEST_BODY => None,
        Ok(_) => Some(Ok(plain)),
        Err(why) => Some(Err(why)),
    }
}

/// Header values that are no text are left out: nothing here reads one.
fn plain_headers(headers: &HeaderMap) -> Vec<(String, String)> {
    let text = |value: &hyper::header::HeaderValue| value.to_str().ok().map(ToOwned::to_owned);
    headers.iter().filter_map(|(name, value)| Some((name.to_string(), text(value)?))).collect()
}
