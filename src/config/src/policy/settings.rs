//! The validated configuration. Users of these values need no further checks, and `None` never
//! means that the operator forgot a key.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::str::FromStr;

use trimtab_core::ids::{GroupName, ParseIdError};
use trimtab_core::policy::{ClusterPolicy, UtilizationRule};
use trimtab_core::units::Span;

use super::rest_address::RestAddress;
use super::schedule::Schedule;
use super::signals::CloudwatchSignal;
use crate::language::problem::Note;

/// The settings of the daemon.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    pub mode: Mode,
    /// When to tick.
    pub schedule: Schedule,
    /// Path of the ledger.
    pub state_path: PathBuf,
    /// While this file exists, trimtab starts no deletion.
    pub pause_file: PathBuf,
    pub log_level: LogLevel,
    /// The clusters, in the order of the file. Names are unique.
    pub clusters: Vec<ClusterSettings>,
    /// Notes for the operator, in the order of the file.
    pub notes: Vec<Note>,
}

/// Whether trimtab may change anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Observe, plan and explain. No port can change anything.
    Observe,
    /// Carry out plans.
    Enforce,
}

/// The policy of one cluster, and how to reach it.
#[derive(Debug, Clone, PartialEq)]
pub struct ClusterSettings {
    pub policy: ClusterPolicy,
    pub region: Region,
    /// Account of the cluster. trimtab refuses to run if AWS reports another one.
    pub account_id: AccountId,
    /// A role of the same account that trimtab assumes first.
    pub role_arn: Option<RoleArn>,
    /// Endpoint for the API requests, instead of that of AWS.
    pub endpoint_url: Option<EndpointUrl>,
    pub scheduler: SchedulerSettings,
    /// CloudWatch signals of each group with a utilization rule; empty for other sources.
    pub signals: BTreeMap<GroupName, Vec<CloudwatchSignal>>,
    /// Source of metrics; `None` if the cluster has no utilization rule.
    pub utilization: Option<UtilizationSettings>,
    /// Program that runs once for all nodes of an API request and can save their data.
    pub gate: Option<HookSettings>,
    /// Program that checks each node before it is deleted.
    pub on_node_check: Option<HookSettings>,
}

/// A program of the operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookSettings {
    /// Absolute path and arguments.
    pub command: Vec<String>,
    /// Longest time of one run.
    pub time_limit: Span,
}

/// The scheduler of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SchedulerSettings {
    /// The scheduler of a simulated cluster, under `/_world` of the endpoint. An endpoint is
    /// always on this machine. Without an endpoint, the simulated cluster is in this process.
    Simulated,
    /// No scheduler: metrics are the only evidence, and nodes cannot be cordoned.
    None,
    Slurm(SlurmSettings),
}

/// How to reach Slurm, and further files about the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlurmSettings {
    pub access: SlurmAccess,
    /// Whether the operator confirms that trimtab may see the jobs of all users.
    pub sees_all_jobs: bool,
    /// HyperPod's `resource_config.json`.
    pub resource_config: Option<PathBuf>,
    /// HyperPod's `provisioning_parameters.json`.
    pub provisioning_parameters: Option<PathBuf>,
}

/// How to reach Slurm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SlurmAccess {
    /// Through its commands.
    Commands {
        /// Path of slurm.conf, passed as `SLURM_CONF`.
        conf: PathBuf,
        /// Folder of the commands.
        bin_dir: PathBuf,
    },
    /// Through slurmrestd.
    Rest {
        address: RestAddress,
        /// File with the token (JWT). Optional for a socket.
        token_file: Option<PathBuf>,
    },
}

/// The source of utilization metrics of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UtilizationSettings {
    pub source: UtilizationSource,
    /// Rule of the first entry. The policy of a group has the rule of that group.
    pub rule: UtilizationRule,
}

/// A source of utilization metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UtilizationSource {
    /// CloudWatch. [`ClusterSettings::signals`] has the metrics.
    Cloudwatch,
    /// Metrics of the simulated cluster.
    Simulated,
}

macro_rules! text {
    ($(#[$doc:meta])* $type:ident, $wanted:literal, $is_valid:path) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $type(String);

        impl $type {
            /// Returns the text as written.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                if $is_valid(text) {
                    Ok(Self(text.to_owned()))
                } else {
                    Err(ParseIdError { text: text.to_owned(), wanted: $wanted })
                }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}
text!(
    /// Code of a region, such as `us-west-2`.
    Region, "a region's code", is_region
);
text!(
    /// The 12 digits of an account.
    AccountId, "an account id of 12 digits", is_account
);
text!(
    /// ARN of a role.
    RoleArn, "a role's ARN", is_role
);
text!(
    /// Scheme, host and port of an endpoint. Plain `http` is accepted only for this machine.
    EndpointUrl, "a URL of scheme, host and port that is encrypted or on this machine", is_endpoint
);

text!(
    /// Log level, with optional levels of single modules, in the syntax of
    /// `tracing-subscriber`'s `EnvFilter`.
    LogLevel, "a log level, optionally with levels of modules", is_log_level
);

impl RoleArn {
    /// Returns the account of the role.
    pub fn account(&self) -> &str {
        self.0.split(':').nth(4).unwrap_or("")
    }
}

impl EndpointUrl {
    /// Whether the endpoint is on this machine. No other name than `localhost` counts.
    pub fn is_loopback(&self) -> bool {
        host_of(&self.0).is_some_and(|(_, host)| is_loopback(host))
    }
}

/// `us-west-2`, `us-gov-east-1`, `eusc-de-east-1`.
fn is_region(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let [area, directions @ .., number] = parts.as_slice() else { return false };
    let is_word = |word: &&str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase());
    (2..=4).contains(&area.len())
        && is_word(area)
        && !directions.is_empty()
        && directions.iter().all(is_word)
        && (1..=2).contains(&number.len())
        && number.bytes().all(|b| b.is_ascii_digit())
}

/// Accepts `info`, or `info,trimtab_daemon=debug,hyper=off`. The log as a whole cannot be off, so
/// that errors are always logged.
fn is_log_level(text: &str) -> bool {
    let is_level = |level: &str| ["error", "warn", "info", "debug", "trace"].contains(&level);
    let is_module = |module: &str| {
        !module.is_empty()
            && module.split("::").all(|part| {
                !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
            })
    };
    let mut plain = 0;
    let known = text.split(',').all(|directive| match directive.split_once('=') {
        Some((module, level)) => is_module(module) && (is_level(level) || level == "off"),
        None => {
            plain += 1;
            is_level(directive)
        }
    });
    known && plain == 1
}

fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit())
}

