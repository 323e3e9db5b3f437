//! The IAM policies: they allow every AWS action that trimtab calls, allow no other write action,
//! and deny the actions that trimtab must never call.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Kind of an AWS action: read, or a write that deletes nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Read,
    /// Deletes nodes by ID, from a cleared request.
    Delete,
    /// Deletes nodes by count, where every node of the group may be deleted.
    Group,
}

/// Every AWS action that trimtab calls, and why. Add a new action here and to the policies.
const CALLS: [(&str, Kind, &str); 7] = [
    ("sagemaker:DescribeCluster", Kind::Read, "status, groups, counts, account of the ARN"),
    ("sagemaker:ListClusterNodes", Kind::Read, "the listing every decision rests on"),
    ("sagemaker:DescribeClusterNode", Kind::Read, "capacity type; the look before releasing"),
    ("cloudwatch:GetMetricData", Kind::Read, "utilization"),
    ("cloudwatch:ListMetrics", Kind::Read, "which series a node has"),
    ("sagemaker:BatchDeleteClusterNodes", Kind::Delete, "the deletion"),
    ("sagemaker:UpdateCluster", Kind::Group, "group_calls"),
];

/// Permissions that the caller of UpdateCluster also needs.
const WITH_UPDATE_CLUSTER: [&str; 2] = ["iam:PassRole", "eks:DescribeCluster"];

/// Actions that no mode may call, and their effect.
const NEVER: [(&str, &str); 19] = [
    ("sagemaker:AddTags", "would let it flip its own switch"),
    ("sagemaker:DeleteTags", "would let it take protections off"),
    ("sagemaker:AttachClusterNodeNetworkInterface", "changes nodes"),
    ("sagemaker:AttachClusterNodeVolume", "changes nodes"),
    ("sagemaker:BatchAddClusterNodes", "spends money"),
    ("sagemaker:BatchRebootClusterNodes", "ends jobs"),
    ("sagemaker:BatchReplaceClusterNodes", "ends jobs"),
    ("sagemaker:CreateCluster", "spends money"),
    ("sagemaker:CreateClusterExtension", "what runs in the cluster is not ours"),
    ("sagemaker:CreateClusterSchedulerConfig", "the scheduler's settings are not ours"),
    ("sagemaker:DeleteCluster", "ends everything"),
    ("sagemaker:DeleteClusterExtension", "what runs in the cluster is not ours"),
    ("sagemaker:DeleteClusterSchedulerConfig", "the scheduler's settings are not ours"),
    ("sagemaker:DetachClusterNodeVolume", "takes data from under a job"),
    ("sagemaker:MoveClusterNodes", "ends jobs"),
    ("sagemaker:StartClusterHealthCheck", "takes nodes from the scheduler"),
    ("sagemaker:UpdateClusterExtension", "what runs in the cluster is not ours"),
    ("sagemaker:UpdateClusterSchedulerConfig", "the scheduler's settings are not ours"),
    ("sagemaker:UpdateClusterSoftware", "reboots nodes"),
];

const CLUSTER: &str = "arn:aws:sagemaker:REGION:ACCOUNT:cluster/CLUSTER_ID";

/// The policies, and the kinds of actions that they allow.
const POLICIES: [(&str, &[Kind]); 3] = [
    ("observe", &[Kind::Read]),
    ("scale-down", &[Kind::Read, Kind::Delete]),
    ("scale-down-with-group-calls", &[Kind::Read, Kind::Delete, Kind::Group]),
];

/// Reports a skipped test: CI searches for this word.
#[expect(clippy::print_stdout, reason = "a passing test has no other way to say so")]
fn skipped(why: &str) {
    println!("SKIPPED: {why}");
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn policy(name: &str) -> Vec<Value> {
    let path = root().join("iam").join(format!("{name}.json"));
    let text = std::fs::read_to_string(&path).expect("the policy is there");
    let document: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(document["Version"], "2012-10-17", "{name}");
    document["Statement"].as_array().expect("statements").clone()
}

/// Returns the texts of a member that is one text or a list of texts.
fn texts(value: &Value) -> Vec<&str> {
    match value.as_array() {
        Some(list) => list.iter().map(|one| one.as_str().expect("a text")).collect(),
        None => value.as_str().into_iter().collect(),
    }
}

fn actions<'a>(statements: &'a [Value], effect: &str) -> BTreeSet<&'a str> {
    let of_effect = statements.iter().filter(|statement| statement["Effect"] == effect);
    of_effect.flat_map(|statement| texts(&statement["Action"])).collect()
}

