//! Answers of slurmrestd 24.11 (`recorded/`, one list item per line), what they are parsed
//! into, and answers that are rejected.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use trimtab_core::reads::{Eligible, PendingJob};
use trimtab_core::units::Time;

use super::*;

const NODES: &str = include_str!("recorded/nodes.json");
const JOBS: &str = include_str!("recorded/jobs.json");
const STATE: &str = include_str!("recorded/state.json");
const RESERVATIONS: &str = include_str!("recorded/reservations.json");
const PING: &str = include_str!("recorded/ping.json");
/// HTTP 511.
const WRONG_TOKEN: &str = include_str!("recorded/wrong-token.json");
/// HTTP 502: slurmctld is away, and the list is empty.
const AWAY: &str = include_str!("recorded/away.json");

const TOKEN: &str = "eyJhbGciOiJIUzI1NiJ9.eyJzdW4iOiJyb290In0.c2VjcmV0LXBhcnQ";

/// A slurmrestd that sends the given replies.
struct Fake {
    folder: TempDir,
    listener: UnixListener,
    rest: Rest,
}

impl Fake {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (socket, token) = (folder.path().join("socket"), folder.path().join("token"));
        fs::write(&token, TOKEN).expect("written");
        fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).expect("set");
        let listener = UnixListener::bind(&socket).expect("bound");
        let rest = Rest::new(RestAddress::Socket(socket), Some(token));
        Self { folder, listener, rest }
    }

    /// Runs a call. Returns its result and the requests that these replies answered.
    async fn answering<T>(
        &self,
        replies: &[String],
        call: impl Future<Output = T>,
    ) -> (T, Vec<String>) {
        let serve = async {
            let mut requests = vec![];
            for reply in replies {
                let (stream, _) = self.listener.accept().await.expect("a connection");
                requests.push(serve(stream, reply).await);
            }
            requests
        };
        tokio::join!(call, serve)
    }

    async fn jobs_of(&self, reply: String) -> Result<Jobs, ReadError> {
        self.answering(&[reply], self.rest.jobs()).await.0
    }
}

async fn serve(mut stream: UnixStream, reply: &str) -> String {
    let mut request = vec![];
    let mut buffer = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&request).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.map_or(0, |length| length.parse().expect("a number")) {
                stream.write_all(reply.as_bytes()).await.expect("sent");
                return text;
            }
        }
        let read = stream.read(&mut buffer).await.expect("more");
        assert!(read > 0, "the request broke off: {text}");
        request.extend_from_slice(&buffer[..read]);
    }
}

fn reply(status: u16, kind: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn json(body: &str) -> String {
    reply(200, "application/json", body)
}

/// An answer with this list and no errors.
fn listing(name: &str, items: &str) -> String {
    format!(
        r#"{{"{name}":[{items}],"meta":{{"plugin":{{"data_parser":"data_parser/v0.0.42"}}}},
            "errors":[],"warnings":[]}}"#
    )
}

fn path(request: &str) -> &str {
    request.split("\r\n").next().expect("a line")
}

#[tokio::test]
async fn recorded_nodes_are_claimed_as_their_states_say() {
    let fake = Fake::start();
    let (nodes, requests) = fake.answering(&[json(NODES)], fake.rest.nodes()).await;
    assert_eq!(path(&requests[0]), "GET /slurm/v0.0.42/nodes/ HTTP/1.1");
    assert!(requests[0].contains(&format!("x-slurm-user-token: {TOKEN}\r\n")), "{requests:?}");
    let said: Vec<String> = nodes
        .expect("an answer")
        .iter()
        .map(|node| {
            let claims: Vec<String> = node.claims.iter().map(ToString::to_string).collect();
            let drained = node.drained.as_deref().map_or("-", |reason| reason);
            let offers = node.offers.iter().flatten().map(|one| &**one).collect::<Vec<_>>();
            format!(
                "{} {:?} {} [{}] {drained} {} {} {}",
                node.name,
                node.condition,
                node.is_allocated,
                claims.join(", "),
                node.hostname.as_deref().unwrap_or("-"),
                node.address.map_or_else(String::new, |address| address.to_string()),
                offers.join(",")
            )
        })
        .collect();
    assert_eq!(
        said,
        [
            "ip-10-0-0-1 Up true [] - localhost 127.0.0.1 gres/gpu",
            "ip-10-0-0-2 Up true [] - localhost 127.0.0.1 gres/gpu",
            "ip-10-0-0-3 Up false [] bad fan [2] localhost 127.0.0.1 gres/gpu",
            "ip-10-0-0-4 Up false [] - localhost 127.0.0.1 gres/gpu",
            "ip-10-0-0-5 Up false [a reservation covers it, a reservation covers it] - localhost \
             127.0.0.1 gres/gpu",
        ]
    );
}

