//! `trimtab simulate` with third-party clients, and with the programs that it runs for nodes.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;

use crate::endpoint::{Running, root, simulate};

#[test]
fn clients_that_we_did_not_write_find_the_wire_as_the_model_has_it() {
    let python = root().join("target/components/venv/bin/python");
    if !python.exists() {
        println!("SKIPPED: {} (scripts/components.sh wire makes it)", python.display());
        return;
    }
    let program = Command::new(python)
        .arg("tests/wire/wire.py")
        .arg(env!("CARGO_BIN_EXE_trimtab"))
        .current_dir(root())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .expect("python starts");
    let said = String::from_utf8_lossy(&program.stdout);
    let complained = String::from_utf8_lossy(&program.stderr);
    println!("{said}");
    assert!(program.status.success(), "{said}\n{complained}");
    let last = said.lines().last().unwrap_or_default();
    assert!(last.ends_with(" passed, 0 failed") && !last.starts_with("0 "), "{last}");
}

#[test]
fn clients_that_we_did_not_write_read_and_put_metrics_in_both_protocols() {
    let python = root().join("target/components/venv/bin/python");
    if !python.exists() {
        println!("SKIPPED: {} (scripts/components.sh wire makes it)", python.display());
        return;
    }
    let running = Running::start(&["--listen", "127.0.0.1:0", "--speed", "0"]);
    let program = Command::new(python)
        .arg("tests/wire/cloudwatch_checks.py")
        .args([&format!("http://{}", running.addr), "simulated"])
        .current_dir(root())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .expect("python starts");
    let said = String::from_utf8_lossy(&program.stdout);
    println!("{said}");
    assert!(program.status.success(), "{said}\n{}", String::from_utf8_lossy(&program.stderr));
    let last = said.lines().last().unwrap_or_default();
    assert!(last.ends_with(" passed, 0 failed") && !last.starts_with("0 "), "{last}");
}

#[test]
fn nodes_that_come_and_go_are_told_to_programs_in_order_and_a_bad_program_is_survived() {
    let folder = tempfile::tempdir().expect("a folder");
    let world = folder.path().join("world.toml");
    let text = "cluster = \"hooked\"\njoin_delay = \"0s\"\ndelete_delay = \"1m\"\n\
                [[group]]\nname = \"workers\"\ncount = 2\nboot = \"5m\"\n";
    std::fs::write(&world, text).expect("written");
    let told = folder.path().join("told of");
    let command = format!("tee -a \"{}\"", told.display());
    let running = Running::start(&[
        "--listen",
        "127.0.0.1:0",
        "--speed",
        "0",
        "--world",
        world.to_str().expect("plain"),
        "--on-node-gone",
        &command,
        "--on-node-added",
        "/nowhere/to/be/found",
    ]);
    let nodes = running.ask("GET", "/_world/hooked/workload", "");
    assert!(nodes.contains("ip-10-0-0-1"), "{nodes}");
    let target = "POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx-amz-target: SageMaker.";
    let call = |operation: &str, body: &str| {
        let mut stream = TcpStream::connect(&running.addr).expect("it listens");
        let length = body.len();
        let head = format!("{target}{operation}\r\ncontent-length: {length}\r\n\r\n");
        stream.write_all(format!("{head}{body}").as_bytes()).expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("text");
        answer
    };
    let listed = call("ListClusterNodes", "{\"ClusterName\":\"hooked\"}");
    let id = listed.split("\"InstanceId\":\"").nth(1).expect("a node");
    let id = id.split('"').next().expect("an id").to_owned();
    let add = "{\"ClusterName\":\"hooked\",\"NodesToAdd\":[{\"InstanceGroupName\":\"workers\",\
               \"IncrementTargetCountBy\":1}]}";
    assert!(call("BatchAddClusterNodes", add).contains("\"Status\":\"Pending\""));
    running.ask("POST", "/_world/hooked/advance", "{\"by\":600000}");
    let delete = format!("{{\"ClusterName\":\"hooked\",\"NodeIds\":[\"{id}\"]}}");
    assert!(call("BatchDeleteClusterNodes", &delete).contains("Successful"));
    running.ask("POST", "/_world/hooked/advance", "{\"by\":120000}");
    // The program runs after the response: wait for its output, not for a fixed time.
    let mut line = String::new();
    for _ in 0..30_000 {
        line = std::fs::read_to_string(&told).unwrap_or_default();
        if line.ends_with('\n') {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    for part in [
        "\"change\":\"gone\"",
        "\"cluster\":\"hooked\"",
        "\"group\":\"workers\"",
        &format!("\"node\":\"{id}\""),
        "\"name\":\"ip-10-0-0-",
    ] {
        assert!(line.contains(part), "{part}: {line}");
    }
    assert_eq!(line.lines().count(), 1, "{line}");
    running.ask("GET", "/_world/hooked/clock", "");
}

#[test]
fn worlds_and_addresses_that_make_no_sense_are_refused_with_the_reason() {
    let refused = |args: &[&str]| {
        let output = simulate(args).output().expect("the program starts");
        assert_ne!(output.status.code(), Some(0), "{args:?}");
        String::from_utf8(output.stderr).expect("text")
    };
    let world = "config/simulated/world.toml";
    for (args, wanted) in [
        (&["--listen", "0.0.0.0:0"][..], "is not a loopback address"),
        (&["--listen", "somewhere"], "invalid value 'somewhere'"),
        (&["--speed=-1"], "invalid speed"),
        (&["--world", "/nowhere.toml"], "/nowhere.toml"),
        (
            &["--listen", "127.0.0.1:0", "--world", world, "--world", world],
            "two worlds have cluster",
        ),
        (&["--on-node-gone", "x 'y"], "unmatched quote ' in"),
        (&["--on-node-added", " "], "no program in ` `"),
    ] {
        let said = refused(args);
        assert!(said.contains(wanted), "{args:?}: {said}");
    }
}
