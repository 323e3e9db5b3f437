//! Tests of whole files: problems and their reports, the defaults, and the shipped files.
//!
//! The expected reports are golden files in `tests/`. After a change of wording,
//! `UPDATE_GOLDEN=1 cargo test -p trimtab-config` writes them again. Review the difference.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use trimtab_core::policy::{
    Amount, Budgets, EvidenceSource, Factor, GroupCalls, GroupPolicy, MassChangeLimit,
    NodeLocalData, Prefer, Regain, TimerChoice, Timing, UtilizationRule,
};
use trimtab_core::reads::Capacity;
use trimtab_core::units::{MilliGpus, NodeCount, Share, Span, Usd, UsdPerHour};

use super::*;
use crate::policy::file::surface;

mod editors;
mod hooks;
mod layers;
mod metrics;

/// Every key that has no default, and nothing else.
const SMALL: &str = r#"
config_version = 1
[[cluster]]
name = "c"
region = "us-west-2"
account_id = "123456789012"
scheduler = { kind = "simulated" }
[[cluster.group]]
name = "g"
size = 20
min_nodes = 2
max_delete_per_hour = 3
capacity = "on-demand"
"#;

/// A file for enforce mode, with every kind of value.
const ENFORCED: &str = r#"
config_version = 1
mode = "enforce"
schedule = "0 */2 * * * *"
pause_file = "/etc/trimtab/PAUSE"
[state]
path = "/tmp/t.db"
[[cluster]]
name = "c"
region = "us-west-2"
account_id = "123456789012"
role_arn = "arn:aws:iam::123456789012:role/trimtab"
endpoint_url = "http://127.0.0.1:4010"
scheduler = { kind = "simulated" }
evidence = "scheduler"
utilization = [{ kind = "cloudwatch", preset = "cwagent-nvidia", idle_below_percent = 5, window = "20m" }]
min_nodes = 1
mass_change = { nodes = 50, percent = 50 }
[cluster.timing]
settle = "30s"
max_missed_ticks = 3
[[cluster.group]]
name = "g"
instance_type = "ml.g5.8xlarge"
size = 20
min_nodes = 2
min_idle_nodes = 1
keep_windows = [{ days = "mon-fri", from = "08:00", to = "19:00", zone = "UTC", min_nodes = 10 }]
lookahead = "2h"
max_delete_per_request = 2
max_delete_per_hour = 3
max_delete_per_day = 9
max_leaving_percent = 25
capacity = "on-demand"
regain = "plentiful"
price_usd_per_hour = 3.06
boot = "20m"
delay_value = 1.5
idle_timer = "30m"
prefer = "oldest"
node_local_data = "disposable"
gpus_per_node = 8
partitions = ["gpu"]
protected = ["i-0123456789abcdef0"]
"#;

fn good(text: &str) -> Settings {
    match parse("t.toml", text) {
        Ok(settings) => settings,
        Err(problems) => panic!("{problems}\n--- in\n{text}"),
    }
}

fn bad(text: &str) -> String {
    match parse("t.toml", text) {
        Ok(_) => panic!("accepted:\n{text}"),
        Err(problems) => problems.to_string(),
    }
}

/// Returns `text` with the value in the line `key = …` replaced.
fn with(text: &str, key: &str, value: &str) -> String {
    let prefix = format!("{key} = ");
    assert!(text.lines().any(|line| line.starts_with(&prefix)), "no {key} in {text}");
    let line = |line: &str| {
        if line.starts_with(&prefix) { format!("{prefix}{value}\n") } else { format!("{line}\n") }
    };
    text.lines().map(line).collect()
}

fn without(text: &str, key: &str) -> String {
    let prefix = format!("{key} = ");
    let lines = text.lines().filter(|line| !line.starts_with(&prefix));
    lines.map(|line| format!("{line}\n")).collect()
}

fn group(settings: &Settings) -> &GroupPolicy {
    settings.clusters[0].policy.groups.values().next().unwrap()
}

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

