//! Sends UpdateCluster once, to lower the count of one group. All other members of the group
//! are sent unchanged.
//!
//! HyperPod removes random nodes when a count is lowered, so this is only for a group of which
//! every node may be deleted. The audit decides that. This module checks that the group has not
//! changed since.

use aws_sdk_sagemaker::config::Builder;
use aws_smithy_types::body::SdkBody;
use serde_json::{Map, Value, json};
use trimtab_core::ids::{ClusterName, GroupName};
use trimtab_core::units::{NodeCount, Span};
use trimtab_daemon::ports::{DeleteOutcome, Refusal};

use crate::cluster::Cluster;
use crate::connection::write_limit;
use crate::convert;
use crate::echo::specification;
use crate::failure::{read_error, write_outcome};
use crate::raw::RawAnswer;

/// Time limit of the last DescribeCluster before the request.
const LAST_LOOK: Span = Span::secs(5);

/// A group of which every node may be deleted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shrink<'a> {
    pub(crate) cluster: &'a ClusterName,
    pub(crate) group: &'a GroupName,
    /// Number of nodes, all listed and cordoned.
    pub(crate) before: NodeCount,
    /// Number of nodes to keep.
    pub(crate) after: NodeCount,
}

/// Outcome of the request. The caller knows which nodes it affects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The API accepted the new count.
    Taken,
    /// The request failed, with the same outcomes as a delete request.
    Not(DeleteOutcome),
}

impl Cluster {
    /// Describes the group once more and sends it back with the new count, all `within` this
    /// time from now.
    pub(crate) async fn shrink(&self, shrink: Shrink<'_>, within: Span) -> Ended {
        // Each request gets its own share of the time, so that no clock is needed in between.
        let for_look = LAST_LOOK.min(Span(within.0 / 2));
        let (Some(look), Some(call)) = (write_limit(for_look), write_limit(within - for_look))
        else {
            return Ended::Not(DeleteOutcome::too_late());
        };
        let group = match self.group_as_shown(shrink, look).await {
            Ok(group) => group,
            Err((cause, why)) => {
                let why = format!("not sent: {why}").into();
                return Ended::Not(DeleteOutcome::Refused { cause, why });
            }
        };
        let body = json!({
            "ClusterName": shrink.cluster.as_str(),
            "InstanceGroups": [group],
        });
        let body = body.to_string();
        let request = self.connection.writes.update_cluster().cluster_name(shrink.cluster.as_str());
        // Replace the body: the SDK drops members that it does not know.
        let request = request.customize().config_override(call).mutate_request(move |request| {
            let length = body.len().to_string();
            *request.body_mut() = SdkBody::from(body.clone());
            request.headers_mut().insert("content-length", length);
        });
        match request.send().await {
            Ok(_) => Ended::Taken,
            Err(error) => Ended::Not(write_outcome(&error)),
        }
    }

    /// Returns the group's entry for the request if the group has not changed. A group that
    /// cannot be sent unchanged needs an operator; other failures may not occur the next time.
    async fn group_as_shown(
        &self,
        shrink: Shrink<'_>,
        limit: Builder,
    ) -> Result<Value, (Refusal, String)> {
        let group =
            self.described_group(shrink, limit).await.map_err(|why| (Refusal::NotSent, why))?;
        specification(&group, shrink.after.0).map_err(|why| (Refusal::Unknown, why.to_string()))
    }

    async fn described_group(&self, shrink: Shrink<'_>, limit: Builder) -> Result<Value, String> {
        let raw = RawAnswer::default();
        // Sent once, with a short time limit, because the look behind the request grows older
        // meanwhile.
        let request = self.connection.writes.describe_cluster();
        let request = request.cluster_name(shrink.cluster.as_str()).customize();
        let output = request.config_override(limit).interceptor(raw.clone()).send().await;
        let output = output.map_err(|error| read_error("DescribeCluster", &error).to_string())?;
        convert::description(&output, &self.connection.target).map_err(|why| why.to_string())?;
        let body = raw.take().ok_or("the body of DescribeCluster was not recorded")?;
        let body: Value = serde_json::from_slice(&body)
            .map_err(|why| format!("the body of DescribeCluster is not JSON: {why}"))?;
        group_of(&body, shrink)
    }
}

