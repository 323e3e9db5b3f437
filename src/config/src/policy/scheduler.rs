//! Checks the scheduler and the evidence source of a cluster.

use trimtab_core::policy::EvidenceSource;

use super::file::{ClusterTable, SchedulerTable};
use super::rest_address::RestAddress;
use super::settings::{SchedulerSettings, SlurmAccess, SlurmSettings};
use super::values::{AbsolutePath, SchedulerKind};
use crate::language::entry::{Entry, Findings};

/// Path of slurm.conf in HyperPod's images.
const SLURM_CONF: &str = "/opt/slurm/etc/slurm.conf";
/// Folder of Slurm's commands in HyperPod's images.
const SLURM_BIN: &str = "/opt/slurm/bin";

pub(crate) fn scheduler(
    table: &ClusterTable,
    findings: &mut Findings,
) -> Option<SchedulerSettings> {
    let instead = "write scheduler = { kind = \"slurm\" }, or { kind = \"none\" } if the cluster \
                   has no scheduler";
    let scheduler = table.scheduler.required(instead, findings)?;
    let kind = &scheduler.kind;
    let kind_given = *kind.required("write kind = \"slurm\" or \"none\"", findings)?;
    if kind_given != SchedulerKind::Slurm {
        let SchedulerTable {
            spot: _,
            kind: _,
            conf,
            bin_dir,
            rest_url,
            token_file,
            sees_all_jobs,
            node_name,
            resource_config,
            provisioning_parameters,
        } = scheduler;
        let slurms_own = [
            (&conf.spot, conf.is_written(), "Slurm's configuration file"),
            (&bin_dir.spot, bin_dir.is_written(), "the folder of Slurm's commands"),
            (&rest_url.spot, rest_url.is_written(), "where slurmrestd is"),
            (&token_file.spot, token_file.is_written(), "a token for slurmrestd"),
            (&sees_all_jobs.spot, sees_all_jobs.is_written(), "a setting for Slurm's jobs"),
            (&node_name.spot, node_name.is_written(), "a setting for the names of nodes in Slurm"),
            (
                &resource_config.spot,
                resource_config.is_written(),
                "a setting for the names of \
                                                                   nodes in Slurm",
            ),
            (
                &provisioning_parameters.spot,
                provisioning_parameters.is_written(),
                "a setting for the groups of Slurm",
            ),
        ];
        for (spot, _, what) in slurms_own.into_iter().filter(|(_, is_written, _)| *is_written) {
            let what = format!("is {what}, but kind is not \"slurm\"");
            findings.problems.push(spot.problem(what, "remove it"));
        }
    }
    match kind_given {
        SchedulerKind::Slurm => {
            let path = |entry: &Entry<AbsolutePath>| entry.optional().map(|path| path.map(|p| p.0));
            Some(SchedulerSettings::Slurm(SlurmSettings {
                access: slurm_access(scheduler, findings)?,
                sees_all_jobs: scheduler.sees_all_jobs.optional()?.unwrap_or(false),
                resource_config: path(&scheduler.resource_config)?,
                provisioning_parameters: path(&scheduler.provisioning_parameters)?,
            }))
        }
        SchedulerKind::None => Some(SchedulerSettings::None),
        SchedulerKind::Simulated => {
            if let Some(endpoint) = table.endpoint_url.value()
                && !endpoint.is_loopback()
            {
                let what = format!(
                    "is a simulated scheduler, but endpoint_url = \"{endpoint}\" is not on this \
                     machine: a simulation does not know the jobs of a real cluster"
                );
                let instead = "write the scheduler of the cluster";
                findings.problems.push(kind.spot.problem(what, instead));
                return None;
            }
            Some(SchedulerSettings::Simulated)
        }
        SchedulerKind::Kubernetes => {
            let what = "is not supported yet";
            let instead = "remove the cluster; do not use \"none\" instead: trimtab would not see \
                           the pods, and could delete nodes that run them";
            findings.problems.push(kind.spot.problem(what, instead));
            None
        }
    }
}

/// Returns the access through slurmrestd if its keys are set, otherwise through Slurm's commands.
fn slurm_access(scheduler: &SchedulerTable, findings: &mut Findings) -> Option<SlurmAccess> {
    let SchedulerTable { conf, bin_dir, rest_url, token_file, .. } = scheduler;
    if !rest_url.is_written() && !token_file.is_written() {
        conf.derive(SLURM_CONF, findings);
        bin_dir.derive(SLURM_BIN, findings);
        let conf = conf.or(AbsolutePath(SLURM_CONF.into()));
        let bin_dir = bin_dir.or(AbsolutePath(SLURM_BIN.into()))?;
        return Some(SlurmAccess::Commands { conf: conf?.0, bin_dir: bin_dir.0 });
    }
    for one in [conf, bin_dir].into_iter().filter(|one| one.is_written()) {
        let what = "is for Slurm's commands, but rest_url or token_file selects slurmrestd";
        let instead = "write conf and bin_dir, or rest_url and token_file";
        findings.problems.push(one.spot.problem(what, instead));
    }
    let instead = "write rest_url = \"unix:/run/slurmrestd/slurmrestd.socket\", or remove \
                   token_file to use Slurm's commands";
    let address = rest_url.required(instead, findings)?.clone();
    // On a socket, slurmrestd can identify the user by itself.
    if !matches!(address, RestAddress::Socket(_)) {
        let instead = "write token_file = \"/etc/trimtab/slurm.jwt\", a file with the output of \
                       `scontrol token` that only the user of trimtab can read";
        token_file.required(instead, findings)?;
    }
    let token_file = token_file.optional()?.map(|path| path.0);
    Some(SlurmAccess::Rest { address, token_file })
}

pub(crate) fn evidence_source(
    entry: &Entry<EvidenceSource>,
    scheduler: Option<&SchedulerSettings>,
    findings: &mut Findings,
) -> Option<EvidenceSource> {
    let no_scheduler = *scheduler? == SchedulerSettings::None;
    let wrong = match (no_scheduler, entry.optional()?) {
        (false, None | Some(EvidenceSource::Scheduler)) => {
            entry.derive("scheduler", findings);
            return Some(EvidenceSource::Scheduler);
        }
        (true, Some(EvidenceSource::MetricsOnly)) => return Some(EvidenceSource::MetricsOnly),
        (true, None) => {
            "is missing, and with scheduler kind \"none\" a job that the metrics do not show can \
             be lost: the operator must accept this risk"
        }
        (true, Some(EvidenceSource::Scheduler)) => "requires a scheduler, but its kind is \"none\"",
        (false, Some(EvidenceSource::MetricsOnly)) => {
            "would ignore the scheduler, which knows jobs that the metrics do not show"
        }
    };
    let instead =
        if no_scheduler { "write evidence = \"metrics-only\" to accept it" } else { "remove it" };
    findings.problems.push(entry.spot.problem(wrong, instead));
    None
}