/// Compares a report with `tests/NAME.txt`.
fn check_golden(name: &str, report: &str) {
    let path = repository("src/config/src/tests").join(format!("{name}.txt"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, format!("{report}\n")).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap();
    assert_eq!(format!("{report}\n"), expected, "see {}", path.display());
}

#[test]
fn all_problems_of_a_file_are_reported_at_once() {
    let text = include_str!("tests/wrong-values.toml");
    check_golden("wrong-values", &bad(text));
}

#[test]
fn values_that_contradict_each_other_are_reported_at_once() {
    let text = include_str!("tests/contradictions.toml");
    check_golden("contradictions", &bad(text));
}

#[test]
fn lines_that_are_not_toml_are_reported_with_their_column() {
    let text = include_str!("tests/not-toml.toml");
    check_golden("not-toml", &bad(text));
}

#[test]
fn an_empty_file_is_told_what_it_lacks() {
    check_golden("empty", &bad(""));
}

#[test]
fn notes_say_what_an_operator_may_not_expect() {
    let settings = good(include_str!("tests/notes.toml"));
    let notes: Vec<String> = settings.notes.iter().map(Note::to_string).collect();
    check_golden("notes", &notes.join("\n\n"));
}

#[test]
fn what_is_not_written_is_at_its_default() {
    let settings = good(SMALL);
    assert_eq!(settings.mode, Mode::Observe);
    assert_eq!(settings.schedule.text(), "0 */2 * * * *");
    assert_eq!(settings.state_path, Path::new("/var/lib/trimtab/trimtab.db"));
    assert_eq!(settings.pause_file, Path::new("/etc/trimtab/PAUSE"));
    let ClusterSettings { policy, role_arn, endpoint_url, scheduler, utilization, .. } =
        &settings.clusters[0];
    assert_eq!(
        (role_arn, endpoint_url, scheduler, utilization),
        (&None, &None, &SchedulerSettings::Simulated, &None)
    );
    assert_eq!(policy.evidence_source, EvidenceSource::Scheduler);
    assert_eq!(policy.min_nodes, NodeCount::ZERO);
    assert_eq!(policy.timing, Timing::default());
    let half = Share::try_from_percent(50.0).unwrap();
    assert_eq!(policy.mass_change, MassChangeLimit { nodes: NodeCount(50), share: half });
    let expected = GroupPolicy {
        size: NodeCount(20),
        min_nodes: Amount::Nodes(NodeCount(2)),
        min_idle_nodes: NodeCount::ZERO,
        keep_windows: vec![],
        lookahead: Span::hours(24),
        budgets: Budgets {
            per_request: NodeCount(3),
            per_hour: NodeCount(3),
            per_day: NodeCount(12),
            leaving: Share::try_from_percent(25.0).unwrap(),
        },
        capacity: Capacity::OnDemand,
        regain: Regain::Plentiful,
        price: None,
        boot: None,
        billed_after_delete: Span::ZERO,
        delay_value: Factor::ONE,
        boot_failure_cost: Usd::ZERO,
        timer: TimerChoice::Learned,
        queue_lookahead: Span::mins(30),
        min_age: Span::mins(10),
        post_job_grace: Span::mins(2),
        prefer: Prefer::Oldest,
        node_local_data: None,
        gpus_per_node: MilliGpus::whole(1),
        partitions: vec![],
        max_job_nodes: None,
        utilization: None,
        group_calls: GroupCalls::Never,
        protected: vec![],
    };
    assert_eq!(group(&settings), &expected);
}

#[test]
fn what_is_written_is_what_is_in_force() {
    let settings = good(ENFORCED);
    assert_eq!(settings.mode, Mode::Enforce);
    let cluster = &settings.clusters[0];
    assert_eq!(cluster.region.as_str(), "us-west-2");
    assert_eq!(cluster.account_id.as_str(), "123456789012");
    assert!(cluster.role_arn.is_some() && cluster.endpoint_url.is_some());
    let rule = UtilizationRule {
        idle_below: Share::try_from_percent(5.0).unwrap(),
        memory_below: Share::try_from_percent(5.0).unwrap(),
        window: Span::mins(20),
        period: Span::mins(1),
    };
    let source = UtilizationSource::Cloudwatch;
    assert_eq!(cluster.utilization, Some(UtilizationSettings { source, rule }));
    let group = group(&settings);
    assert_eq!(group.utilization, Some(rule));
    assert_eq!(group.keep_windows.len(), 1);
    assert_eq!(group.price, UsdPerHour::try_from_dollars(3.06));
    assert_eq!(group.boot, Some(Span::mins(20)));
    assert_eq!(group.timer, TimerChoice::Fixed(Span::mins(30)));
    assert_eq!(group.delay_value, Factor(15));
    assert_eq!(group.node_local_data, Some(NodeLocalData::Disposable));
    assert_eq!(group.gpus_per_node, MilliGpus::whole(8));
    assert_eq!((group.partitions.len(), group.protected.len()), (1, 1));
    assert_eq!(settings.notes, vec![], "a complete file has nothing to note");
}

#[test]
fn no_value_is_coerced() {
    for (key, values) in [
        (
            "size",
            &["7.9", "8.0", "true", "\"8\"", "\"100%\"", "-1", "1e1", "nan", "inf", "[8]"][..],
        ),
        ("size", &["0", "100001", "4294967296", "99999999999999999999", "2026-01-01", "{ n = 8 }"]),
        ("min_nodes", &["7.9", "true", "false", "\"8\"", "\"101%\"", "\"25\"", "\"-5%\"", "0.25"]),
        ("min_nodes", &["\"nan%\"", "\"\"", "\"%\"", "-1", "[2]"]),
        ("max_delete_per_hour", &["3.0", "\"3\"", "true", "-3", "\"3/h\""]),
        ("max_missed_ticks", &["3.0", "\"3\"", "0", "11", "true"]),
        (
            "max_leaving_percent",
            &["\"25%\"", "\"25\"", "101", "-1", "nan", "inf", "true", "33.333"],
        ),
        (
            "mode",
            &["\"off\"", "false", "\"Enforce\"", "\"enforce \"", "1", "\"\"", "[\"enforce\"]"],
        ),
        ("boot", &["20", "20.0", "\"20\"", "\"20 m\"", "\"PT20M\"", "\"0s\"", "\"2d\"", "true"]),
        ("idle_timer", &["30", "\"3m\"", "\"8d\"", "\"breakeven\"", "\"0s\"", "true"]),
        ("price_usd_per_hour", &["\"3.06\"", "-1", "nan", "inf", "10001", "true", "0", "1e-9"]),
        ("delay_value", &["\"1\"", "-0.1", "100.1", "nan", "0.25", "true"]),
        ("account_id", &["123456789012", "\"12345678901\"", "\"1234 5678 9012\"", "\"arn\""]),
        ("name", &["7", "\"a b\"", "\"\"", "\"-a\"", "[\"a\"]"]),
        ("region", &["\"us-west\"", "\"US-WEST-2\"", "2"]),
        ("config_version", &["2", "\"1\"", "1.0", "true", "0"]),
        ("schedule", &["120", "\"@hourly\"", "\"*/2 * * * *\"", "\"\"", "\"every 2 minutes\""]),
        ("path", &["\"trimtab.db\"", "\"\"", "7"]),
        ("gpus_per_node", &["8.0", "\"8\"", "65", "true"]),
        ("partitions", &["\"gpu\"", "[\"gpu\", \"gpu\"]", "[\"a b\"]", "[7]"]),
        ("protected", &["\"i-0123456789abcdef0\"", "[\"i-1\"]", "[\"*\"]"]),
        ("utilization", &["true", "[]", "[true]", "{ kind = \"cloudwatch\" }", "[{}]"]),
        ("scheduler", &["\"slurm\"", "{}", "{ kind = \"Slurm\" }", "[{ kind = \"slurm\" }]"]),
        ("capacity", &["\"ondemand\"", "\"ON-DEMAND\"", "true"]),
    ] {
        for value in values {
            let report = bad(&with(ENFORCED, key, value));
            assert!(report.contains(key), "{key} = {value}: {report}");
        }
    }
}

#[test]
fn a_required_key_that_is_missing_is_named() {
    for key in [
        "config_version",
        "name",
        "region",
        "account_id",
        "scheduler",
        "size",
        "min_nodes",
        "max_delete_per_hour",
        "capacity",
    ] {
        let report = bad(&without(SMALL, key));
        assert!(report.contains(&format!("{key}\n    is missing")), "{key}: {report}");
    }
    for key in ["price_usd_per_hour", "boot", "node_local_data"] {
        let report = bad(&without(ENFORCED, key));
        assert!(report.contains(&format!("{key}\n    is missing")), "{key}: {report}");
        let observed = without(&with(ENFORCED, "mode", "\"observe\""), key);
        let notes = good(&observed).notes;
        assert!(notes.iter().any(|note| note.key.ends_with(key)), "{key}: {notes:?}");
    }
}

#[test]
fn a_misspelt_key_is_one_problem_not_two() {
    let report = bad(&SMALL.replace("max_delete_per_hour", "max_deletes_per_hour"));
    assert!(report.contains("did you mean `max_delete_per_hour`?"), "{report}");
    assert!(report.ends_with("\n1 problem in the configuration"), "{report}");
}

#[test]
fn a_clock_step_that_could_pass_for_the_settle_time_is_refused() {
    let report = bad(&with(ENFORCED, "settle", "\"8s\""));
    assert!(
        report.contains("clock_tolerance (10s) not shorter than timing.settle (8s)"),
        "{report}"
    );
}

#[test]
fn a_setting_that_would_do_nothing_is_refused() {
    let window = |rest: &str| {
        format!(
            "[{{ days = \"daily\", from = \"08:00\", to = \"19:00\", zone = \"UTC\", {rest} }}]"
        )
    };
    for (text, why) in [
        (with(ENFORCED, "min_nodes", "21"), "could ever be deleted"),
        (with(ENFORCED, "min_idle_nodes", "19"), "could ever be deleted"),
        (with(ENFORCED, "keep_windows", &window("min_nodes = 2")), "would have no effect"),
        (with(ENFORCED, "keep_windows", &window("min_nodes = \"10%\"")), "would have no effect"),
        (
            with(ENFORCED, "keep_windows", &window("min_nodes = 21")),
            "more than the size of the group",
        ),
        (with(ENFORCED, "keep_windows", &window("min_nodes = 0")), "would keep nothing"),
        (with(ENFORCED, "keep_windows", "[]"), "is empty"),
        (with(ENFORCED, "max_delete_per_request", "0"), "no node of the group is deleted"),
        (with(ENFORCED, "max_delete_per_request", "4"), "never be reached"),
        (with(ENFORCED, "max_delete_per_request", "100"), "at most 99"),
        (with(ENFORCED, "max_delete_per_hour", "0"), "no node of the group is deleted"),
        (with(ENFORCED, "max_delete_per_hour", "10"), "never be reached"),
        (with(ENFORCED, "max_delete_per_day", "0"), "no node of the group is deleted"),
        (with(ENFORCED, "max_leaving_percent", "0"), "no node of the group is deleted"),
        (with(ENFORCED, "regain", "\"plentiful\"\naccept_regain_risk_usd = 5"), "has no effect"),
        (
            with(ENFORCED, "idle_timer", "\"break-even\"\nboot_failure_cost_usd = 5000"),
            "samples are kept",
        ),
        (with(ENFORCED, "node_local_data", "\"gate\""), "the cluster has none"),
        (with(ENFORCED, "mass_change", "{ nodes = 0 }"), "freeze"),
        (with(ENFORCED, "schedule", "\"0 0 * * * *\""), "time out before the next look"),
        (with(ENFORCED, "settle", "\"1s\""), "is less than 5s"),
        (with(ENFORCED, "evidence", "\"metrics-only\""), "ignore the scheduler"),
        (with(ENFORCED, "scheduler", "{ kind = \"kubernetes\" }"), "not supported yet"),
        (with(ENFORCED, "scheduler", "{ kind = \"none\", conf = \"/a\" }"), "not \"slurm\""),
        (with(ENFORCED, "scheduler", "{ kind = \"none\", token_file = \"/a\" }"), "a token for"),
        (with(ENFORCED, "endpoint_url", "\"https://example.com\""), "is a simulated scheduler"),
        (with(ENFORCED, "role_arn", "\"arn:aws:iam::210987654321:role/t\""), "another account"),
        (ENFORCED.replace("idle_below_percent = 5", "idle_below_percent = 0"), "ever be idle"),
        (ENFORCED.replace("idle_below_percent = 5", "idle_below_percent = 51"), "in use would"),
        (ENFORCED.replace("window = \"20m\"", "window = \"90s\""), "two periods"),
        (ENFORCED.replace("window = \"20m\"", "window = \"20m\", period = \"45s\""), "CloudWatch"),
        (ENFORCED.replace("window = \"20m\"", "window = \"20m\", period = \"3m\""), "too old"),
        (format!("{ENFORCED}utilization = {{}}\n"), "changes nothing"),
        (format!("{SMALL}utilization = {{ window = \"1h\" }}\n"), "there is none"),
        (
            format!("{SMALL}queue_lookahead = \"1h\"\n").replace("simulated", "none"),
            "trimtab sees none",
        ),
        (SMALL.replace("simulated", "none"), "must accept this risk"),
        (SMALL.replace("simulated", "none"), "only metrics show whether"),
    ] {
        let report = bad(&text);
        assert!(report.contains(why), "{why}: {report}");
    }
}

#[test]
fn metrics_alone_are_evidence_only_in_writing() {
    let written = SMALL.replace(
        "scheduler = { kind = \"simulated\" }",
        "scheduler = { kind = \"none\" }\nevidence = \"metrics-only\"\nutilization = \
         [{ kind = \"simulated\", idle_below_percent = 5, window = \"20m\" }]",
    );
    let settings = good(&written);
    assert_eq!(settings.clusters[0].policy.evidence_source, EvidenceSource::MetricsOnly);
    assert_eq!(settings.clusters[0].scheduler, SchedulerSettings::None);
    assert!(group(&settings).utilization.is_some());
}

#[test]
fn a_groups_own_rule_keeps_what_it_does_not_say() {
    let settings = good(&format!("{ENFORCED}utilization = {{ window = \"1h\" }}\n"));
    let cluster = settings.clusters[0].utilization.unwrap().rule;
    let expected = UtilizationRule { window: Span::hours(1), ..cluster };
    assert_eq!(group(&settings).utilization, Some(expected));
}

#[test]
fn scarce_types_are_scarce_unless_the_file_says_otherwise() {
    let scarce = |accepted_risk| Regain::Scarce { accepted_risk };
    for (keys, expected) in [
        ("instance_type = \"ml.p5.48xlarge\"", scarce(None)),
        ("instance_type = \"ml.p4d.24xlarge\"", scarce(None)),
        ("instance_type = \"ml.p6-b200.48xlarge\"", scarce(None)),
        ("instance_type = \"ml.trn1.32xlarge\"", scarce(None)),
        ("instance_type = \"ml.p5.48xlarge\"\nregain = \"plentiful\"", Regain::Plentiful),
        ("instance_type = \"ml.g5.8xlarge\"", Regain::Plentiful),
        ("regain = \"scarce\"", scarce(None)),
        (
            "regain = \"scarce\"\naccept_regain_risk_usd = 40.5",
            scarce(Some(Usd::from_dollars(40.5))),
        ),
    ] {
        assert_eq!(group(&good(&format!("{SMALL}{keys}\n"))).regain, expected, "{keys}");
    }
    // Nothing is deleted there anyway, so nothing more has to be declared.
    let scarce = format!("{SMALL}instance_type = \"ml.p5.48xlarge\"\n");
    let enforced = scarce.replace("config_version = 1", "config_version = 1\nmode = \"enforce\"");
    let here = "[[cluster]]\nendpoint_url = \"http://127.0.0.1:4010\"";
    good(&enforced.replace("[[cluster]]", here));
}

#[test]
fn the_hash_is_of_the_policy_and_of_nothing_else() {
    let hash = |text: &str| good(text).clusters[0].policy.hash.clone();
    let of_small = hash(SMALL);
    assert_eq!(of_small.to_string().len(), 32);
    for same in [
        format!("# a word more\n{SMALL}"),
        format!("{SMALL}min_idle_nodes = 0\n"),
        SMALL.replace("us-west-2", "us-east-1"),
        SMALL.replace("config_version = 1", "mode = \"observe\"\nconfig_version = 1"),
    ] {
        assert_eq!(hash(&same), of_small, "{same}");
    }
    for other in [
        SMALL.replace("min_nodes = 2", "min_nodes = 3"),
        SMALL.replace("min_nodes = 2", "min_nodes = \"10%\""),
        SMALL.replace("config_version = 1", "schedule = \"0 * * * * *\"\nconfig_version = 1"),
        format!("{SMALL}protected = [\"i-0123456789abcdef0\"]\n"),
    ] {
        assert_ne!(hash(&other), of_small, "{other}");
    }
}

#[test]
fn secrets_are_neither_accepted_nor_repeated() {
    let report = bad(&format!("aws_secret_access_key = \"hunter2\"\n{SMALL}"));
    assert!(report.contains("credentials do not belong"), "{report}");
    assert!(!report.contains("hunter2"), "{report}");
}

#[test]
fn control_characters_do_not_reach_the_terminal() {
    let report = bad("mode = \u{1b}]0;x\u{7}\nmode = \"\u{1b}[2J\"\n\"a\\u001b\" = 1\n");
    assert!(!report.contains(['\u{1b}', '\u{7}']), "{report:?}");
    let report = bad(&format!("\"a\\u001b\" = 1\n{SMALL}"));
    assert!(!report.contains('\u{1b}'), "{report:?}");
}

#[test]
fn a_file_that_cannot_be_read_is_a_problem() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c.toml");
    assert!(load(&path).unwrap_err().to_string().contains("c.toml\n    cannot be read"));
    std::fs::write(&path, SMALL).unwrap();
    assert_eq!(load(&path).unwrap().clusters, good(SMALL).clusters);
    std::fs::write(&path, b"a = 1\nb = \"\xff\"\n").unwrap();
    assert!(load(&path).unwrap_err().to_string().contains("not UTF-8 text, from line 2"));
    std::fs::write(&path, "#".repeat(1 << 20) + "#").unwrap();
    assert!(load(&path).unwrap_err().to_string().contains("is larger than"));
    assert!(load(dir.path()).is_err());
}