#[tokio::test]
async fn words_of_a_state_claim_as_they_do_in_the_commands_text() {
    let fake = Fake::start();
    let words = [
        "IDLE,CLOUD",
        "IDLE,DYNAMIC_NORM",
        "IDLE,NOT_RESPONDING",
        "UNKNOWN",
        "INVALID",
        "IDLE,PLANNED",
        "IDLE,COMPLETING",
        "IDLE,POWERING_DOWN",
        "IDLE,POWERED_DOWN",
        "IDLE,POWERING_UP",
        "IDLE,REBOOT_REQUESTED",
        "IDLE,REBOOT_ISSUED",
        "IDLE,INVALID_REG",
        "IDLE,FAIL",
        "IDLE,SOMETHING_NEW",
        "DRAIN,IDLE",
        "ALLOCATED,COMPLETING",
        "MIXED,DRAIN",
        "DOWN,NOT_RESPONDING",
        "DOWN,DRAIN",
        "ERROR",
        "FUTURE",
    ];
    for words in words {
        let (name, reason) = ("ip-10-0-0-9", "bad fan");
        let quoted = words.split(',').map(|word| format!("{word:?}")).collect::<Vec<_>>().join(",");
        let item = format!(
            r#"{{"name":"{name}","state":[{quoted}],"alloc_cpus":0,"reason":"{reason}",
                "hostname":"{name}.ec2.internal","address":"10.0.0.9","features":["a","b"],
                "gres":"gpu:a100:8(S:0-1)"}}"#
        );
        let replies = [json(&listing("nodes", &item))];
        let nodes = fake.answering(&replies, fake.rest.nodes()).await.0.expect(words);
        // In the text, `*` after the base state means that the node does not respond.
        let silent = words.ends_with(",NOT_RESPONDING");
        let text = words.replace(",NOT_RESPONDING", "").replace(',', "+");
        let line = format!(
            "NodeName={name} CPUAlloc=0 AvailableFeatures=a,b Gres=gpu:a100:8(S:0-1) NodeAddr=10.0.0.9 \
             NodeHostName={name}.ec2.internal State={text}{} Owner=N/A Reason={reason} \
             [root@2026-11-25T06:58:27]\n",
            if silent { "*" } else { "" }
        );
        assert_eq!(nodes, crate::nodes::parse(&line).expect("text"), "{words}");
    }
}

#[tokio::test]
async fn recorded_jobs_hold_nodes_or_wait() {
    let fake = Fake::start();
    let replies = [json(JOBS), json(STATE)];
    let (jobs, requests) = fake.answering(&replies, fake.rest.jobs()).await;
    let paths: Vec<&str> = requests.iter().map(|request| path(request)).collect();
    assert_eq!(
        paths,
        ["GET /slurm/v0.0.42/jobs/ HTTP/1.1", "GET /slurm/v0.0.42/jobs/state/?job_id=6 HTTP/1.1"]
    );
    let Jobs { active, pending } = jobs.expect("an answer");
    let active: Vec<String> =
        active.iter().map(|job| format!("{} on {}", job.claim, job.nodes[0])).collect();
    assert_eq!(active, ["runs job 1 on ip-10-0-0-1", "runs job 2_1 on ip-10-0-0-2"]);
    let said: Vec<String> = pending
        .iter()
        .filter(|job| !job.id.as_str().starts_with("6_") || job.eligible == Eligible::Now)
        .map(|job| {
            let partitions: Vec<&str> = job.partitions.iter().map(|one| one.as_str()).collect();
            let eligible = match job.eligible {
                Eligible::Now => "now".to_owned(),
                Eligible::Held => "held".to_owned(),
                Eligible::At(at) => at.to_string(),
            };
            let (nodes, gpus) = (job.nodes.0, job.gpus.0 / 1000);
            format!("{} {} {nodes}x {gpus} {eligible} {}", job.id, partitions.join(","), job.reason)
        })
        .collect();
    assert_eq!(
        said,
        [
            "3 gpu 2x 12 2026-11-25T10:17:00Z BeginTime",
            "4+0 gpu,last 1x 4 held JobHeldUser",
            "4+1 gpu 1x 0 held JobHeldUser",
            "6_1 gpu 1x 0 now Resources",
            "6_3 gpu 1x 0 now Resources",
            "6_4 gpu 1x 0 now Resources",
            "2_2 gpu 1x 0 now Resources",
            "2_3 gpu 1x 0 held Resources",
            "2_4 gpu 1x 0 held Resources",
        ]
    );
    let of_six = pending.iter().filter(|job| job.id.as_str().starts_with("6_")).count();
    assert_eq!(of_six, 24, "including tasks that the row does not list");
}

