//! Matches instances with scheduler nodes.
//!
//! Several properties identify the scheduler node of an instance: the first label of its private
//! DNS name, its addresses, its entry in the resource configuration, and the name that the
//! operator's `node_name` rule produces. A property counts if it matches exactly one scheduler
//! node. If two properties match different nodes, the instance has no certain node, and trimtab
//! does not delete it.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::ids::NodeName;
use crate::reads::{JoinDoubt, JoinKey, Joined, ListedNode, SchedulerNode, Workload};

/// The operator's rule for the names of instances in the scheduler: a template with the
/// placeholders `{group}`, `{instance_id}`, `{dns}` (first label) and `{ip}` (with dashes).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeNaming(Arc<str>);

/// Why a template is not a valid naming rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadNaming {
    /// It contains a brace that does not belong to one of [`NodeNaming::PLACES`].
    #[error("unknown placeholder at `{0}`: use {{group}}, {{instance_id}}, {{dns}} or {{ip}}")]
    NoSuchPlace(String),
    /// It contains characters that are not allowed in a node name.
    #[error("`{0}` is not allowed in a node name")]
    NotInNames(String),
    /// It gives all instances of a group the same name.
    #[error(
        "every node of a group would have the same name: add {{instance_id}}, {{dns}} or {{ip}}"
    )]
    AllAlike,
}

impl NodeNaming {
    /// The placeholders of a template.
    pub const PLACES: [&'static str; 4] = ["{group}", "{instance_id}", "{dns}", "{ip}"];

    fn judge(text: &str) -> Result<(), BadNaming> {
        let mut rest = text.to_owned();
        for place in Self::PLACES {
            rest = rest.replace(place, "");
        }
        if let Some(at) = rest.find(['{', '}']) {
            return Err(BadNaming::NoSuchPlace(rest[at..].to_owned()));
        }
        if !rest.is_empty() && rest.parse::<NodeName>().is_err() {
            return Err(BadNaming::NotInNames(rest));
        }
        let tells_apart = Self::PLACES[1..].iter().any(|place| text.contains(place));
        if !tells_apart {
            return Err(BadNaming::AllAlike);
        }
        Ok(())
    }

    /// Returns the name of an instance; `None` if the value of a placeholder is unknown.
    fn name(&self, node: &ListedNode) -> Option<NodeName> {
        let mut name = self.0.replace("{group}", node.group.as_str());
        name = name.replace("{instance_id}", &node.id.to_string());
        if name.contains("{dns}") {
            name = name.replace("{dns}", node.name.as_ref()?.as_str());
        }
        if name.contains("{ip}") {
            name = name.replace("{ip}", &dashed(addresses(node).next()?));
        }
        name.parse().ok()
    }
}

impl FromStr for NodeNaming {
    type Err = BadNaming;

    /// Parses a template.
    ///
    /// # Errors
    /// Fails if the template has an unknown placeholder, has characters that are not allowed in a
    /// node name, or gives all instances of a group the same name.
    fn from_str(text: &str) -> Result<Self, BadNaming> {
        Self::judge(text).map(|()| Self(text.into()))
    }
}

impl fmt::Display for NodeNaming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Writes an address with dashes, such as `10-1-2-3`.
fn dashed(address: IpAddr) -> String {
    address.to_string().replace(['.', ':'], "-")
}

/// Returns the known addresses of an instance: from its description, and from a DNS name such as
/// `ip-10-1-2-3`.
fn addresses(node: &ListedNode) -> impl Iterator<Item = IpAddr> {
    let of_name = node.name.as_ref().and_then(|name| {
        let dotted = name.as_str().strip_prefix("ip-")?.replace('-', ".");
        dotted.parse::<Ipv4Addr>().ok().map(IpAddr::V4)
    });
    node.address.into_iter().chain(of_name)
}

/// The scheduler nodes by name, host name and address. A host name or address that several nodes
/// share matches none of them.
struct Nodes<'a> {
    by_name: BTreeMap<&'a str, &'a SchedulerNode>,
    by_hostname: BTreeMap<&'a str, Bearers<'a>>,
    by_address: BTreeMap<IpAddr, Bearers<'a>>,
}

/// The nodes that share one host name or address: the first of them, and one more.
#[derive(Clone, Copy)]
struct Bearers<'a>(&'a NodeName, Option<&'a NodeName>);

impl<'a> Bearers<'a> {
    fn and(&mut self, other: &'a NodeName) {
        self.1.get_or_insert(other);
    }

    fn only(self) -> Option<&'a NodeName> {
        self.1.is_none().then_some(self.0)
    }

    /// Returns one of them that is not `name`.
    fn beside(self, name: &NodeName) -> Option<&'a NodeName> {
        [Some(self.0), self.1].into_iter().flatten().find(|one| *one != name)
    }
}

