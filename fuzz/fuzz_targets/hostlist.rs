//! Any text is a hostlist that stands for a bounded number of nodes, or an error; and
//! what it stands for stands for itself again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use trimtab_core::ids::NodeName;
use trimtab_slurm::hostlist::{NODES_MAX, expand};

fuzz_target!(|text: &str| {
    let Ok(nodes) = expand(text) else { return };
    assert!(nodes.len() <= NODES_MAX);
    let listed: Vec<&str> = nodes.iter().map(NodeName::as_str).collect();
    let again = expand(&listed.join(","));
    assert!(again == Ok(nodes.clone()) || listed.join(",").len() > trimtab_slurm::hostlist::TEXT_MAX);
});