/// Returns the shipped file with `#key = …` and `#[table]` uncommented, and with `#?key = …` too
/// if `examples` is set.
fn uncommented(text: &str, examples: bool) -> String {
    let line = |line: &str| match line.strip_prefix('#') {
        Some(rest) if examples && rest.starts_with('?') => format!("{}\n", &rest[1..]),
        Some(rest) if rest.starts_with(|c: char| c.is_ascii_lowercase() || c == '[') => {
            format!("{rest}\n")
        }
        Some(_) | None => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}

#[test]
fn the_shipped_file_observes_and_shows_the_defaults() {
    let text = std::fs::read_to_string(repository("config/trimtab.toml")).unwrap();
    let shipped = good(&text);
    assert_eq!(shipped.mode, Mode::Observe);
    let written_out = good(&uncommented(&text, false));
    assert_eq!(
        Settings { notes: vec![], ..shipped },
        Settings { notes: vec![], ..written_out },
        "a value behind `#` is not the default"
    );
}

#[test]
fn the_shipped_file_has_every_key() {
    let text = std::fs::read_to_string(repository("config/trimtab.toml")).unwrap();
    let all = uncommented(&text, true);
    good(&all);
    let mut written = BTreeSet::new();
    collect_paths(&toml::from_str(&all).unwrap(), "", &mut written);
    let known: BTreeSet<String> = surface().into_iter().map(|key| key.path).collect();
    assert!(known.contains("cluster.group.keep_windows.zone"), "{known:?}");
    let missing: Vec<_> = known.difference(&written).collect();
    assert!(missing.is_empty(), "config/trimtab.toml does not name {missing:?}");
}

fn collect_paths(table: &toml::Table, at: &str, into: &mut BTreeSet<String>) {
    for (key, value) in table {
        let path = if at.is_empty() { key.clone() } else { format!("{at}.{key}") };
        let one = std::slice::from_ref(value);
        let items = value.as_array().map_or(one, Vec::as_slice);
        for table in items.iter().filter_map(toml::Value::as_table) {
            collect_paths(table, &path, into);
        }
        into.insert(path);
    }
}

#[test]
fn the_examples_are_what_their_names_say() {
    let example = |name| load(&repository("config/examples").join(name)).unwrap();
    assert_eq!(example("observe-only.toml").mode, Mode::Observe);
    let conservative = example("conservative.toml");
    assert_eq!(group(&conservative).budgets.per_day, NodeCount(6));
    assert_eq!(group(&conservative).min_nodes.of(NodeCount(32)), NodeCount(16));
    let hours = example("business-hours.toml");
    // Tuesday 2026-03-10 in New York: 12:00, then 03:00 the night after.
    let at = |text: &str| {
        let at: jiff::Timestamp = text.parse().unwrap();
        group(&hours).floor_at(trimtab_core::units::Time(at.as_millisecond()))
    };
    assert_eq!(at("2026-03-10T16:00:00Z"), NodeCount(16));
    assert_eq!(at("2026-03-11T07:00:00Z"), NodeCount(4));
    let three = example("three-clusters.toml").clusters;
    let accounts: BTreeSet<_> = three.iter().map(|c| c.account_id.as_str()).collect();
    let regions: BTreeSet<_> = three.iter().map(|c| c.region.as_str()).collect();
    assert_eq!((three.len(), accounts.len(), regions.len()), (3, 2, 2));
    assert!(three.iter().all(|cluster| cluster.role_arn.is_some()));
    let without_scheduler = |c: &&ClusterSettings| c.scheduler == SchedulerSettings::None;
    assert_eq!(three.iter().filter(without_scheduler).count(), 1);
    for entry in std::fs::read_dir(repository("config/examples")).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(load(&path).unwrap().mode, Mode::Observe, "{}", path.display());
    }
}

