//! Tests of the endpoint over real sockets: HTTP, `/_world` and its client.

use std::future::Future;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use flate2::Compression;
use flate2::write::GzEncoder;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use trimtab_core::ids::{ActionId, ClusterName, LedgerId};
use trimtab_core::policy::UtilizationRule;
use trimtab_core::units::{Share, Span, Time};
use trimtab_daemon::ports::{
    Clock, Cordon, CordonOrder, Doorbell, MetricsQuery, Prices, ReadError, Ring, Utilization,
    WorkloadRead, WriteError,
};
use trimtab_simulator::World;
use trimtab_simulator::spec::WorldSpec;

use crate::{Change, Endpoint, Error, Handle, Options, Pace, WorldClient};

const SMALL: &str = r#"
seed = 3
cluster = "c"
join_delay = "0s"
listing_lag = "0s"
delete_delay = "2m"
[[group]]
name = "gpu"
count = 4
gpus_per_node = 8
price_usd_per_hour = 10.0
boot = "10m"
"#;

fn world(more: &str) -> World {
    let text = format!("{SMALL}{more}");
    let spec = WorldSpec::parse(&text, "small.toml").unwrap_or_else(|e| panic!("{e}"));
    World::new(spec, vec![]).expect("a world")
}

fn cluster() -> ClusterName {
    "c".parse().expect("valid")
}

fn loopback() -> SocketAddr {
    "127.0.0.1:0".parse().expect("valid")
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(future)
}

/// Serves while `test` runs, then stops and waits until serving has ended.
fn serve<T, F: Future<Output = T>>(
    worlds: Vec<World>,
    options: Options,
    test: impl FnOnce(SocketAddr, Handle) -> F,
) -> T {
    block_on(async {
        let endpoint = Endpoint::bind(loopback(), worlds, options).await.expect("it binds");
        let (addr, handle) = (endpoint.local_addr(), endpoint.handle());
        let (stop, stopped) = oneshot::channel::<()>();
        let stopped = async {
            let _ = stopped.await;
        };
        let test = async {
            let answer = test(addr, handle).await;
            let _ = stop.send(());
            answer
        };
        let ((), answer) = tokio::join!(endpoint.serve(stopped), test);
        answer
    })
}

/// Sends raw bytes and reads one response: status, head and body. Returns `None` if the
/// connection closes first.
async fn exchange(stream: &mut TcpStream, request: &[u8]) -> Option<(u16, String, String)> {
    stream.write_all(request).await.expect("sent");
    let mut answer = vec![];
    loop {
        let text = String::from_utf8_lossy(&answer).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|l| l.strip_prefix("content-length: "));
            let length: usize = length.unwrap_or("0").parse().expect("a length");
            if body.len() >= length {
                let status = head.split(' ').nth(1).and_then(|s| s.parse().ok());
                return Some((status.expect("a status"), head.to_owned(), body.to_owned()));
            }
        }
        let mut part = [0; 65_536];
        match stream.read(&mut part).await {
            Ok(0) | Err(_) => return None,
            Ok(n) => answer.extend(&part[..n]),
        }
    }
}

fn post(target: &str, more: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST / HTTP/1.1\r\nhost: x\r\nx-amz-target: {target}\r\n{more}content-length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut packed = GzEncoder::new(vec![], Compression::default());
    packed.write_all(plain).expect("into memory");
    packed.finish().expect("into memory")
}

fn bind_error(addr: &str, worlds: Vec<World>) -> Error {
    let addr = addr.parse().expect("an address");
    match block_on(Endpoint::bind(addr, worlds, Options::default())) {
        Ok(_) => panic!("it binds"),
        Err(error) => error,
    }
}

async fn connect(addr: SocketAddr) -> WorldClient {
    WorldClient::connect(&format!("http://{addr}/")).await.expect("it connects")
}

