//! The client of `/_world`: the simulated scheduler, clock and prices as ports of the
//! daemon.
//!
//! One connection is kept and used for one request after another. It is driven in
//! place, together with the request that waits for it, so nothing is spawned. After
//! a failure it is dropped, and the next call makes a new one; no call is repeated.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use trimtab_core::ids::{ClusterName, GroupName, LedgerId};
use trimtab_core::reads::Workload;
use trimtab_core::units::{Span, Time, UsdPerHour};
use trimtab_daemon::ports::{
    Clock, Cordon, CordonOrder, Doorbell, MetricsAnswer, MetricsQuery, Prices, ReadError, Ring,
    Utilization, WorkloadRead, WriteError,
};

use crate::messages::{
    ClockReading, MONOTONIC_HEADER, Metrics, MetricsOf, NOW_HEADER, Orders, PriceList, Problem,
    ProblemKind, Sleep, Slept,
};

/// How long one call may take. The endpoint is on this machine; a day of a large
/// world is slept through in well under a second.
const TIME_LIMIT: Duration = Duration::from_secs(60);
/// Largest answer: the workload of 100,000 nodes is about 20 MB.
const LARGEST_ANSWER: usize = 64 * 1024 * 1024;

/// Why [`WorldClient::connect`] failed.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error(
        "`{url}` is not the address of a simulated endpoint: write one like http://127.0.0.1:4010"
    )]
    Url { url: String },
    #[error("{url} does not answer as a simulated endpoint (`trimtab simulate`): {why}")]
    Answer { url: String, why: String },
}

/// A client of `/_world` for all clusters of an endpoint.
#[derive(Clone)]
pub struct WorldClient {
    shared: Arc<Shared>,
}

struct Shared {
    addr: SocketAddr,
    host: String,
    line: Mutex<Option<Line>>,
    /// The cluster for requests about the clock. All clusters share one time line.
    first: ClusterName,
    /// Simulated seconds per real second; 0 in lock-step.
    speed: f64,
    /// The last reading of the clocks, in milliseconds.
    now: AtomicI64,
    monotonic: AtomicI64,
    /// Real time of the last reading; used only if time runs by itself.
    read_at: StdMutex<Instant>,
    prices: BTreeMap<ClusterName, PriceList>,
}

/// A connection, and what has to be polled for it to move.
struct Line {
    send: SendRequest<Full<Bytes>>,
    driver: Pin<Box<dyn Future<Output = ()> + Send>>,
}

/// Response to `GET /_world`.
#[derive(serde::Deserialize)]
struct Here {
    clusters: Vec<HereCluster>,
    speed: f64,
}

#[derive(serde::Deserialize)]
struct HereCluster {
    cluster: ClusterName,
}

impl WorldClient {
    /// Connects, and reads the clusters, their prices and the clock.
    ///
    /// # Errors
    /// If the URL is not `http://ADDRESS:PORT` with a loopback address, or if no simulated
    /// endpoint answers there.
    pub async fn connect(url: &str) -> Result<Self, ConnectError> {
        let (addr, host) = parse(url).ok_or_else(|| ConnectError::Url { url: url.to_owned() })?;
        let answer = |why: String| ConnectError::Answer { url: url.to_owned(), why };
        let first = "unknown".parse().map_err(|_| answer("no name".to_owned()))?;
        let mut shared = Shared {
            addr,
            host,
            line: Mutex::new(None),
            first,
            speed: 0.0,
            now: AtomicI64::new(0),
            monotonic: AtomicI64::new(0),
            read_at: StdMutex::new(wall()),
            prices: BTreeMap::new(),
        };
        let here: Here = shared.get("/_world").await.map_err(|e| answer(e.to_string()))?;
        let Some(first) = here.clusters.first() else {
            return Err(answer("it has no cluster".to_owned()));
        };
        shared.first = first.cluster.clone();
        shared.speed = here.speed;
        for HereCluster { cluster } in &here.clusters {
            // This request fails if several clusters have this name; they then have no prices.
            if let Ok(prices) = shared.get(&format!("/_world/{cluster}/prices")).await {
                shared.prices.insert(cluster.clone(), prices);
            }
        }
        let client = Self { shared: Arc::new(shared) };
        client.read_clock().await.map_err(|e| answer(e.to_string()))?;
        Ok(client)
    }