#[test]
fn what_is_complete_for_enforce_lacks_nothing_but_the_leave_to_do_it() {
    for name in ["conservative.toml", "business-hours.toml"] {
        let text = std::fs::read_to_string(repository("config/examples").join(name)).unwrap();
        let report = bad(&text.replace("mode = \"observe\"", "mode = \"enforce\""));
        assert!(report.contains("refused for real clusters"), "{name}: {report}");
        assert!(report.ends_with("\n1 problem in the configuration"), "{name}: {report}");
    }
}

#[test]
fn nothing_is_enforced_beyond_this_machine() {
    good(ENFORCED);
    for endpoint in ["http://localhost:4010", "http://[::1]:4010", "https://127.0.0.1"] {
        good(&with(ENFORCED, "endpoint_url", &format!("{endpoint:?}")));
    }
    let slurm = with(ENFORCED, "scheduler", "{ kind = \"slurm\" }");
    for text in [
        without(ENFORCED, "endpoint_url"),
        with(ENFORCED, "endpoint_url", "\"https://api.sagemaker.us-west-2.amazonaws.com\""),
        without(&slurm, "endpoint_url"),
        with(&slurm, "endpoint_url", "\"https://10.0.0.1\""),
    ] {
        let report = bad(&text);
        for owed in ["faults at scale", "operator's switches and lease"] {
            assert!(report.contains(owed), "{owed}: {report}");
        }
        let observed = with(&text, "mode", "\"observe\"").replace("simulated", "slurm");
        assert_eq!(good(&observed).mode, Mode::Observe);
    }
}