fn allowing<'a>(statements: &'a [Value], action: &str) -> &'a Value {
    let mut found = statements.iter().filter(|statement| {
        statement["Effect"] == "Allow" && texts(&statement["Action"]).contains(&action)
    });
    let one = found.next().expect(action);
    assert!(found.next().is_none(), "{action} is allowed twice: conditions would not hold");
    one
}

#[test]
fn each_policy_allows_what_its_mode_calls_and_nothing_else() {
    for (name, kinds) in POLICIES {
        let statements = policy(name);
        let called = CALLS.iter().filter(|(_, kind, _)| kinds.contains(kind));
        let mut wanted: BTreeSet<&str> = called.map(|(action, _, _)| *action).collect();
        if kinds.contains(&Kind::Group) {
            wanted.extend(WITH_UPDATE_CLUSTER);
        }
        assert_eq!(actions(&statements, "Allow"), wanted, "{name}");
        for statement in &statements {
            assert!(statement["NotAction"].is_null(), "{name}");
            assert!(texts(&statement["Action"]).iter().all(|action| !action.contains('*')));
        }
    }
}

#[test]
fn what_must_never_be_done_is_denied_everywhere_without_a_condition() {
    for (name, kinds) in POLICIES {
        let statements = policy(name);
        let (allowed, denied) = (actions(&statements, "Allow"), actions(&statements, "Deny"));
        for (action, why) in NEVER {
            assert!(denied.contains(action) && !allowed.contains(action), "{name} {action}: {why}");
        }
        for (action, kind, _) in CALLS {
            let is_ours = kinds.contains(&kind);
            assert_eq!(denied.contains(action), kind != Kind::Read && !is_ours, "{name} {action}");
        }
        for statement in statements.iter().filter(|statement| statement["Effect"] == "Deny") {
            assert!(statement["Condition"].is_null(), "{name}: a denial that can be lifted");
            let is_of_roles = texts(&statement["Action"]) == ["iam:PassRole"];
            assert!(statement["Resource"] == "*" || is_of_roles, "{name}");
        }
        assert!(denied.contains("iam:PassRole"), "{name}");
    }
}

#[test]
fn changes_need_this_cluster_and_its_tag() {
    for (name, kinds) in POLICIES {
        let statements = policy(name);
        for (action, kind, _) in CALLS.iter().filter(|(_, kind, _)| kinds.contains(kind)) {
            let statement = allowing(&statements, action);
            match kind {
                Kind::Read if action.starts_with("cloudwatch:") => {
                    assert_eq!(statement["Resource"], "*");
                }
                Kind::Read => assert_eq!(statement["Resource"], CLUSTER, "{name} {action}"),
                Kind::Delete | Kind::Group => {
                    assert_eq!(statement["Resource"], CLUSTER, "{name} {action}");
                    let equals = &statement["Condition"]["StringEquals"];
                    assert_eq!(equals["aws:ResourceTag/trimtab"], "enforce");
                    assert_eq!(equals["aws:ResourceAccount"], "${aws:PrincipalAccount}");
                }
            }
        }
    }
}

#[test]
fn only_the_groups_own_roles_can_be_passed_and_only_to_sagemaker() {
    let statements = policy("scale-down-with-group-calls");
    let pass = allowing(&statements, "iam:PassRole");
    let to = &pass["Condition"]["StringEquals"]["iam:PassedToService"];
    assert_eq!(to, "sagemaker.amazonaws.com");
    let mut denials = statements.iter().filter(|statement| {
        statement["Effect"] == "Deny" && texts(&statement["Action"]) == ["iam:PassRole"]
    });
    let denial = denials.next().expect("all other roles are denied");
    assert_eq!(denial["NotResource"], pass["Resource"]);
    for role in texts(&pass["Resource"]) {
        assert!(role.starts_with("arn:aws:iam::ACCOUNT:role/") && !role.contains('*'), "{role}");
    }
}