impl<'a> Nodes<'a> {
    fn of(nodes: &'a [SchedulerNode]) -> Self {
        let mut all = Self {
            by_name: BTreeMap::new(),
            by_hostname: BTreeMap::new(),
            by_address: BTreeMap::new(),
        };
        for node in nodes {
            // A name that occurs twice is ambiguous. `assemble` handles that.
            all.by_name.insert(node.name.as_str(), node);
            let first = Bearers(&node.name, None);
            if let Some(hostname) = &node.hostname {
                let found = all.by_hostname.entry(hostname);
                found.and_modify(|bearers| bearers.and(&node.name)).or_insert(first);
            }
            if let Some(address) = node.address {
                let found = all.by_address.entry(address);
                found.and_modify(|bearers| bearers.and(&node.name)).or_insert(first);
            }
        }
        all
    }

    fn called(&self, name: &str) -> Option<&'a NodeName> {
        let by_name = self.by_name.get(name).map(|node| &node.name);
        by_name.or_else(|| self.by_hostname.get(name)?.only())
    }

    /// Returns another scheduler node on the same machine, because its jobs run on the instance
    /// too. Nodes with a loopback address are ignored: only test clusters have them.
    fn on_the_same_machine(&self, name: &NodeName) -> Option<(JoinKey, &'a NodeName)> {
        let node = self.by_name.get(name.as_str())?;
        if node.address.is_some_and(|address| address.is_loopback()) {
            return None;
        }
        let by_address = node.address.and_then(|address| self.by_address.get(&address));
        let by_host = node.hostname.as_deref().and_then(|host| self.by_hostname.get(host));
        let shared = [(JoinKey::Address, by_address), (JoinKey::DnsName, by_host)];
        shared.into_iter().find_map(|(mark, bearers)| Some((mark, bearers?.beside(name)?)))
    }

    fn at(&self, address: IpAddr) -> Option<&'a NodeName> {
        let by_address = self.by_address.get(&address).and_then(|bearers| bearers.only());
        by_address.or_else(|| self.called(&format!("ip-{}", dashed(address))))
    }
}

