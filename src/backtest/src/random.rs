//! Random timers.

use trimtab_core::random::SplitMix64;
use trimtab_core::units::Span;

/// Returns a random timer with the density e^(t/T*) / (T* (e - 1)) on [0, T*]
/// (docs/cost-rule.md, section 5).
pub(crate) fn random_timer(random: &mut SplitMix64, break_even: Span) -> Span {
    let share = (1.0 + random.unit() * (std::f64::consts::E - 1.0)).ln();
    Span((break_even.0 as f64 * share) as i64)
}
