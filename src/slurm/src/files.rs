//! Reads files that HyperPod writes to a cluster's nodes: the name and address of each
//! instance, and the role of each group. For older clusters the API returns neither.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use trimtab_core::ids::{GroupName, InstanceId};
use trimtab_core::reads::{RecordedInstance, Role};
use trimtab_daemon::ports::ReadError;

/// Limit on the size of a file, in bytes: 100,000 instances of 300 bytes.
const SIZE_MAX: u64 = 32 << 20;

/// Paths of the files. A file without a path is not read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Files {
    /// `resource_config.json`, on every node in `/opt/ml/config`.
    pub resource_config: Option<PathBuf>,
    /// `provisioning_parameters.json`, in the folder of the lifecycle scripts.
    pub provisioning_parameters: Option<PathBuf>,
}

impl Files {
    /// Returns the instances in `resource_config.json`, or none if no path is set.
    ///
    /// # Errors
    /// When a path is set and the file cannot be read.
    pub fn instances(&self) -> Result<BTreeMap<InstanceId, RecordedInstance>, ReadError> {
        let Some(path) = &self.resource_config else { return Ok(BTreeMap::new()) };
        read(path, parse_instances)
    }

    /// Returns the roles of groups in `provisioning_parameters.json`, or none if no path is
    /// set.
    ///
    /// # Errors
    /// When a path is set and the file cannot be read.
    pub fn roles(&self) -> Result<BTreeMap<GroupName, Role>, ReadError> {
        let Some(path) = &self.provisioning_parameters else { return Ok(BTreeMap::new()) };
        read(path, parse_roles)
    }
}

fn read<T>(path: &Path, parse: impl FnOnce(&str) -> Result<T, String>) -> Result<T, ReadError> {
    let shown = path.display();
    let mut text = String::new();
    let file = std::fs::File::open(path)
        .and_then(|file| file.take(SIZE_MAX + 1).read_to_string(&mut text));
    file.map_err(|why| ReadError::Refused(format!("{shown} cannot be read: {why}").into()))?;
    if text.len() as u64 > SIZE_MAX {
        return Err(ReadError::Unreadable(format!("{shown} is larger than 32 MB").into()));
    }
    parse(&text).map_err(|why| ReadError::Unreadable(format!("{shown}: {why}").into()))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ResourceConfig {
    instance_groups: Vec<InstanceGroup>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct InstanceGroup {
    instances: Vec<Instance>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Instance {
    instance_id: String,
    instance_name: Option<String>,
    customer_ip_address: Option<String>,
}

fn parse_instances(text: &str) -> Result<BTreeMap<InstanceId, RecordedInstance>, String> {
    let config: ResourceConfig = serde_json::from_str(text).map_err(|why| why.to_string())?;
    let mut found = BTreeMap::new();
    for one in config.instance_groups.into_iter().flat_map(|group| group.instances) {
        let id: InstanceId = one.instance_id.parse().map_err(|why| format!("{why}"))?;
        let address = match one.customer_ip_address.as_deref() {
            None | Some("") => None,
            Some(text) => {
                let wrong = |_| format!("{id}: `{text}` is not an IP address");
                Some(text.parse::<IpAddr>().map_err(wrong)?)
            }
        };
        // A name that is not valid in Slurm cannot match a node.
        let name = one.instance_name.and_then(|name| name.parse().ok());
        if found.insert(id, RecordedInstance { name, address }).is_some() {
            return Err(format!("instance {id} is listed twice"));
        }
    }
    Ok(found)
}

#[derive(Deserialize)]
struct ProvisioningParameters {
    controller_group: Option<String>,
    login_group: Option<String>,
}

fn parse_roles(text: &str) -> Result<BTreeMap<GroupName, Role>, String> {
    let parameters: ProvisioningParameters =
        serde_json::from_str(text).map_err(|why| why.to_string())?;
    let mut roles = BTreeMap::new();
    let named =
        [(parameters.login_group, Role::Login), (parameters.controller_group, Role::Controller)];
    for (group, role) in named {
        // On a cluster without login nodes this is an empty string.
        let Some(group) = group.filter(|group| !group.is_empty()) else { continue };
        let group: GroupName = group.parse().map_err(|why| format!("{why}"))?;
        roles.insert(group, role);
    }
    if !roles.values().any(|role| *role == Role::Controller) {
        return Err("controller_group is missing".to_owned());
    }
    Ok(roles)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instances_are_known_by_name_and_address() {
        let text = r#"{"ClusterType": "Slurm", "ClusterConfig": {"ClusterName": "research"},
            "InstanceGroups": [
              {"Name": "workers", "InstanceType": "ml.g5.8xlarge", "Instances": [
                {"InstanceName": "workers-1", "AgentIpAddress": "172.16.0.9",
                 "CustomerIpAddress": "10.1.2.3", "InstanceId": "i-0123456789abcdef0",
                 "InstanceLabel": "x"},
                {"InstanceId": "i-0123456789abcdef1", "CustomerIpAddress": ""}]},
              {"Name": "empty", "Instances": []}]}"#;
        let found = parse_instances(text).expect("a file");
        let id = |text: &str| text.parse::<InstanceId>().expect("an id");
        let first = RecordedInstance {
            name: Some("workers-1".parse().expect("a name")),
            address: Some(IpAddr::from([10, 1, 2, 3])),
        };
        assert_eq!(found.len(), 2);
        assert_eq!(found[&id("i-0123456789abcdef0")], first);
        let second = RecordedInstance { name: None, address: None };
        assert_eq!(found[&id("i-0123456789abcdef1")], second);
        let twice = text.replace("abcdef1", "abcdef0");
        assert_eq!(
            parse_instances(&twice),
            Err("instance i-0123456789abcdef0 is listed twice".to_owned())
        );
        let odd = text.replace("10.1.2.3", "10.1.2");
        let said = "i-0123456789abcdef0: `10.1.2` is not an IP address";
        assert_eq!(parse_instances(&odd), Err(said.to_owned()));
        assert!(parse_instances("{}").is_err());
    }

    #[test]
    fn controllers_and_login_groups_are_named() {
        let text = r#"{"version": "1.0.0", "workload_manager": "slurm",
            "controller_group": "head", "login_group": "doors",
            "worker_groups": [{"instance_group_name": "workers", "partition_name": "gpu"}]}"#;
        let roles = parse_roles(text).expect("a file");
        let name = |text: &str| text.parse::<GroupName>().expect("a name");
        let wanted = [(name("doors"), Role::Login), (name("head"), Role::Controller)];
        assert_eq!(roles, BTreeMap::from(wanted));
        assert_eq!(parse_roles(&text.replace("doors", "")).expect("a file").len(), 1);
        let same = parse_roles(&text.replace("doors", "head")).expect("a file");
        assert_eq!(same[&name("head")], Role::Controller, "the stricter one");
        let none = parse_roles(&text.replace("controller_group", "control"));
        assert_eq!(none, Err("controller_group is missing".to_owned()));
    }

    #[test]
    fn a_file_that_is_named_has_to_be_there() {
        assert_eq!(Files::default().instances().expect("nothing is named").len(), 0);
        let files = Files { resource_config: Some("/nowhere/x.json".into()), ..Files::default() };
        let said = files.instances().expect_err("it is not there").to_string();
        assert!(said.contains("/nowhere/x.json cannot be read"), "{said}");
    }
}
