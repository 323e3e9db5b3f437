//! UpdateCluster: one group to a lower count, once, with every other member of the group
//! sent back as it is.
//!
//! HyperPod picks the victims of a lower count at random, so this is only for a group of
//! which every node may go. That is the audit's to say; what is checked here is that the
//! group is still as it was when the audit said so.

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

/// How long the last DescribeCluster before the call may take at most.
const LAST_LOOK: Span = Span::secs(5);

/// A group that every node of may go.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shrink<'a> {
    pub(crate) cluster: &'a ClusterName,
    pub(crate) group: &'a GroupName,
    /// All of its nodes, as listed and cordoned.
    pub(crate) before: NodeCount,
    /// How many are to be left.
    pub(crate) after: NodeCount,
}

/// How it ended; whose call it was knows which nodes that concerns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The API has taken the new count.
    Taken,
    /// As a delete request that did not end well.
    Not(DeleteOutcome),
}

impl Cluster {
    /// Describes the group once more, and sends it back with the new count, if both are
    /// done `within` from now.
    pub(crate) async fn shrink(&self, shrink: Shrink<'_>, within: Span) -> Ended {
        // Each has a part of the time to itself, so that no clock is needed in between.
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
        // What the SDK would write drops members that it does not know.
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

    /// The group's entry for the request, if it still is as it was looked at. What cannot
    /// be sent back as it is concerns an operator; everything else may have passed by the
    /// next time.
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
        // Once and quickly: the look that the call rests on grows older meanwhile.
        let request = self.connection.writes.describe_cluster();
        let request = request.cluster_name(shrink.cluster.as_str()).customize();
        let output = request.config_override(limit).interceptor(raw.clone()).send().await;
        let output = output.map_err(|error| read_error("DescribeCluster", &error).to_string())?;
        convert::description(&output, &self.connection.target).map_err(|why| why.to_string())?;
        let body = raw.take().ok_or("DescribeCluster's answer was not kept")?;
        let body: Value = serde_json::from_slice(&body)
            .map_err(|why| format!("DescribeCluster's answer is no JSON: {why}"))?;
        group_of(&body, shrink)
    }
}

/// The group in DescribeCluster's answer as it came, if it still is as it was looked at.
fn group_of(description: &Value, shrink: Shrink<'_>) -> Result<Value, String> {
    let status = description.get("ClusterStatus").and_then(Value::as_str);
    if status != Some("InService") {
        return Err(format!("the cluster is {}", status.unwrap_or("without a status")));
    }
    let mode = description.pointer("/AutoScaling/Mode").and_then(Value::as_str);
    if mode.is_some_and(|mode| mode != "Disable") {
        return Err("another autoscaler is on".to_owned());
    }
    let groups = description.get("InstanceGroups").and_then(Value::as_array);
    let is_it = |group: &&Map<String, Value>| {
        group.get("InstanceGroupName").and_then(Value::as_str) == Some(shrink.group.as_str())
    };
    let found: Vec<&Map<String, Value>> =
        groups.into_iter().flatten().filter_map(Value::as_object).filter(is_it).collect();
    let &[group] = found.as_slice() else {
        return Err(format!("{} groups are called {}", found.len(), shrink.group));
    };
    let status = group.get("Status").and_then(Value::as_str);
    if status != Some("InService") {
        return Err(format!("the group is {}", status.unwrap_or("without a status")));
    }
    let operations = group.get("ActiveOperations").and_then(Value::as_object);
    if operations.into_iter().flatten().any(|(_, count)| count.as_u64() != Some(0)) {
        return Err("an operation runs in the group".to_owned());
    }
    for count in ["CurrentCount", "TargetCount"] {
        let shown = group.get(count).and_then(Value::as_u64);
        if shown != Some(u64::from(shrink.before.0)) {
            return Err(format!("{count} is {shown:?} and {} nodes are cordoned", shrink.before));
        }
    }
    if shrink.after >= shrink.before {
        return Err(format!("{} nodes are not fewer than {}", shrink.after, shrink.before));
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

    /// A service whose every answer is an error; counts what it is asked.
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

    /// How a call ends where every answer is an error, and how often that was asked.
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