/// Sets the scheduler node of every listed instance.
pub fn join(listed: &mut [ListedNode], workload: &Workload, naming: Option<&NodeNaming>) {
    let nodes = Nodes::of(&workload.nodes);
    for node in listed {
        let recorded = workload.facts.recorded.get(&node.id);
        let rule = naming.and_then(|naming| naming.name(node));
        let rule = rule.as_ref().and_then(|name| nodes.called(name.as_str()));
        let record_name = recorded.and_then(|r| nodes.called(r.name.as_ref()?.as_str()));
        let record_address = recorded.and_then(|r| nodes.at(r.address?));
        let dns = node.name.as_ref().and_then(|name| nodes.called(name.as_str()));
        let mut pointed = vec![
            (JoinKey::Rule, rule),
            (JoinKey::Record, record_name),
            (JoinKey::Record, record_address),
            (JoinKey::DnsName, dns),
        ];
        pointed.extend(addresses(node).map(|address| (JoinKey::Address, nodes.at(address))));
        let mut pointed = pointed.into_iter().filter_map(|(mark, node)| Some((mark, node?)));
        node.joined = match pointed.next() {
            None => Joined::ByDnsName,
            Some((by, name)) => match pointed
                .find(|(_, other)| *other != name)
                .or_else(|| nodes.on_the_same_machine(name))
            {
                None => Joined::As(name.clone()),
                Some((other_by, other)) => Joined::Doubtful(JoinDoubt {
                    one: (by, name.clone()),
                    other: (other_by, other.clone()),
                }),
            },
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::InstanceId;
    use crate::reads::{Condition, InstanceStatus, NodeCapacity, RecordedInstance, SchedulerFacts};
    use crate::units::Time;

    fn name(text: &str) -> NodeName {
        text.parse().expect("a name")
    }

    fn instance(dns: &str, address: Option<[u8; 4]>) -> ListedNode {
        ListedNode {
            id: InstanceId::from_number(1),
            group: "workers".parse().expect("a name"),
            launched: Time(0),
            status: InstanceStatus::Running,
            name: (!dns.is_empty()).then(|| name(dns)),
            joined: Joined::ByDnsName,
            address: address.map(IpAddr::from),
            image: None,
            health: 100,
            protected: false,
            capacity: NodeCapacity::NotShown,
        }
    }

    fn node(text: &str, hostname: &str, address: Option<[u8; 4]>) -> SchedulerNode {
        SchedulerNode {
            name: name(text),
            condition: Condition::Up,
            claims: vec![],
            drained: None,
            hostname: (!hostname.is_empty()).then(|| hostname.into()),
            address: address.map(IpAddr::from),
            offers: None,
        }
    }

    fn joined(
        mut one: ListedNode,
        nodes: Vec<SchedulerNode>,
        recorded: Option<(&str, Option<[u8; 4]>)>,
        rule: Option<&str>,
    ) -> Joined {
        let recorded = recorded.map(|(text, address)| {
            let name = (!text.is_empty()).then(|| name(text));
            (one.id, RecordedInstance { name, address: address.map(IpAddr::from) })
        });
        let facts =
            SchedulerFacts { recorded: recorded.into_iter().collect(), ..Default::default() };
        let workload = Workload { at: Time(0), nodes, pending: vec![], facts };
        let rule = rule.map(|rule| rule.parse::<NodeNaming>().expect("a rule"));
        join(std::slice::from_mut(&mut one), &workload, rule.as_ref());
        one.joined
    }

    #[test]
    fn any_mark_that_points_to_one_node_joins() {
        let ip = Some([10, 0, 0, 7]);
        let as_name = |text| Joined::As(name(text));
        // Each property alone: name, host name, address, and an address in the name.
        for (one, nodes, wanted) in [
            (instance("ip-10-0-0-7", None), vec![node("ip-10-0-0-7", "", None)], "ip-10-0-0-7"),
            (instance("ip-10-0-0-7", None), vec![node("w-1", "ip-10-0-0-7", None)], "w-1"),
            (instance("ip-10-0-0-7", None), vec![node("w-1", "", ip)], "w-1"),
            (instance("other", ip), vec![node("w-1", "", ip)], "w-1"),
            (instance("", ip), vec![node("ip-10-0-0-7", "", None)], "ip-10-0-0-7"),
        ] {
            assert_eq!(joined(one, nodes, None, None), as_name(wanted));
        }
        let nodes = || vec![node("workers-1", "", None), node("workers-2", "", None)];
        assert_eq!(
            joined(instance("x", None), nodes(), Some(("workers-2", None)), None),
            as_name("workers-2")
        );
        let nodes = vec![node("workers-10-0-0-7", "", None)];
        assert_eq!(
            joined(instance("", ip), nodes, None, Some("{group}-{ip}")),
            as_name("workers-10-0-0-7")
        );
    }

    #[test]
    fn what_several_nodes_share_points_to_none_of_them() {
        let shared = Some([127, 0, 0, 1]);
        let nodes = vec![node("a", "localhost", shared), node("b", "localhost", shared)];
        assert_eq!(joined(instance("a", shared), nodes, None, None), Joined::As(name("a")));
        let nodes = vec![node("a", "localhost", shared), node("b", "localhost", shared)];
        assert_eq!(joined(instance("localhost", shared), nodes, None, None), Joined::ByDnsName);
    }

    #[test]
    fn an_instance_on_which_two_nodes_run_is_neither() {
        let ip = Some([10, 0, 0, 7]);
        for (hostname, address) in [("ip-10-0-0-7", None), ("", ip)] {
            let nodes =
                vec![node("ip-10-0-0-7", hostname, address), node("other", hostname, address)];
            let found = joined(instance("ip-10-0-0-7", None), nodes, None, None);
            assert!(matches!(found, Joined::Doubtful(_)), "{found:?}");
        }
    }

    #[test]
    fn marks_that_point_to_two_nodes_join_to_neither() {
        let nodes = || vec![node("a", "", None), node("b", "", Some([10, 0, 0, 7]))];
        let doubt = joined(instance("a", Some([10, 0, 0, 7])), nodes(), None, None);
        let Joined::Doubtful(doubt) = doubt else { panic!("{doubt:?}") };
        assert_eq!(doubt.to_string(), "its private DNS name matches a, but its address matches b");
        for (recorded, rule) in [(Some(("b", None)), None), (None, Some("{instance_id}-b"))] {
            let nodes = vec![node("a", "", None), node("b", "i-00000000000000001-b", None)];
            let doubt = joined(instance("a", None), nodes, recorded, rule);
            assert!(matches!(doubt, Joined::Doubtful(_)), "{recorded:?} {rule:?}");
        }
    }

    #[test]
    fn a_rule_that_names_all_nodes_alike_is_refused() {
        for (text, said) in [
            (
                "{group}",
                "every node of a group would have the same name: add {instance_id}, {dns} or {ip}",
            ),
            (
                "gpu",
                "every node of a group would have the same name: add {instance_id}, {dns} or {ip}",
            ),
            (
                "{n}-{ip}",
                "unknown placeholder at `{n}-`: use {group}, {instance_id}, {dns} or {ip}",
            ),
            ("a b{ip}", "`a b` is not allowed in a node name"),
        ] {
            let read = text.parse::<NodeNaming>().map_err(|why| why.to_string());
            assert_eq!(read, Err(said.to_owned()));
        }
    }
}
