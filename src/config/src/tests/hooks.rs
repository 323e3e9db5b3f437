//! Tests of the keys of the gate and the on-node check.

use super::*;

/// Returns `text` with this line added to the cluster.
fn with_line(text: &str, line: &str) -> String {
    let place = "evidence = \"scheduler\"\n";
    assert!(text.contains(place));
    text.replace(place, &format!("{place}{line}\n"))
}

/// Returns a file with this gate.
fn gated(command: &str, more: &str) -> String {
    let text = with(ENFORCED, "node_local_data", "\"gate\"");
    with_line(&text, &format!("gate = {{ command = {command}{more} }}"))
}

/// Returns a file with this on-node check.
fn checked(command: &str) -> String {
    with_line(ENFORCED, &format!("on_node_check = {{ command = {command} }}"))
}

fn hook(command: &[&str], time_limit: Span) -> Option<HookSettings> {
    let command = command.iter().map(|part| (*part).to_owned()).collect();
    Some(HookSettings { command, time_limit })
}

#[test]
fn hooks_are_read_with_their_defaults_and_may_be_enforced_with() {
    let settings = good(&gated("[\"/opt/backup\", \"--to\", \"s3://a b\"]", ""));
    let gate = hook(&["/opt/backup", "--to", "s3://a b"], Span::mins(20));
    assert_eq!((settings.mode, &settings.clusters[0].gate), (Mode::Enforce, &gate));
    assert_eq!(group(&settings).node_local_data, Some(NodeLocalData::Gate));
    let settings = good(&checked("[\"/usr/bin/ssh\", \"{ip}\", \"idle\"]"));
    let check = hook(&["/usr/bin/ssh", "{ip}", "idle"], Span::secs(20));
    assert_eq!((&settings.clusters[0].on_node_check, &settings.clusters[0].gate), (&check, &None));
    // With two ticks of two minutes just within 30 minutes.
    good(&gated("[\"/bin/a\"]", ", time_limit = \"25m 59s\""));
}

#[test]
fn a_hook_that_could_not_work_is_refused() {
    for (text, why) in [
        (gated("[]", ""), "is empty, so it has no effect"),
        (gated("\"/bin/true\"", ""), "not a list"),
        (gated("[\"backup\"]", ""), "does not search PATH"),
        (gated("[\"/bin/a\", \"{node}\"]", ""), "runs once for all nodes"),
        (gated("[\"/bin/a\\u0000\"]", ""), "NUL"),
        (gated("[\"/bin/a\"]", ", time_limit = \"0s\""), "is less than 1s"),
        (gated("[\"/bin/a\"]", ", time_limit = \"26m\""), "timing.settling_timeout, 30m"),
        (gated("[\"/bin/a\"]", ", time_limit = \"26m\""), "to more than 30m"),
        (gated("[\"/bin/a\"]", ", limit = \"2m\""), "time_limit"),
        (gated("[\"/bin/a\"]", "").replace("= \"gate\"", "= \"disposable\""), "would never run"),
        (with_line(ENFORCED, "gate = { time_limit = \"1m\" }"), "is missing"),
        (checked("[\"/bin/a\", \"node\"]"), "does not name a node"),
        (checked("[\"/bin/{node}\", \"{node}\"]"), "contains {node}"),
        (checked("[\"/bin/a\", \"{ip}\"], time_limit = \"6m\""), "is more than 5m"),
        (
            with(
                &checked("[\"/bin/a\", \"{ip}\"], time_limit = \"5m\""),
                "settle",
                "\"30s\"\nfresh_for = \"2m\"",
            ),
            "older than timing.fresh_for, 2m",
        ),
    ] {
        let report = bad(&text);
        assert!(report.contains(why), "{why}: {report}");
    }
}