    /// Whether simulated time advances only while a doorbell sleeps.
    pub fn is_in_lock_step(&self) -> bool {
        self.shared.speed <= 0.0
    }

    /// Simulated seconds per real second; 0 in lock-step.
    pub fn speed(&self) -> f64 {
        self.shared.speed
    }

    /// Reads the clock from the endpoint. Between readings, if time runs by itself, the client
    /// computes the time from the last reading.
    ///
    /// # Errors
    /// If the request fails.
    pub async fn read_clock(&self) -> Result<Time, ReadError> {
        let path = format!("/_world/{}/clock", self.shared.first);
        let reading: ClockReading = self.shared.get(&path).await?;
        self.shared.set_clock(reading.now, reading.monotonic);
        Ok(reading.now)
    }

    /// A doorbell that rings every `every`, counted from the start of the world, and advances
    /// the world while it sleeps. For lock-step only: if time runs by itself, every sleep logs
    /// an error and returns [`Ring::Stop`] immediately.
    pub fn doorbell(&self, every: Span) -> WorldDoorbell {
        WorldDoorbell { client: self.clone(), every }
    }

    /// A summary of the ground truth of a cluster. For tests; no port of the daemon reads it.
    ///
    /// # Errors
    /// If the request fails.
    pub async fn truth(&self, cluster: &ClusterName) -> Result<serde_json::Value, ReadError> {
        self.shared.get(&format!("/_world/{cluster}/truth")).await
    }

    /// Negative control: the nodes are reported as drained, but the simulated scheduler still
    /// starts jobs on them.
    ///
    /// # Errors
    /// The same as for a cordon.
    pub async fn pretend_cordon(
        &self,
        cluster: &ClusterName,
        ledger: &LedgerId,
        orders: &[CordonOrder],
    ) -> Result<(), WriteError> {
        self.order_cordons(cluster, ledger, orders, true).await
    }

    async fn order_cordons(
        &self,
        cluster: &ClusterName,
        ledger: &LedgerId,
        orders: &[CordonOrder],
        pretend: bool,
    ) -> Result<(), WriteError> {
        let orders = orders.iter().map(Into::into).collect();
        let orders = Orders { ledger: ledger.clone(), orders, pretend };
        let path = format!("/_world/{cluster}/cordon");
        self.shared.order(&path, &orders).await
    }
}

/// An empty answer.
#[derive(serde::Deserialize)]
struct Done {}

/// Parses `http://127.0.0.1:4010`, with or without a slash at the end.
fn parse(url: &str) -> Option<(SocketAddr, String)> {
    let host = url.strip_prefix("http://")?.trim_end_matches('/');
    let numeric = host.strip_prefix("localhost").map(|port| format!("127.0.0.1{port}"));
    let addr: SocketAddr = numeric.as_deref().unwrap_or(host).parse().ok()?;
    addr.ip().is_loopback().then(|| (addr, host.to_owned()))
}

#[expect(
    clippy::disallowed_methods,
    reason = "an adapter to a world whose time follows the clock on the wall"
)]
fn wall() -> Instant {
    Instant::now()
}

#[expect(
    clippy::disallowed_methods,
    reason = "a remote call is bounded inside its adapter, and this is one"
)]
async fn limited<T>(call: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(TIME_LIMIT, call).await.ok()
}

impl Shared {
    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ReadError> {
        self.call("GET", path, Bytes::new()).await
    }