#[test]
fn only_loopback_and_worlds_that_go_together_are_served() {
    let said = bind_error("0.0.0.0:0", vec![world("")]).to_string();
    assert!(said.contains("0.0.0.0:0: it is not a loopback address"), "{said}");
    assert!(matches!(bind_error("[::]:0", vec![world("")]), Error::NotLoopback(_)));
    assert!(matches!(bind_error("127.0.0.1:0", vec![]), Error::NoWorld));
    let other = |change: &dyn Fn(&mut WorldSpec)| {
        let mut spec = (*world("").spec()).clone();
        change(&mut spec);
        vec![world(""), World::new(spec, vec![]).expect("a world")]
    };
    let twice = bind_error("127.0.0.1:0", other(&|spec| spec.seed = 4));
    assert!(matches!(twice, Error::Twice { .. }), "{twice}");
    let named = |spec: &mut WorldSpec| spec.cluster = "d".parse().expect("valid");
    let seeds = bind_error("127.0.0.1:0", other(&named));
    assert!(matches!(seeds, Error::Seeds { .. }), "{seeds}");
    let times = bind_error(
        "127.0.0.1:0",
        other(&|spec| {
            named(spec);
            spec.seed = 4;
            spec.start = spec.start + Span::secs(1);
        }),
    );
    assert!(matches!(times, Error::Times { .. }), "{times}");
    let details = world("details = { LaunchTime = 2026-01-01T00:00:00Z }\n");
    let said = bind_error("127.0.0.1:0", vec![details]).to_string();
    assert!(said.contains("group gpu: invalid details: 2026-01-01"), "{said}");
}

#[test]
fn one_connection_carries_many_requests_plain_and_packed() {
    serve(vec![world("")], Options::default(), |addr, _| async move {
        let mut stream = TcpStream::connect(addr).await.expect("it listens");
        let body = b"{\"ClusterName\":\"c\"}";
        let plain = post("SageMaker.DescribeCluster", "", body);
        let packed = gzip(body);
        let packed = post("SageMaker.DescribeCluster", "content-encoding: gzip\r\n", &packed);
        let mut bodies = vec![];
        for request in [&plain, &packed, &plain] {
            let (status, head, body) = exchange(&mut stream, request).await.expect("an answer");
            assert_eq!(status, 200, "{body}");
            for header in
                ["x-amzn-requestid: ", "x-trimtab-world-now: ", "content-type: application/x-amz-"]
            {
                assert!(head.contains(header), "{header}: {head}");
            }
            bodies.push(body);
        }
        assert!(bodies.iter().all(|body| *body == bodies[0]));
    });
}

#[test]
fn bodies_that_cannot_be_read_are_refused_and_the_connection_or_the_next_goes_on() {
    serve(vec![world("")], Options::default(), |addr, _| async move {
        let huge = vec![b' '; 5 * 1024 * 1024];
        for (request, wanted) in [
            (post("SageMaker.ListClusters", "content-encoding: gzip\r\n", b"{}"), 400),
            (post("SageMaker.ListClusters", "content-encoding: br\r\n", b"{}"), 415),
            (post("SageMaker.ListClusters", "content-encoding: gzip\r\n", &gzip(&huge)), 413),
            (post("SageMaker.ListClusters", "", b"\xff"), 400),
            (post("SageMaker.ListClusters", "", b""), 200),
            (post("Elsewhere.ListClusters", "", b"{}"), 400),
            (b"GET / HTTP/1.1\r\nhost: x\r\n\r\n".to_vec(), 400),
            (b"GET /_world HTTP/1.1\r\nhost: x\r\n\r\n".to_vec(), 200),
            (b"GET /_worlds HTTP/1.1\r\nhost: x\r\n\r\n".to_vec(), 400),
        ] {
            let mut stream = TcpStream::connect(addr).await.expect("it listens");
            let (status, _, body) = exchange(&mut stream, &request).await.expect("an answer");
            assert_eq!(status, wanted, "{body}");
        }
        // The limit also applies to the body as sent, before decompression.
        let mut stream = TcpStream::connect(addr).await.expect("it listens");
        let head = "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999\r\n\r\n";
        let (status, _, body) =
            exchange(&mut stream, head.as_bytes()).await.expect("an answer before the body");
        assert_eq!(status, 413, "{body}");
    });
}