/// Returns the group from the original DescribeCluster answer if it has not changed since the
/// look.
fn group_of(description: &Value, shrink: Shrink<'_>) -> Result<Value, String> {
    let status = description.get("ClusterStatus").and_then(Value::as_str);
    if status != Some("InService") {
        return Err(format!("the cluster is {}", status.unwrap_or("without a status")));
    }
    let mode = description.pointer("/AutoScaling/Mode").and_then(Value::as_str);
    if mode.is_some_and(|mode| mode != "Disable") {
        return Err("another autoscaler is enabled".to_owned());
    }
    let groups = description.get("InstanceGroups").and_then(Value::as_array);
    let is_it = |group: &&Map<String, Value>| {
        group.get("InstanceGroupName").and_then(Value::as_str) == Some(shrink.group.as_str())
    };
    let found: Vec<&Map<String, Value>> =
        groups.into_iter().flatten().filter_map(Value::as_object).filter(is_it).collect();
    let &[group] = found.as_slice() else {
        return Err(format!("{} groups are named {}", found.len(), shrink.group));
    };
    let status = group.get("Status").and_then(Value::as_str);
    if status != Some("InService") {
        return Err(format!("the group is {}", status.unwrap_or("without a status")));
    }
    let operations = group.get("ActiveOperations").and_then(Value::as_object);
    if operations.into_iter().flatten().any(|(_, count)| count.as_u64() != Some(0)) {
        return Err("an operation is in progress in the group".to_owned());
    }
    for count in ["CurrentCount", "TargetCount"] {
        let shown = group.get(count).and_then(Value::as_u64);
        if shown != Some(u64::from(shrink.before.0)) {
            let shown = shown.map_or("not shown".to_owned(), |shown| shown.to_string());
            return Err(format!("{count} is {shown} and {} nodes are cordoned", shrink.before));
        }
    }
    if shrink.after >= shrink.before {
        return Err(format!("the new count {} is not below {}", shrink.after, shrink.before));
    }
    Ok(Value::Object(group.clone()))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;
    use crate::connection::{Connection, Target};

    fn description() -> Value {
        json!({
            "ClusterStatus": "InService",
            "InstanceGroups": [{
                "InstanceGroupName": "workers", "ExecutionRole": "arn:aws:iam::123456789012:role/r",
                "Status": "InService", "CurrentCount": 3, "TargetCount": 3, "MinCount": 2,
                "InstanceType": "ml.g5.8xlarge",
            }],
        })
    }

    fn entry_of(description: &Value, before: u32, after: u32) -> Result<Value, String> {
        let (cluster, group) = ("c".parse().expect("valid"), "workers".parse().expect("valid"));
        let (before, after) = (NodeCount(before), NodeCount(after));
        let shown =
            group_of(description, Shrink { cluster: &cluster, group: &group, before, after });
        specification(&shown?, after.0).map_err(|why| why.to_string())
    }

    #[test]
    fn a_group_that_is_as_it_was_is_sent_back_with_the_new_count() {
        let sent = entry_of(&description(), 3, 1).expect("nothing has changed");
        assert_eq!(
            sent,
            json!({
                "InstanceGroupName": "workers", "ExecutionRole": "arn:aws:iam::123456789012:role/r",
                "InstanceType": "ml.g5.8xlarge", "InstanceCount": 1, "MinInstanceCount": 1,
            })
        );
    }

    #[test]
    fn whatever_has_changed_meanwhile_keeps_the_call_from_being_made() {
        let changes: [(&str, Value, &str); 10] = [
            ("/ClusterStatus", json!("Updating"), "the cluster is Updating"),
            ("/AutoScaling", json!({"Mode": "Enable"}), "autoscaler"),
            ("/InstanceGroups/0/Status", json!("Degraded"), "the group is Degraded"),
            ("/InstanceGroups/0/ActiveOperations", json!({"Scaling": 1}), "an operation"),
            ("/InstanceGroups/0/CurrentCount", json!(4), "CurrentCount"),
            ("/InstanceGroups/0/TargetCount", json!(4), "TargetCount"),
            ("/InstanceGroups/0/TargetCount", Value::Null, "TargetCount"),
            ("/InstanceGroups/0/InstanceGroupName", json!("others"), "0 groups"),
            ("/InstanceGroups/0/Novelty", json!(1), "Novelty"),
            ("/InstanceGroups/0/ExecutionRole", Value::Null, "ExecutionRole"),
        ];
        for (place, value, why) in changes {
            let mut changed = description();
            let (parent, member) = place.rsplit_once('/').expect("a path");
            let parent = changed.pointer_mut(parent).and_then(Value::as_object_mut);
            parent.expect("an object").insert(member.to_owned(), value);
            let refused = entry_of(&changed, 3, 1).expect_err(place);
            assert!(refused.contains(why), "{place}: {refused}");
        }
        assert!(entry_of(&description(), 3, 3).is_err());
        assert!(entry_of(&description(), 2, 0).is_err());
    }

    /// A service that answers every request with an error, and counts the requests.
    async fn fail_all(listener: &TcpListener, asked: &AtomicUsize) {
        while let Ok((mut stream, _)) = listener.accept().await {
            asked.fetch_add(1, Ordering::SeqCst);
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            let answer = "HTTP/1.1 500 Internal Server Error\r\nconnection: close\r\n\
                          content-length: 2\r\n\r\n{}";
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    }

    /// Returns the outcome of a request to that service, and the number of requests.
    async fn shrink_within(within: Span) -> (Ended, usize) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let endpoint = format!("http://{}", listener.local_addr().expect("bound"));
        let target = Target {
            region: "us-east-1".to_owned(),
            account: "123456789012".parse().expect("valid"),
            role: None,
            endpoint: Some(endpoint.parse().expect("valid")),
        };
        let failing = Cluster::new(Connection::new(target).await);
        let (cluster, group) = ("c".parse().expect("valid"), "workers".parse().expect("valid"));
        let (before, after) = (NodeCount(3), NodeCount(1));
        let shrink = Shrink { cluster: &cluster, group: &group, before, after };
        let asked = AtomicUsize::new(0);
        let ended = tokio::select! {
            ended = failing.shrink(shrink, within) => ended,
            () = fail_all(&listener, &asked) => panic!("the service has ended"),
        };
        (ended, asked.into_inner())
    }

    #[tokio::test]
    async fn a_last_look_that_fails_is_not_repeated_and_nothing_is_sent() {
        let (ended, asked) = shrink_within(Span::secs(30)).await;
        let Ended::Not(DeleteOutcome::Refused { cause: Refusal::NotSent, why }) = ended else {
            panic!("{ended:?}");
        };
        assert!(why.contains("DescribeCluster"), "{why}");
        assert_eq!(asked, 1, "one attempt");
    }

    #[tokio::test]
    async fn when_the_look_behind_a_call_has_run_out_nobody_is_asked() {
        for within in [Span::ZERO, Span(-1)] {
            let (ended, asked) = shrink_within(within).await;
            assert_eq!(ended, Ended::Not(DeleteOutcome::too_late()));
            assert_eq!(asked, 0);
        }
    }
}