    async fn post<B: Serialize, T: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
    ) -> Result<T, ReadError> {
        let body = serde_json::to_vec(body).map_err(|e| unreadable(&e))?;
        self.call("POST", path, body.into()).await
    }

    /// Sends an order for the scheduler.
    async fn order(&self, path: &str, orders: &Orders) -> Result<(), WriteError> {
        let done = self.post::<_, Done>(path, orders).await;
        done.map(|_| ()).map_err(WriteError::of_sent)
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: &str,
        path: &str,
        body: Bytes,
    ) -> Result<T, ReadError> {
        let no_answer = |why: &dyn std::fmt::Display| {
            ReadError::NoAnswer(format!("{}{path}: {why}", self.host).into())
        };
        let request = hyper::Request::builder()
            .method(method)
            .uri(path)
            .header("host", &self.host)
            .header("content-type", "application/json")
            .body(Full::new(body))
            .map_err(|e| unreadable(&e))?;
        let answered = limited(self.send(request)).await;
        let (status, body) = match answered {
            Some(Ok(answer)) => answer,
            Some(Err(why)) => return Err(no_answer(&why)),
            None => return Err(no_answer(&format!("nothing for {} s", TIME_LIMIT.as_secs()))),
        };
        if status == 200 {
            return serde_json::from_slice(&body).map_err(|e| unreadable(&e));
        }
        let problem: Problem = serde_json::from_slice(&body).map_err(|e| unreadable(&e))?;
        let why = problem.why.into();
        Err(match problem.kind {
            ProblemKind::Refused => ReadError::Refused(why),
            ProblemKind::Throttled => ReadError::Throttled(why),
            ProblemKind::Unreadable => ReadError::Unreadable(why),
        })
    }

    /// Sends one request over the kept connection, or over a new one.
    async fn send(
        &self,
        request: hyper::Request<Full<Bytes>>,
    ) -> Result<(u16, Bytes), Box<dyn std::error::Error + Send + Sync>> {
        let mut kept = self.line.lock().await;
        // While this call runs the line is ours: if it is given up in between, no
        // half-read answer is left for the next one.
        let usable = kept.take().filter(|line| !line.send.is_closed());
        let mut line = match usable {
            Some(line) => line,
            None => self.dial().await?,
        };
        let answer = {
            let exchange = async {
                line.send.ready().await?;
                let response = line.send.send_request(request).await?;
                let status = response.status().as_u16();
                self.note_clock(response.headers());
                let body = Limited::new(response.into_body(), LARGEST_ANSWER).collect().await?;
                Ok::<_, Box<dyn std::error::Error + Send + Sync>>((status, body.to_bytes()))
            };
            let mut exchange = std::pin::pin!(exchange);
            tokio::select! {
                biased;
                answer = &mut exchange => answer?,
                // Whatever came before the connection ended has been passed on by now.
                () = &mut line.driver => exchange.await?,
            }
        };
        *kept = Some(line);
        Ok(answer)
    }

    async fn dial(&self) -> Result<Line, Box<dyn std::error::Error + Send + Sync>> {
        let stream = TcpStream::connect(self.addr).await?;
        stream.set_nodelay(true)?;
        let (send, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let driver = Box::pin(async move {
            // How it ends is told by the request that waits on it.
            let _ = connection.await;
        });
        Ok(Line { send, driver })
    }

    fn note_clock(&self, headers: &hyper::HeaderMap) {
        let number = |name: &str| headers.get(name)?.to_str().ok()?.parse::<i64>().ok();
        if let (Some(now), Some(monotonic)) = (number(NOW_HEADER), number(MONOTONIC_HEADER)) {
            self.set_clock(Time(now), Span(monotonic));
        }
    }

    fn set_clock(&self, now: Time, monotonic: Span) {
        let mut read_at = self.read_at.lock().unwrap_or_else(PoisonError::into_inner);
        self.now.store(now.0, Ordering::Relaxed);
        self.monotonic.store(monotonic.0, Ordering::Relaxed);
        *read_at = wall();
    }

    /// The last reading plus the simulated time since then, in milliseconds.
    fn reckon(&self, reading: &AtomicI64) -> i64 {
        let read_at = self.read_at.lock().unwrap_or_else(PoisonError::into_inner);
        let since = wall().saturating_duration_since(*read_at).as_secs_f64() * self.speed;
        reading.load(Ordering::Relaxed).saturating_add((since * 1000.0) as i64)
    }
}

