//! Whatever Slurm prints, or whoever writes into it, is read or refused: nothing panics.

#![no_main]

use libfuzzer_sys::fuzz_target;
use trimtab_slurm::{configuration, jobs, nodes, reservations};

fuzz_target!(|text: &str| {
    let _ = nodes::parse(text);
    let _ = jobs::parse_active(text);
    let _ = jobs::parse_pending(text, &[]);
    let _ = reservations::parse(text);
    let _ = configuration::parse(text);
});