#[test]
fn slurm_is_asked_by_its_commands_or_by_slurmrestd() {
    let observed = with(ENFORCED, "mode", "\"observe\"");
    let scheduler = |written: &str| {
        let text = with(&observed, "scheduler", written);
        let settings = parse("t.toml", &text).expect(written);
        settings.clusters.into_iter().next().expect("one").scheduler
    };
    let reached = |access: SlurmAccess| {
        let (resource_config, provisioning_parameters) = (None, None);
        SchedulerSettings::Slurm(SlurmSettings {
            access,
            sees_all_jobs: false,
            resource_config,
            provisioning_parameters,
        })
    };
    let rest = |address: &str, token_file: Option<&str>| {
        let address = address.parse().expect("an address");
        reached(SlurmAccess::Rest { address, token_file: token_file.map(Into::into) })
    };
    assert_eq!(
        scheduler("{ kind = \"slurm\", bin_dir = \"/usr/bin\" }"),
        reached(SlurmAccess::Commands {
            conf: "/opt/slurm/etc/slurm.conf".into(),
            bin_dir: "/usr/bin".into()
        })
    );
    assert_eq!(
        scheduler("{ kind = \"slurm\", rest_url = \"unix:/run/s\" }"),
        rest("unix:/run/s", None)
    );
    assert_eq!(
        scheduler("{ kind = \"slurm\", rest_url = \"https://c:6820\", token_file = \"/t\" }"),
        rest("https://c:6820", Some("/t"))
    );
    for (written, said) in [
        ("rest_url = \"https://c:6820\"", "write token_file = \"/etc/trimtab/slurm.jwt\""),
        ("token_file = \"/t\"", "write rest_url = \"unix:/run/slurmrestd/slurmrestd.socket\""),
        ("rest_url = \"unix:/s\", conf = \"/c\"", "write conf and bin_dir, or rest_url and"),
        ("rest_url = \"unix:/s\", bin_dir = \"/b\"", "write conf and bin_dir, or rest_url and"),
        ("rest_url = \"http://10.0.0.1:6820\", token_file = \"/t\"", "does not encrypt the token"),
        ("rest_url = \"unix:/s\", token_file = \"t\"", "write the absolute path"),
    ] {
        let text = with(&observed, "scheduler", &format!("{{ kind = \"slurm\", {written} }}"));
        let problems = parse("t.toml", &text).expect_err(written);
        let all: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert!(all.len() == 1 && all[0].contains(said), "{written}: {all:?}");
    }
}