#[test]
fn a_request_that_the_world_loses_ends_its_connection_without_a_word() {
    let fault = "[[fault]]\nat = \"1m\"\nfor = \"1h\"\nkind = \"write-times-out-after-acting\"\n";
    let world = world(fault);
    world.advance_by(Span::mins(2));
    let own = world.clone();
    serve(vec![world], Options::default(), |addr, _| async move {
        let id = own.control_nodes().expect("a listing").nodes[0].id;
        let body = format!("{{\"ClusterName\":\"c\",\"NodeIds\":[\"{id}\"]}}");
        let request = post("SageMaker.BatchDeleteClusterNodes", "", body.as_bytes());
        let mut stream = TcpStream::connect(addr).await.expect("it listens");
        assert!(exchange(&mut stream, &request).await.is_none());
        assert_eq!(own.truth().requests.len(), 1);
        let client = connect(addr).await;
        let ledger: LedgerId = "l-1".parse().expect("valid");
        let name = own.workload(&cluster()).expect("an answer").nodes[1].name.clone();
        let orders = [CordonOrder { name, action: ActionId(1) }];
        let lost = client.cordon(&cluster(), &ledger, &orders).await;
        assert!(matches!(lost, Err(WriteError::NoAnswer(_))), "{lost:?}");
        assert_eq!(own.truth().cordons.len(), 1, "it acted all the same");
        let again = client.truth(&cluster()).await.expect("a new connection");
        assert_eq!(again["cordons"].as_array().map(Vec::len), Some(1));
    });
}

#[test]
fn the_client_is_the_scheduler_the_clock_the_doorbell_and_the_price_list() {
    let world = world("[[job]]\nat = \"5m\"\nlength = \"2h\"\nnodes = 1\n");
    let own = world.clone();
    serve(vec![world], Options::default(), |addr, _| async move {
        let client = connect(addr).await;
        assert!(client.is_in_lock_step());
        let start = own.spec().start;
        assert_eq!((client.now(), client.monotonic()), (start, Span::ZERO));

        let mut doorbell = client.doorbell(Span::mins(10));
        assert_eq!(doorbell.next(Some(start + Span::mins(3))).await, Ring::Deadline);
        assert_eq!((client.now(), own.now()), (start + Span::mins(3), start + Span::mins(3)));
        assert_eq!(doorbell.next(None).await, Ring::Schedule);
        assert_eq!((client.now(), client.monotonic()), (start + Span::mins(10), Span::mins(10)));

        let read = WorkloadRead::read(&client, &cluster()).await.expect("an answer");
        assert_eq!(read, own.workload(&cluster()).expect("an answer"));
        assert_eq!(read.nodes.iter().filter(|node| !node.claims.is_empty()).count(), 1);
        let nobody: ClusterName = "nobody".parse().expect("valid");
        let refused = WorkloadRead::read(&client, &nobody).await;
        assert!(matches!(refused, Err(ReadError::Refused(_))), "{refused:?}");

        let ledger: LedgerId = "l-1".parse().expect("valid");
        let orders = [CordonOrder { name: read.nodes[3].name.clone(), action: ActionId(7) }];
        client.cordon(&cluster(), &ledger, &orders).await.expect("cordoned");
        assert_eq!(&*own.truth().cordons[0].1, "trimtab:l-1:7");
        client.release(&cluster(), &ledger, &orders).await.expect("released");
        assert_eq!(own.truth().cordons, []);
        client.pretend_cordon(&cluster(), &ledger, &orders).await.expect("pretended");
        assert_eq!(own.truth().cordons, [], "it only shows");
        let shown = own.workload(&cluster()).expect("an answer").nodes[3].drained.clone();
        assert_eq!(shown.as_deref(), Some("trimtab:l-1:7"));

        let gpu = "gpu".parse().expect("valid");
        assert_eq!(client.price(&cluster(), &gpu).map(|price| price.as_dollars()), Some(10.0));
        assert_eq!(client.price(&nobody, &gpu), None);

        own.advance_to(start + Span::mins(40));
        let node = own.control_nodes().expect("a listing").nodes[0].id;
        let rule = rule(Span::mins(20));
        let query = MetricsQuery { node, group: gpu, name: None, devices: 8, rule };
        let fresh_for = Span::mins(5);
        let read = Utilization::read(&client, &cluster(), &[query], own.now(), fresh_for).await;
        let activity = read.expect("an answer").activity;
        let expected = own.utilization(&cluster(), &[node], Span::mins(20)).expect("an answer");
        assert_eq!(activity, expected);
        assert_eq!(activity.len(), 1);
    });
}