/// A job with these members in place of the recorded ones of job 1.
fn job(changes: &[(&str, &str)]) -> String {
    let line = JOBS.lines().find(|line| line.contains(r#""job_id":1,"#)).expect("job 1");
    let mut job: serde_json::Value =
        serde_json::from_str(line.trim_end_matches(',')).expect("an object");
    for (name, value) in changes {
        let value = serde_json::from_str(value).expect("a value");
        assert!(
            job.as_object_mut().expect("an object").insert((*name).to_owned(), value).is_some()
        );
    }
    listing("jobs", &job.to_string())
}

#[tokio::test]
async fn a_job_is_what_squeue_would_call_it() {
    let fake = Fake::start();
    for (words, claim) in [
        (r#"["RUNNING"]"#, "runs job 1"),
        (r#"["RUNNING","CONFIGURING"]"#, "job 1 is starting on it"),
        (r#"["COMPLETED","COMPLETING"]"#, "job 1 is ending on it"),
        (r#"["PENDING","COMPLETING"]"#, "job 1 is ending on it"),
        (r#"["SUSPENDED"]"#, "job 1 is suspended on it"),
        (r#"["RUNNING","STOPPED"]"#, "job 1 is suspended on it"),
        (r#"["RUNNING","SIGNALING"]"#, "unknown scheduler state `SIGNALING`"),
        (r#"["FAILED","STAGE_OUT"]"#, "unknown scheduler state `STAGE_OUT`"),
        (r#"["SOMETHING_NEW"]"#, "unknown scheduler state `SOMETHING_NEW`"),
        ("[]", "unknown scheduler state ``"),
    ] {
        let jobs = fake.jobs_of(json(&job(&[("job_state", words)]))).await.expect(words);
        let claims: Vec<String> = jobs.active.iter().map(|job| job.claim.to_string()).collect();
        assert_eq!(claims, [claim], "{words}");
        assert_eq!(jobs.pending.len(), usize::from(words.contains("PENDING")), "{words}");
    }
    for word in ["COMPLETED", "CANCELLED", "FAILED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY"] {
        let words = format!("[{word:?}]");
        let jobs = fake.jobs_of(json(&job(&[("job_state", &words)]))).await;
        assert_eq!(jobs, Ok(Jobs::default()), "{word}");
    }
}

#[tokio::test]
async fn a_waiting_job_is_what_squeue_would_show_of_it() {
    let fake = Fake::start();
    let number = |number: u32| format!(r#"{{"set":true,"infinite":false,"number":{number}}}"#);
    let waiting = async |changes: &[(&str, &str)]| {
        let all = [&[("job_state", r#"["PENDING"]"#), ("nodes", "\"\"")], changes].concat();
        fake.jobs_of(json(&job(&all))).await.expect("a job").pending
    };
    let (one, two, four) = (number(1), number(2), number(4));
    for (changes, nodes, gpus) in [
        ([("node_count", &*two), ("tres_per_node", r#""gres/gpu:8""#)], 2, 16),
        ([("node_count", &*two), ("tres_per_job", r#""gres/gpu:12""#)], 2, 12),
        ([("tasks", &*four), ("tres_per_task", r#""gres/gpu=2""#)], 1, 8),
        ([("node_count", &*one), ("tres_per_node", r#""""#)], 1, 0),
    ] {
        let plain = [("tres_per_node", r#""""#)];
        let found = waiting(&[&plain, changes.as_slice()].concat()).await;
        assert_eq!((found[0].nodes.0, found[0].gpus.0 / 1000), (nodes, gpus), "{changes:?}");
    }
    for (reason, eligible) in [
        ("Resources", Eligible::Now),
        ("PartitionNodeLimit", Eligible::Now),
        ("SomethingNew", Eligible::Now),
        ("JobHeldUser", Eligible::Held),
        ("Dependency", Eligible::Held),
        ("JobArrayTaskLimit", Eligible::Held),
        ("BeginTime", Eligible::At(Time::from_secs(4))),
    ] {
        let reason = format!("{reason:?}");
        let found = waiting(&[("state_reason", &reason), ("start_time", &four)]).await;
        assert_eq!(found[0].eligible, eligible, "{reason}");
    }
    let found = waiting(&[("state_reason", r#""BeginTime""#), ("start_time", &number(0))]).await;
    assert_eq!(found[0].eligible, Eligible::Held, "the start time is unknown");
    let found = waiting(&[("state_reason", r#""Resources""#), ("resv_name", r#""m""#)]).await;
    assert_eq!(found[0].eligible, Eligible::Held);
    let tasks = [("array_job_id", &*four), ("array_task_string", r#""3-9:2""#)];
    let ids =
        |found: Vec<PendingJob>| found.iter().map(|job| job.id.to_string()).collect::<Vec<_>>();
    assert_eq!(ids(waiting(&tasks).await), ["4_3", "4_5", "4_7", "4_9"]);
}

#[tokio::test]
async fn reservations_and_controllers_are_read() {
    let fake = Fake::start();
    let (found, _) = fake.answering(&[json(RESERVATIONS)], fake.rest.reservations()).await;
    let found = found.expect("an answer");
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].to.since(found[0].from), trimtab_core::units::Span::hours(1));
    assert_eq!(found[0].nodes.iter().map(NodeName::as_str).collect::<Vec<_>>(), ["ip-10-0-0-5"]);
    let open = RESERVATIONS.replacen(r#""set":true"#, r#""set":false"#, 1);
    let (found, _) = fake.answering(&[json(&open)], fake.rest.reservations()).await;
    assert!(found.expect_err("an open end").to_string().contains("has no start or end time"));
    let (found, _) = fake.answering(&[json(PING)], fake.rest.configuration()).await;
    let found = found.expect("an answer");
    let hosts: Vec<&str> = found.controllers.iter().map(|host| &*host.hostname).collect();
    assert_eq!(hosts, ["vm"]);
    assert!(found.refuses_large_jobs, "the API does not report it");
    assert_eq!(found.hidden, crate::backend::Hidden::Untold);
    let none = json(&listing("pings", ""));
    assert!(fake.answering(&[none], fake.rest.configuration()).await.0.is_err());
}

#[tokio::test]
async fn all_that_can_be_sent_is_a_drain_with_a_reason_and_an_undrain() {
    let fake = Fake::start();
    let nodes = ["ip-10-0-0-1", "ip-10-0-0-2"].map(|name| name.parse().expect("a name"));
    let done = json(&listing("x", ""));
    let drain = NewState::Drain { reason: "trimtab:ab-1:7-8" };
    let (set, requests) =
        fake.answering(std::slice::from_ref(&done), fake.rest.set(&nodes, drain)).await;
    assert_eq!(set, Ok(()));
    assert_eq!(path(&requests[0]), "POST /slurm/v0.0.42/nodes/ HTTP/1.1");
    let body = |request: &str| request.split_once("\r\n\r\n").expect("a body").1.to_owned();
    assert_eq!(
        body(&requests[0]),
        r#"{"name":["ip-10-0-0-1","ip-10-0-0-2"],"state":["DRAIN"],"reason":"trimtab:ab-1:7-8"}"#
    );
    let (set, requests) =
        fake.answering(&[done], fake.rest.set(&nodes[..1], NewState::Undrain)).await;
    assert_eq!(set, Ok(()));
    assert_eq!(body(&requests[0]), r#"{"name":["ip-10-0-0-1"],"state":["UNDRAIN"]}"#);
    let gone = listing("x", "").replace(
        r#""errors":[]"#,
        r#""errors":[{"description":"Failure to update node ip-10-0-0-2","error_number":2018,
            "error":"Invalid node name specified","source":"_update_nodes"}]"#,
    );
    let gone = reply(500, "application/json", &gone);
    let (set, _) = fake.answering(&[gone], fake.rest.set(&nodes, NewState::Undrain)).await;
    assert!(matches!(set, Err(WriteError::Refused(_))), "{set:?}");
}

#[tokio::test]
async fn what_is_not_as_expected_is_no_answer() {
    let fake = Fake::start();
    let good = job(&[]);
    assert!(fake.jobs_of(json(&good)).await.is_ok());
    let unreadable = [
        json(&good[..good.len() - 1]),
        json(&good.replacen("\"job_state\"", "\"state\"", 1)),
        json(&good.replacen(r#""job_state":["RUNNING"]"#, r#""job_state":"RUNNING""#, 1)),
        json(&good.replacen(r#""job_id":1"#, r#""job_id":"1""#, 1)),
        json(&good.replacen(r#""nodes":"ip-10-0-0-1""#, r#""nodes":"ip-[1""#, 1)),
        json(&good.replace("v0.0.42", "v0.0.43")),
        json(&good.replace(r#""errors":[],"#, "")),
        json(&good.replace("\"jobs\"", "\"job\"")),
        json("{}"),
        reply(200, "text/plain", &good),
        reply(200, "application/yaml", &good),
    ];
    for reply in unreadable {
        let why = fake.jobs_of(reply.clone()).await.expect_err(&reply);
        assert!(matches!(why, ReadError::Unreadable(_)), "{why}: {reply}");
    }
    let failed = good.replace(r#""errors":[]"#, r#""errors":[{"error_number":1}]"#);
    for reply in [
        json(&failed),
        reply(502, "application/json", AWAY),
        reply(500, "application/json", &good),
        reply(204, "application/json", &good),
        reply(302, "application/json", &good),
    ] {
        let why = fake.jobs_of(reply.clone()).await.expect_err(&reply);
        assert!(matches!(why, ReadError::Refused(_)), "{why}: {reply}");
    }
    let away = fake.jobs_of(reply(502, "application/json", AWAY)).await.expect_err("away");
    assert!(away.to_string().contains("Unable to contact slurm controller"), "{away}");
    for reply in [
        reply(511, "application/json", WRONG_TOKEN),
        reply(401, "text/plain", "Authentication failure"),
    ] {
        let why = fake.jobs_of(reply.clone()).await.expect_err(&reply);
        assert!(matches!(why, ReadError::Denied(_)), "{why}: {reply}");
    }
    let broken = json(&good).replace(&good, &good[..good.len() / 2]);
    let why = fake.jobs_of(broken).await.expect_err("half of it");
    assert!(matches!(why, ReadError::NoAnswer(_)), "{why}");
    let why = fake.jobs_of("SSH-2.0\r\n".to_owned()).await.expect_err("no HTTP");
    assert!(matches!(why, ReadError::NoAnswer(_)), "{why}");
    drop(fs::remove_file(fake.folder.path().join("socket")));
    let why = fake.rest.jobs().await.expect_err("nothing listens");
    assert!(matches!(why, ReadError::NoAnswer(_)), "{why}");
    assert!(!why.to_string().contains(TOKEN) && !format!("{:?}", fake.rest).contains(TOKEN));
}

#[tokio::test]
async fn another_version_is_refused_by_its_name() {
    let fake = Fake::start();
    let nowhere = reply(404, "text/plain", "Unable find requested URL.");
    let description = json(
        r#"{"paths":{"/slurm/v0.0.36/jobs":{},"/slurm/v0.0.38/jobs":{},"/slurm/v0.0.38/nodes":{},
            "/openapi":{}}}"#,
    );
    let replies = [nowhere.clone(), description];
    let (found, requests) = fake.answering(&replies, fake.rest.nodes()).await;
    assert_eq!(path(&requests[1]), "GET /openapi/v3 HTTP/1.1");
    let said = found.expect_err("another version").to_string();
    assert!(
        said.contains(
            "does not support API version v0.0.42 (it has v0.0.36, v0.0.38): run slurmrestd of"
        ),
        "{said}"
    );
    let (found, _) = fake.answering(&[nowhere.clone(), nowhere], fake.rest.nodes()).await;
    let said = found.expect_err("something else").to_string();
    assert!(said.contains("(its versions could not be read)"), "{said}");
}

#[tokio::test]
async fn a_token_is_read_for_every_request() {
    let fake = Fake::start();
    let token = fake.folder.path().join("token");
    let (_, first) = fake.answering(&[json(NODES)], fake.rest.nodes()).await;
    fs::write(&token, "x.y.z").expect("written");
    let (_, second) = fake.answering(&[json(NODES)], fake.rest.nodes()).await;
    assert!(first[0].contains(TOKEN) && second[0].contains("x-slurm-user-token: x.y.z\r\n"));
    fs::set_permissions(&token, fs::Permissions::from_mode(0o644)).expect("set");
    let why = fake.rest.nodes().await.expect_err("anybody could read it");
    assert!(matches!(&why, ReadError::Denied(why) if why.contains("mode 644")), "{why}");
    let without = Rest::new(RestAddress::Socket(fake.folder.path().join("socket")), None);
    let (nodes, requests) = fake.answering(&[json(NODES)], without.nodes()).await;
    assert!(nodes.is_ok() && !requests[0].contains("x-slurm-user-token"), "{requests:?}");
}