#[test]
fn no_text_makes_the_parser_panic() {
    let odd = [
        "",
        "[",
        "]",
        "{",
        "}",
        "\"",
        "'''",
        "[[",
        "{}",
        "[]",
        "[[]]",
        "[{}]",
        "\"\\u0000\"",
        "\"%\"",
        "\"½h\"",
        "\"9999999999999999999d\"",
        "-9223372036854775808",
        "1e308",
        "-nan",
        "0xffffffffffffffff",
        "1979-05-27",
        "{ name = \"x\", name = \"y\" }",
        "\"\u{1F980}\"",
        "\"mon-\"",
        "[\"a\", [1]]",
        "true",
        "\"0 0 0 31 2 *\"",
        "[{ days = [] }]",
    ];
    let text = uncommented(include_str!("../../../config/trimtab.toml"), true);
    let plain: Vec<&str> =
        text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).collect();
    let try_lines = |lines: Vec<&str>| drop(parse("t.toml", &lines.join("\n")));
    for (number, line) in plain.iter().enumerate() {
        try_lines(plain[..number].to_vec());
        try_lines([&plain[..number], &plain[number + 1..]].concat());
        try_lines([&plain[..number], &plain[number..=number], &plain[number..]].concat());
        let Some((key, _)) = line.split_once(" = ") else { continue };
        for value in odd {
            let changed = format!("{key} = {value}");
            try_lines([&plain[..number], &[changed.as_str()], &plain[number + 1..]].concat());
        }
    }
    drop(parse("t.toml", &"[".repeat(100_000)));
    drop(parse("t.toml", &format!("a = {}", "[".repeat(100_000))));
    drop(parse("t.toml", &format!("{} = 1", "a.".repeat(10_000))));
}

#[test]
fn a_request_may_take_more_than_the_api_takes_ids_only_where_the_group_goes_by_its_count() {
    let large = with(&with(SMALL, "size", "500"), "max_delete_per_hour", "400");
    let large = large + "max_delete_per_request = 400\n";
    assert!(bad(&large).contains("one API request takes at most 99 ids"));
    let settings = good(&(large + "group_calls = \"whole-group\"\n"));
    assert_eq!(group(&settings).budgets.per_request, NodeCount(400));
    assert_eq!(group(&settings).group_calls, GroupCalls::WholeGroup);
}
