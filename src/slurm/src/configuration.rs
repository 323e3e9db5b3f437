//! Parses `scontrol show config`: one `Key = value` per line.

use std::collections::BTreeMap;
use std::net::IpAddr;

use trimtab_core::reads::ControllerHost;

use crate::backend::{Configuration, Hidden};
use crate::malformed::Malformed;

/// Arguments of the command.
pub const ARGUMENTS: [&str; 2] = ["show", "config"];

/// Parses the output.
///
/// # Errors
/// When a required key is missing or appears twice.
pub fn parse(text: &str) -> Result<Configuration, Malformed> {
    let mut values: BTreeMap<&str, &str> = BTreeMap::new();
    // Sections with free text (parameters of plugins) come after the keys that are needed.
    for line in text.lines() {
        let Some((key, value)) = line.split_once(" = ") else { continue };
        let is_needed = |key: &str| {
            key.starts_with("SlurmctldHost[") || matches!(key, "EnforcePartLimits" | "PrivateData")
        };
        let key = key.trim_end();
        if is_needed(key) && values.insert(key, value.trim()).is_some() {
            return Err(format!("the configuration contains {key} twice").into());
        }
    }
    let value = |key: &str| {
        values.get(key).copied().ok_or_else(|| format!("the configuration has no {key}"))
    };
    let hosts = values.iter().filter(|(key, _)| key.starts_with("SlurmctldHost["));
    let controllers: Vec<ControllerHost> = hosts.map(|(_, host)| controller(host)).collect();
    if controllers.is_empty() {
        return Err("the configuration has no SlurmctldHost".into());
    }
    Ok(Configuration {
        controllers,
        refuses_large_jobs: value("EnforcePartLimits")? != "NO",
        hidden: hidden(value("PrivateData")?),
    })
}

fn hidden(private: &str) -> Hidden {
    let has = |what: &str| private.split(',').any(|word| word == what || word == "all");
    match (has("jobs") || has("reservations"), has("nodes")) {
        (false, _) => Hidden::Nothing,
        (true, true) => Hidden::NodesToo,
        (true, false) => Hidden::JobsOnly,
    }
}

/// Parses `ip-10-1-2-3` or `ip-10-1-2-3(10.1.2.3)`.
fn controller(host: &str) -> ControllerHost {
    let (name, address) = match host.split_once('(') {
        Some((name, rest)) => (name, rest.strip_suffix(')').unwrap_or(rest)),
        None => (host, ""),
    };
    let address = address.parse::<IpAddr>().or_else(|_| name.parse()).ok();
    let label = if address.is_some() && name.parse::<IpAddr>().is_ok() {
        name
    } else {
        name.split('.').next().unwrap_or(name)
    };
    ControllerHost { hostname: label.into(), address }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(hosts: &[&str], limits: &str, private: &str) -> String {
        let hosts: Vec<String> = (0..)
            .zip(hosts)
            .map(|(n, host)| format!("SlurmctldHost[{n}]        = {host}"))
            .collect();
        format!(
            "Configuration data as of 2026-11-25T09:20:00\nAccountingStorageBackupHost = (null)\n\
             EnforcePartLimits       = {limits}\nPrivateData             = {private}\n{}\n\n\
             Slurmctld(primary) at ip-10-1-2-3 is UP\n",
            hosts.join("\n")
        )
    }

    #[test]
    fn hosts_limits_and_privacy_are_read() {
        let read = parse(&config(&["ip-10-1-2-3(10.1.2.3)", "login.example.com"], "NO", "none"));
        let read = read.expect("a configuration");
        let hosts: Vec<(&str, Option<String>)> = read
            .controllers
            .iter()
            .map(|host| (&*host.hostname, host.address.map(|address| address.to_string())))
            .collect();
        assert_eq!(hosts, [("ip-10-1-2-3", Some("10.1.2.3".to_owned())), ("login", None)]);
        assert!(!read.refuses_large_jobs && read.hidden == Hidden::Nothing);
        for limits in ["ANY", "ALL", "YES", "something"] {
            let read = parse(&config(&["10.1.2.3"], limits, "none")).expect("a configuration");
            assert!(read.refuses_large_jobs, "{limits}");
        }
        for (private, hidden) in [
            ("jobs,nodes", Hidden::NodesToo),
            ("all", Hidden::NodesToo),
            ("jobs,usage", Hidden::JobsOnly),
            ("reservations", Hidden::JobsOnly),
            ("accounts,usage", Hidden::Nothing),
        ] {
            let read = parse(&config(&["c"], "NO", private)).expect("a configuration");
            assert_eq!(read.hidden, hidden, "{private}");
        }
    }

    #[test]
    fn a_configuration_without_what_is_needed_is_no_answer() {
        let good = config(&["c"], "NO", "none");
        for (gone, said) in [
            ("SlurmctldHost", "the configuration has no SlurmctldHost"),
            ("EnforcePartLimits", "the configuration has no EnforcePartLimits"),
            ("PrivateData", "the configuration has no PrivateData"),
        ] {
            assert_eq!(parse(&good.replace(gone, "Something")), Err(said.into()));
        }
        let twice = format!("{good}\nPrivateData = none\n");
        assert_eq!(parse(&twice), Err("the configuration contains PrivateData twice".into()));
        assert!(parse("").is_err());
    }
}
