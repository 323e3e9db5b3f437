//! `trimtab backtest`, with table and JSON output.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn backtest(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trimtab"));
    command.arg("backtest").args(args).current_dir(root()).stdin(Stdio::null());
    command.env_remove("TRIMTAB_LOG").output().expect("the program starts")
}

fn code(output: &Output) -> i32 {
    output.status.code().expect("the program was not killed")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

fn json(args: &[&str]) -> Value {
    let mut args = args.to_vec();
    args.extend(["--output", "json"]);
    let output = backtest(&args);
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    assert_eq!(text(&output.stderr), "", "no progress bar without a terminal");
    serde_json::from_slice(&output.stdout).expect("one document")
}

fn write(folder: &Path, name: &str, bytes: &[u8]) -> String {
    let path = folder.join(name);
    std::fs::write(&path, bytes).expect("written");
    path.to_str().expect("a plain path").to_owned()
}

const TRACE: &str = "traces/philly_vc.jobs.csv.gz";

#[test]
fn every_policy_stands_beside_the_optimum_in_table_and_json() {
    let args = ["--trace", TRACE, "--days", "21-107", "--min-jobs", "300"];
    let document = json(&args);
    assert_eq!(document["schema_version"], 1);
    let trace = &document["traces"][0];
    assert_eq!(
        (trace["trace"].as_str(), trace["groups"].as_array().map(Vec::len)),
        (Some(TRACE), Some(11))
    );
    let rows = trace["policies"].as_array().expect("rows");
    let row = |policy: &str| {
        rows.iter().find(|row| row["policy"] == policy).unwrap_or_else(|| panic!("{policy}"))
    };
    let number = |policy: &str, key: &str| row(policy)[key].as_f64().expect("a number");
    assert_eq!(number("optimum", "ratio_to_optimum"), 1.0);
    assert!(number("learned", "ratio_to_optimum") < 1.21);
    assert!(number("optimum-prewarmed", "ratio_to_optimum") < 1.0);
    assert_eq!(number("never", "boots"), 0.0);
    for policy in rows {
        let of = |key: &str| policy[key].as_f64().expect("a number");
        let cost = of("idle_usd") + of("boot_usd") + of("delay_usd");
        assert!((of("cost_usd") - cost).abs() < 1e-3, "{policy}");
        let saving = number("never", "bill_usd") - of("bill_usd");
        assert!((of("saving_usd") - saving).abs() < 1e-3, "{policy}");
    }
    let output = backtest(&args);
    let table = text(&output.stdout);
    for row in rows {
        let policy = row["policy"].as_str().expect("a name");
        let ratio = format!("{:.3}", row["ratio_to_optimum"].as_f64().expect("a number"));
        let line = table.lines().find(|line| line.split_whitespace().next() == Some(policy));
        let line = line.unwrap_or_else(|| panic!("{policy} is not in the table"));
        assert_eq!(line.split_whitespace().nth(1), Some(ratio.as_str()), "{line}");
    }
}

#[test]
fn forms_are_told_by_what_is_in_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let jobs =
        "submit_s,start_s,end_s,nodes,gpus,partition\n0,0,600,1,8,p\n7200,9000,9600,2,16,p\n";
    let curve =
        "time_s,partition,nodes_busy,nodes_total\n0,p,1,2\n600,p,0,2\n9000,p,2,2\n9600,p,0,2\n";
    let swf = "; MaxNodes: 2\n; MaxProcs: 16\n\
               1 0 0 600 8 -1 -1 8 -1 -1 1 1 1 1 1 1 -1 -1\n\
               2 7200 1800 600 16 -1 -1 16 -1 -1 1 1 1 1 1 1 -1 -1\n";
    let mut gzip = GzEncoder::new(vec![], Compression::fast());
    gzip.write_all(jobs.as_bytes()).expect("packed");
    let files = [
        write(folder.path(), "jobs.csv", jobs.as_bytes()),
        // gzip is detected by content, not by file name.
        write(folder.path(), "packed.csv", &gzip.finish().expect("packed")),
        write(folder.path(), "curve.csv", curve.as_bytes()),
        write(folder.path(), "log.swf", swf.as_bytes()),
    ];
    let mut args = vec!["--policy", "count-10m,optimum,never", "--trace"];
    args.extend(files.iter().map(String::as_str));
    let document = json(&args);
    let traces = document["traces"].as_array().expect("traces");
    assert_eq!(traces.len(), 4);
    for trace in traces {
        assert_eq!(trace["policies"], traces[0]["policies"], "{}", trace["trace"]);
        assert_eq!(trace["groups"][0]["nodes"], 2);
    }
    // Two nodes: one idle from the start for 10 minutes, one after its job.
    assert_eq!(traces[0]["policies"][0]["boots"], 2);
    assert!(
        (traces[0]["policies"][0]["idle_node_hours"].as_f64().expect("a number") - 1.0 / 3.0).abs()
            < 1e-9
    );
}

