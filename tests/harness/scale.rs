//! How much of the long simulations a test run covers.
//!
//! `TRIMTAB_SIM_SCALE` is a percentage of the published number of seeds and kill points:
//! 100 by default, which is what `.ci/run` and the README's command run. A developer sets a
//! smaller one to keep the loop short. Assertions about how much happened in total apply at
//! 100 only; assertions about what must never happen apply always.

use std::ops::Range;

/// Environment variable with the percentage, 1 to 100.
pub const SCALE_VARIABLE: &str = "TRIMTAB_SIM_SCALE";

/// Percentage of the published numbers that this run covers.
///
/// # Panics
/// When the variable is set to anything but a whole number from 1 to 100.
pub fn percent() -> u64 {
    let Ok(text) = std::env::var(SCALE_VARIABLE) else { return 100 };
    match text.parse() {
        Ok(percent @ 1..=100) => percent,
        Ok(_) | Err(_) => panic!("{SCALE_VARIABLE}={text}: write a whole number from 1 to 100"),
    }
}

/// Whether this run covers the published numbers.
pub fn is_full() -> bool {
    percent() == 100
}

/// The first seeds of a range, as many as the percentage takes; at least one.
pub fn seeds(all: Range<u64>) -> Range<u64> {
    all.start..all.start + scaled(all.end - all.start)
}

/// The percentage of a number, rounded up.
pub fn scaled(all: u64) -> u64 {
    (all * percent()).div_ceil(100)
}

/// Every n-th case of a list, so that what is left is spread over all of it.
pub fn thinned<T>(all: Vec<T>) -> Vec<T> {
    let step = (100 / percent()).max(1) as usize;
    all.into_iter().step_by(step).collect()
}
