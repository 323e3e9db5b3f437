//! Clients that are not ours: boto3, the aws command line, botocore's CBOR. The checks
//! are `tests/wire/cloudwatch_checks.py`; here they get a server of their own.

use std::convert::Infallible;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use trimtab_core::units::Span;

use super::{Service, mixed};
use crate::wire::Request;

const CHECKS: &str = "tests/wire/cloudwatch_checks.py";
const PYTHON: &str = "target/components/venv/bin/python";

async fn answer(
    service: &Service,
    request: hyper::Request<Incoming>,
) -> Result<hyper::Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes().to_vec()).unwrap_or_default();
    let header = |(name, value): (&hyper::header::HeaderName, &hyper::header::HeaderValue)| {
        (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    let request = Request {
        method: head.method.as_str().to_owned(),
        path: head.uri.path().to_owned(),
        query: head.uri.query().unwrap_or_default().to_owned(),
        headers: head.headers.iter().map(header).collect(),
        body,
    };
    let reply = service.send(&request);
    let mut response = hyper::Response::builder().status(reply.status);
    for (name, value) in &reply.headers {
        response = response.header(*name, value);
    }
    Ok(response.body(Full::from(reply.body)).expect("a response"))
}

/// Serves one connection after another, each for one request.
fn serve(listener: TcpListener, service: Service) {
    let service = Arc::new(service);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
    runtime.expect("a runtime").block_on(async move {
        listener.set_nonblocking(true).expect("a socket");
        let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
        loop {
            let (stream, _) = listener.accept().await.expect("a connection");
            let serve = service_fn(|request| {
                let service = Arc::clone(&service);
                async move { answer(&service, request).await }
            });
            let connection = http1::Builder::new()
                .keep_alive(false)
                .serve_connection(TokioIo::new(stream), serve);
            if let Err(e) = connection.await {
                eprintln!("a connection broke: {e}");
            }
        }
    });
}

#[test]
fn clients_that_are_not_ours_find_nothing_wrong() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let python = root.join(PYTHON);
    let wanted = "import boto3, botocore, awscli";
    let probe = Command::new(&python).args(["-c", wanted]).output();
    if !probe.is_ok_and(|probe| probe.status.success()) {
        println!(
            "SKIPPED: {PYTHON} with boto3 and awscli (tests/wire/cloudwatch_requirements.txt)"
        );
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    let service = Service::of(&mixed(Span::hours(6)));
    #[expect(clippy::disallowed_methods, reason = "the world stands still while it is asked")]
    std::thread::spawn(move || serve(listener, service));
    let ran = Command::new(&python)
        .arg(root.join(CHECKS))
        .args([&format!("http://{address}"), "c"])
        .output()
        .expect("python runs");
    let said = String::from_utf8_lossy(&ran.stdout);
    println!("{said}");
    assert!(ran.status.success(), "{said}\n{}", String::from_utf8_lossy(&ran.stderr));
    assert!(said.contains("checks of CloudWatch passed"));
}