/// A rule whose window is the only value that matters here.
fn rule(window: Span) -> UtilizationRule {
    let any = Share::try_from_percent(5.0).expect("a share");
    UtilizationRule { idle_below: any, memory_below: any, window, period: Span::mins(1) }
}

/// A clock that the test sets.
struct ByHand(AtomicI64);

impl Pace for ByHand {
    fn elapsed(&self) -> Span {
        Span(self.0.load(Ordering::Relaxed))
    }

    fn speed(&self) -> f64 {
        60.0
    }
}

#[test]
fn worlds_that_follow_a_clock_move_with_it_and_with_nothing_else() {
    let mut other = (*world("").spec()).clone();
    other.cluster = "d".parse().expect("valid");
    other.seed = 4;
    let worlds = vec![world(""), World::new(other, vec![]).expect("a world")];
    let start = worlds[0].now();
    let all = worlds.clone();
    let clock = Arc::new(ByHand(AtomicI64::new(0)));
    let pace: Arc<dyn Pace> = clock.clone();
    serve(worlds, Options { pace: Some(pace) }, |addr, handle| async move {
        clock.0.store(90_000, Ordering::Relaxed);
        let client = connect(addr).await;
        assert!(!client.is_in_lock_step() && client.speed() == 60.0);
        assert!(client.now() >= start + Span::secs(90), "reckoned from the last reading");
        assert!(all.iter().all(|own| own.now() == start + Span::secs(90)));
        assert_eq!(client.doorbell(Span::mins(1)).next(None).await, Ring::Stop);
        assert!(all.iter().all(|own| own.now() == start + Span::secs(90)));
        clock.0.store(120_000, Ordering::Relaxed);
        handle.catch_up();
        assert!(all.iter().all(|own| own.now() == start + Span::secs(120)));
    });
}

#[test]
fn worlds_in_lock_step_move_together_and_tell_of_their_nodes() {
    let mut other = (*world("").spec()).clone();
    other.cluster = "d".parse().expect("valid");
    other.seed = 4;
    let worlds = vec![world(""), World::new(other, vec![]).expect("a world")];
    let all = worlds.clone();
    serve(worlds, Options::default(), |addr, handle| async move {
        let client = connect(addr).await;
        let node = all[1].control_nodes().expect("a listing").nodes[2].clone();
        let body = format!("{{\"ClusterName\":\"d\",\"NodeIds\":[\"{}\"]}}", node.id);
        let request = post("SageMaker.BatchDeleteClusterNodes", "", body.as_bytes());
        let mut stream = TcpStream::connect(addr).await.expect("it listens");
        let (status, ..) = exchange(&mut stream, &request).await.expect("an answer");
        assert_eq!((status, handle.take_changes()), (200, vec![]));
        let until: Time = all[0].now() + Span::mins(4);
        client.doorbell(Span::mins(4)).next(None).await;
        assert!(all.iter().all(|own| own.now() == until));
        handle.changed().await;
        let changes = handle.take_changes();
        assert_eq!(changes.len(), 1, "{changes:?}");
        let change = &changes[0];
        assert_eq!((change.change, change.node, &change.name), (Change::Gone, node.id, &node.name));
        assert_eq!((change.cluster.as_str(), change.group.as_str()), ("d", "gpu"));
        assert_eq!(handle.take_changes(), []);
    });
}

#[test]
fn a_client_finds_no_endpoint_where_there_is_none() {
    block_on(async {
        for url in ["https://127.0.0.1:1", "127.0.0.1:1", "http://10.0.0.1:80", "http://x:1", ""] {
            let error = WorldClient::connect(url).await.err().expect("no such address").to_string();
            assert!(error.contains("is not the address of a simulated endpoint"), "{error}");
        }
        let error = WorldClient::connect("http://127.0.0.1:1").await.err().expect("no server");
        assert!(error.to_string().contains("does not answer as a simulated endpoint"), "{error}");
    });
}