#[test]
fn the_trust_policy_names_one_role() {
    let statements = policy("trust-policy");
    assert_eq!(statements.len(), 1);
    let Value::Object(principal) = &statements[0]["Principal"] else { panic!("no principal") };
    assert_eq!(principal.keys().collect::<Vec<_>>(), ["AWS"]);
    let named = texts(&principal["AWS"]);
    assert_eq!(named, ["arn:aws:iam::ACCOUNT:role/TRIMTAB_HOST_ROLE"]);
    assert_eq!(texts(&statements[0]["Action"]), ["sts:AssumeRole"]);
}

/// `describe_cluster` of `DescribeCluster`, as the SDK names its methods.
fn method(operation: &str) -> String {
    let mut name = String::new();
    for c in operation.chars() {
        if c.is_ascii_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(c.to_ascii_lowercase());
    }
    name
}

fn sources(folder: &Path) -> String {
    let mut text = String::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            text += &sources(&path);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text += &std::fs::read_to_string(path).expect("text");
        }
    }
    text
}

/// Read actions that trimtab does not call. If it starts to call one, move it to the list of calls.
const OTHER_READS: [&str; 8] = [
    "sagemaker:DescribeClusterEvent",
    "sagemaker:DescribeClusterSchedulerConfig",
    "sagemaker:DescribeTrainingPlan",
    "sagemaker:ListClusterEvents",
    "sagemaker:ListClusters",
    "sagemaker:ListTags",
    "cloudwatch:GetMetricStatistics",
    "cloudwatch:PutMetricData",
];

#[test]
fn the_adapter_calls_nothing_that_is_not_on_the_list() {
    assert_eq!(method("BatchDeleteClusterNodes"), "batch_delete_cluster_nodes");
    let code = sources(&root().join("src/aws/src"));
    let others = NEVER.iter().map(|(action, _)| *action).chain(OTHER_READS);
    for action in others {
        let (_, operation) = action.split_once(':').expect("service and operation");
        let call = format!(".{}()", method(operation));
        assert!(!code.contains(&call), "{action} is called: add it to CALLS and the policies");
    }
}

/// Denied actions that an installed botocore may not know yet (1.44.5 does not).
const NEWER: [&str; 1] = ["sagemaker:MoveClusterNodes"];

/// A misspelt action would deny nothing.
#[test]
fn every_action_is_one_that_aws_has() {
    let python = root().join("target/components/venv/bin/python");
    if !python.exists() {
        skipped(&format!("botocore is not installed ({})", python.display()));
        return;
    }
    let script = "import botocore.session, json, sys\n\
                  s = botocore.session.get_session()\n\
                  print(json.dumps({n: s.get_service_model(n).operation_names \
                  for n in sys.argv[1:]}))";
    let services = ["sagemaker", "cloudwatch", "eks", "sts"];
    let output = Command::new(python).args(["-c", script]).args(services).output();
    let output = output.expect("python runs");
    let known: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let mut named = BTreeSet::new();
    for name in POLICIES.map(|(name, _)| name).into_iter().chain(["trust-policy"]) {
        let statements = policy(name);
        named.extend(actions(&statements, "Allow").into_iter().map(str::to_owned));
        named.extend(actions(&statements, "Deny").into_iter().map(str::to_owned));
    }
    named.extend(OTHER_READS.map(str::to_owned));
    // A permission, not an operation.
    named.remove("iam:PassRole");
    for action in NEWER {
        named.remove(action);
    }
    for action in &named {
        let (service, operation) = action.split_once(':').expect("service and operation");
        assert!(texts(&known[service]).contains(&operation), "{action}");
    }
}