fn unreadable(why: &dyn std::fmt::Display) -> ReadError {
    ReadError::Unreadable(why.to_string().into())
}

#[async_trait]
impl WorkloadRead for WorldClient {
    async fn read(&self, cluster: &ClusterName) -> Result<Workload, ReadError> {
        self.shared.get(&format!("/_world/{cluster}/workload")).await
    }
}

#[async_trait]
impl Cordon for WorldClient {
    async fn cordon(
        &self,
        cluster: &ClusterName,
        ledger: &LedgerId,
        orders: &[CordonOrder],
    ) -> Result<(), WriteError> {
        self.order_cordons(cluster, ledger, orders, false).await
    }

    async fn release(
        &self,
        cluster: &ClusterName,
        ledger: &LedgerId,
        orders: &[CordonOrder],
    ) -> Result<(), WriteError> {
        let orders = orders.iter().map(Into::into).collect();
        let orders = Orders { ledger: ledger.clone(), orders, pretend: false };
        let path = format!("/_world/{cluster}/release");
        self.shared.order(&path, &orders).await
    }
}

#[async_trait]
impl Utilization for WorldClient {
    async fn read(
        &self,
        cluster: &ClusterName,
        queries: &[MetricsQuery],
        _now: Time,
        _fresh_for: Span,
    ) -> Result<MetricsAnswer, ReadError> {
        let mut by_window: BTreeMap<Span, MetricsOf> = BTreeMap::new();
        for query in queries {
            let window = query.rule.window;
            let asked =
                by_window.entry(window).or_insert_with(|| MetricsOf { nodes: vec![], window });
            asked.nodes.push(query.node);
        }
        let mut answer = MetricsAnswer::default();
        for asked in by_window.values() {
            let path = format!("/_world/{cluster}/utilization");
            let metrics: Metrics = self.shared.post(&path, asked).await?;
            answer.activity.extend(metrics);
            answer.calls += 1;
        }
        Ok(answer)
    }

    /// The metrics of the simulated world cost nothing.
    fn metrics_per_node(&self, _cluster: &ClusterName, _group: &GroupName, _devices: u32) -> u64 {
        0
    }
}

impl Prices for WorldClient {
    fn price(&self, cluster: &ClusterName, group: &GroupName) -> Option<UsdPerHour> {
        self.shared.prices.get(cluster)?.get(group).copied()
    }
}

impl Clock for WorldClient {
    fn now(&self) -> Time {
        Time(self.shared.reckon(&self.shared.now))
    }

    fn monotonic(&self) -> Span {
        Span(self.shared.reckon(&self.shared.monotonic))
    }
}

/// The daemon's doorbell in lock-step: the world advances while it sleeps.
pub struct WorldDoorbell {
    client: WorldClient,
    every: Span,
}

#[async_trait]
impl Doorbell for WorldDoorbell {
    /// Returns [`Ring::Stop`] if the endpoint no longer answers.
    async fn next(&mut self, deadline: Option<Time>) -> Ring {
        let shared = &self.client.shared;
        let path = format!("/_world/{}/sleep", shared.first);
        let slept: Result<Slept, ReadError> =
            shared.post(&path, &Sleep { deadline, every: self.every }).await;
        match slept {
            Ok(Slept { now, monotonic, ring }) => {
                shared.set_clock(now, monotonic);
                ring.into()
            }
            Err(why) => {
                tracing::error!(%why, "simulated endpoint does not answer; stopping");
                Ring::Stop
            }
        }
    }
}