#[test]
fn what_cannot_be_replayed_is_said_with_file_line_and_what_to_write() {
    let folder = tempfile::tempdir().expect("a folder");
    let head = "submit_s,start_s,end_s,nodes,gpus,partition\n";
    let wrong = write(folder.path(), "wrong.csv", format!("{head}0,0,x,1,8,p\n").as_bytes());
    let other = write(folder.path(), "other.csv", b"a,b\n1,2\n");
    let broken = write(folder.path(), "broken.csv.gz", &[0x1f, 0x8b, 8, 0, 1, 2, 3]);
    let empty = write(folder.path(), "empty.csv", b"");
    let small = write(folder.path(), "small.csv", format!("{head}0,0,9,4,32,p\n").as_bytes());
    for (args, exit, said) in [
        (&["--trace", "/nowhere.csv"][..], 1, "/nowhere.csv: No such file"),
        (
            &["--trace", &wrong],
            1,
            "wrong.csv: line 2: invalid end_s `x`: expected a number, 0 or more",
        ),
        (&["--trace", &other], 1, "other.csv is not a trace: its first line is `a,b`; expected"),
        (&["--trace", &broken], 1, "broken.csv.gz: "),
        (&["--trace", &empty], 1, "empty.csv is not a trace"),
        (
            &["--trace", &small, "--size", "3"],
            1,
            "group p needs 4 nodes at once, more than --size 3",
        ),
        (
            &["--trace", &small, "--min-jobs", "2"],
            1,
            "no partition has 2 jobs, or none of them ran in those days",
        ),
        (&["--trace", &small, "--days", "3-1"], 64, "the first before the second, such as 21-107"),
        (
            &["--trace", &small, "--policy", "count-10"],
            64,
            "invalid policy `count-10`: write never",
        ),
        (
            &["--trace", &small, "--boot", "15"],
            64,
            "invalid duration \"15\": write a number with a unit",
        ),
        (&["--trace", &small, "--price", "0"], 64, "above 0 and up to 10000, such as 3.06"),
        (&["--trace", &small, "--delay-value", "-1"], 64, "unexpected argument"),
        (&[], 64, "--trace"),
        (&["--trace", &small, "--config", "x.toml"], 64, "cannot be used with"),
        (&["--config", "/nowhere.toml"], 78, "/nowhere.toml"),
    ] {
        let output = backtest(args);
        let complaint = text(&output.stderr);
        assert_eq!(code(&output), exit, "{args:?}: {complaint}");
        assert!(complaint.contains(said), "{args:?}: {complaint}");
        assert!(!complaint.contains("panicked"), "{complaint}");
    }
}

/// A daemon observes a simulated cluster for half a day; the test then replays its ledger.
#[test]
fn a_daemons_own_history_is_replayed_at_its_own_prices() {
    let folder = tempfile::tempdir().expect("a folder");
    let own = folder.path().to_str().expect("a plain path");
    let policy = std::fs::read_to_string(root().join("config/simulated/trimtab.toml"));
    let policy = policy.expect("the example is there").replace("/tmp/trimtab-simulated", own);
    let config = write(folder.path(), "trimtab.toml", policy.as_bytes());
    let nothing = backtest(&["--config", &config]);
    assert_eq!(code(&nothing), 1);
    assert!(text(&nothing.stderr).contains("there is no ledger"), "{}", text(&nothing.stderr));
    let mut daemon = Command::new(env!("CARGO_BIN_EXE_trimtab"));
    daemon.args(["run", "--once", "--warm-up", "12h", "--config", &config]);
    daemon.args(["--world", "config/simulated/world.toml"]).current_dir(root());
    let output = daemon.output().expect("the program starts");
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    let document = json(&["--config", &config]);
    let trace = &document["traces"][0];
    assert_eq!(trace["trace"], "simulated");
    let rows = trace["policies"].as_array().expect("rows");
    let learned = rows.iter().find(|row| row["policy"] == "learned").expect("learned");
    assert!(learned["cost_usd"].as_f64() > Some(0.0), "{learned}");
    let other = backtest(&["--config", &config, "--cluster", "elsewhere"]);
    assert_eq!(code(&other), 1);
    assert!(text(&other.stderr).contains("no samples"), "{}", text(&other.stderr));
}