fn is_role(text: &str) -> bool {
    let parts: Vec<&str> = text.split(':').collect();
    let &["arn", partition, "iam", "", account, role] = parts.as_slice() else { return false };
    let is_name = |name: &str| {
        !name.is_empty()
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"+=,.@_-/".contains(&b))
    };
    partition.starts_with("aws")
        && partition.bytes().all(|b| b.is_ascii_lowercase() || b == b'-')
        && is_account(account)
        && role.strip_prefix("role/").is_some_and(is_name)
}

fn is_endpoint(text: &str) -> bool {
    match host_of(text) {
        Some(("https", _)) => true,
        // Without TLS, requests are signed but not encrypted.
        Some(("http", host)) => is_loopback(host),
        Some(_) | None => false,
    }
}

/// Returns the scheme and the host of `scheme://host[:port][/]`.
fn host_of(text: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = text.split_once("://")?;
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let after_v6 = rest.find(']').map_or(0, |at| at + 1);
    let (host, port) = match rest.get(after_v6..)?.rfind(':') {
        Some(colon) => (rest.get(..after_v6 + colon)?, rest.get(after_v6 + colon + 1..)),
        None => (rest, None),
    };
    if let Some(port) = port {
        port.parse::<u16>().ok().filter(|_| port.bytes().all(|b| b.is_ascii_digit()))?;
    }
    let v6 = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let is_name = |host: &str| {
        !host.is_empty()
            && host.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'-')
    };
    let is_host = v6.map_or(is_name(host), |v6| v6.parse::<Ipv6Addr>().is_ok());
    is_host.then_some((scheme, host))
}

fn is_loopback(host: &str) -> bool {
    let v6 = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let address: Option<IpAddr> = match v6 {
        Some(v6) => v6.parse::<Ipv6Addr>().ok().map(IpAddr::from),
        None => host.parse::<Ipv4Addr>().ok().map(IpAddr::from),
    };
    host.eq_ignore_ascii_case("localhost") || address.is_some_and(|a| a.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_encrypted_or_on_this_machine() {
        for (text, valid, loopback) in [
            ("http://127.0.0.1:4010", true, true),
            ("http://127.8.9.1/", true, true),
            ("http://localhost:80", true, true),
            ("http://[::1]:4010", true, true),
            ("https://api.sagemaker.us-west-2.amazonaws.com", true, false),
            ("https://[2600::1]", true, false),
            ("http://10.0.0.1:4010", false, false),
            ("http://127.0.0.1.example.com", false, false),
            ("http://127.0.0.1@example.com", false, false),
            ("http://127.0.0.1:4010/path", false, false),
            ("http://127.0.0.1:99999", false, false),
            ("http://127.0.0.1:+1", false, false),
            ("http://", false, false),
            ("http://[::1", false, false),
            ("ftp://localhost", false, false),
            ("127.0.0.1:4010", false, false),
        ] {
            let endpoint = text.parse::<EndpointUrl>();
            assert_eq!(endpoint.is_ok(), valid, "{text}");
            assert_eq!(endpoint.is_ok_and(|e| e.is_loopback()), loopback, "{text}");
        }
    }

    #[test]
    fn a_log_level_is_one_level_and_perhaps_levels_of_modules() {
        for text in ["info", "trace", "warn,trimtab_daemon::driver=debug", "hyper=off,info"] {
            assert!(text.parse::<LogLevel>().is_ok(), "{text}");
        }
        for text in [
            "",
            "off",
            "INFO",
            "information",
            "info,",
            "info,debug",
            "hyper=off",
            "a::=info,warn",
            "info,[span]=debug",
            "info, hyper=warn",
        ] {
            assert!(text.parse::<LogLevel>().is_err(), "{text}");
        }
    }

    #[test]
    fn regions_accounts_and_roles_have_their_form() {
        for text in ["us-west-2", "us-gov-east-1", "eusc-de-east-1", "ap-southeast-5"] {
            assert!(text.parse::<Region>().is_ok(), "{text}");
        }
        for text in ["", "us", "us-2", "us-west", "us-west-2a", "US-west-2", "us--2"] {
            assert!(text.parse::<Region>().is_err(), "{text}");
        }
        assert!("12345678901".parse::<AccountId>().is_err());
        assert!("1234-5678-9012".parse::<AccountId>().is_err());
        let role: RoleArn = "arn:aws-us-gov:iam::123456789012:role/a/b".parse().expect("valid");
        assert_eq!(role.account(), "123456789012");
        for text in [
            "arn:aws:iam::123456789012:user/a",
            "arn:aws:iam::1:role/a",
            "arn:aws:iam::123456789012:role/",
            "arn:aws:sts:us-west-2:123456789012:role/a",
        ] {
            assert!(text.parse::<RoleArn>().is_err(), "{text}");
        }
    }
}
