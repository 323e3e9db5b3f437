//! Random numbers from one seed, the same on every machine and in every version.
//!
//! Each use draws from its own stream ([`Stream`]), and most streams are numbered by node or job.
//! So the actions of the daemon change what happens next, but not how long node 17 boots or when
//! job 40 is submitted: two runs of one seed can be compared node by node. `ln` and `exp` are
//! implemented here, with only the four operations that IEEE 754 defines exactly.

use trimtab_core::random::{GOLDEN, SplitMix64, mix};
use trimtab_core::units::Span;

use crate::text::Between;

/// Use of a stream of random numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    /// Instance ids.
    Ids,
    /// Ages of the first nodes.
    Ages,
    /// Durations of a node's boot, health check and join.
    Boot,
    /// Time until an accepted deletion ends.
    Delete,
    /// Time until the scheduler removes a terminated node's entry.
    Prune,
    /// Idle nodes that a job gets.
    Placement,
    /// Random jobs.
    Jobs,
    /// Copies and omissions of a scaled trace.
    Trace,
    /// Durations of a job's prolog and epilog.
    JobSteps,
    /// Metrics.
    Metrics,
    /// Random faults.
    Faults,
    /// Targets of faults.
    Targets,
    /// Recovery times of failed nodes.
    Recovery,
    /// Nodes that UpdateCluster deletes.
    Victims,
    /// Durations of software updates.
    Software,
    /// Distribution of a node's load over its devices.
    Devices,
}

/// A stream of numbers.
#[derive(Debug, Clone)]
pub(crate) struct Rng(SplitMix64);

impl Rng {
    /// Returns the `n`-th stream of a kind.
    pub(crate) fn new(seed: u64, stream: Stream, n: u64) -> Self {
        let kind = mix(seed.wrapping_add(GOLDEN.wrapping_mul(stream as u64 + 1)));
        Self(SplitMix64::new(mix(kind ^ mix(n.wrapping_add(GOLDEN)))))
    }

    /// Returns a number below `bound`; 0 if `bound` is 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0.below(bound)
    }

    /// Returns an index below `len`; 0 if `len` is 0.
    pub(crate) fn index(&mut self, len: usize) -> usize {
        self.0.index(len)
    }

    /// Returns a number in `0.0..1.0`.
    pub(crate) fn unit(&mut self) -> f64 {
        self.0.unit()
    }

    /// Returns a duration between `min` and `max`, both included, in milliseconds.
    pub(crate) fn span(&mut self, between: Between) -> Span {
        let width = between.max.0.saturating_sub(between.min.0).max(0) as u64;
        Span(between.min.0 + self.below(width + 1) as i64)
    }

    /// Returns the time to the next of random events that occur `per_day` times a day on average.
    pub(crate) fn until_next(&mut self, per_day: f64) -> Span {
        let days = -ln(1.0 - self.unit()) / per_day;
        Span((days * 86_400_000.0).min(Span::FOREVER.0 as f64) as i64)
    }

    /// Returns an approximately normal number with mean 0 and variance 1: the sum of twelve uniform
    /// numbers minus 6 (Irwin and Hall), so between -6 and 6.
    pub(crate) fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.unit()).sum::<f64>() - 6.0
    }
}

/// Returns the `serial`-th id number of a seed. No two are equal.
pub(crate) fn id_number(seed: u64, serial: u64) -> u64 {
    let base = mix(seed.wrapping_add(GOLDEN.wrapping_mul(Stream::Ids as u64 + 1)));
    mix(base.wrapping_add(serial.wrapping_mul(GOLDEN)))
}

/// Returns the natural logarithm of a positive, normal number.
fn ln(x: f64) -> f64 {
    let bits = x.to_bits();
    let mut exponent = ((bits >> 52) & 0x7ff) as i64 - 1023;
    let mut mantissa = f64::from_bits((bits & 0x000f_ffff_ffff_ffff) | (1023 << 52));
    if mantissa > std::f64::consts::SQRT_2 {
        mantissa /= 2.0;
        exponent += 1;
    }
    let ratio = (mantissa - 1.0) / (mantissa + 1.0);
    let (mut power, mut sum) = (ratio, 0.0);
    for odd in (1..=23).step_by(2) {
        sum += power / f64::from(odd);
        power *= ratio * ratio;
    }
    2.0 * sum + exponent as f64 * std::f64::consts::LN_2
}

/// Returns the exponential function of `x`, clamped to -600..=600.
pub(crate) fn exp(x: f64) -> f64 {
    let x = x.clamp(-600.0, 600.0);
    let twos = (x / std::f64::consts::LN_2).round();
    let rest = x - twos * std::f64::consts::LN_2;
    let (mut term, mut sum) = (1.0, 1.0);
    for n in 1..=20 {
        term *= rest / f64::from(n);
        sum += term;
    }
    sum * f64::from_bits(((twos as i64 + 1023) as u64) << 52)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ln_and_exp_agree_with_the_machines_to_a_millionth_of_a_millionth() {
        for x in [1e-300, 1e-9, 0.3, 0.999, 1.0, 1.5, 2.0, 7.0, 1e20] {
            assert!((ln(x) - x.ln()).abs() <= 1e-12 * x.ln().abs().max(1.0), "ln {x}");
        }
        for x in [-300.0, -2.5, -1e-9, 0.0, 0.7, 3.0, 88.0] {
            assert!((exp(x) / x.exp() - 1.0).abs() < 1e-12, "exp {x}");
        }
    }

    #[test]
    fn streams_do_not_depend_on_one_another_and_stay_in_range() {
        let draw = |stream, n| Rng::new(7, stream, n).0.draw();
        assert_eq!(draw(Stream::Boot, 3), draw(Stream::Boot, 3));
        assert_ne!(draw(Stream::Boot, 3), draw(Stream::Boot, 4));
        assert_ne!(draw(Stream::Boot, 3), draw(Stream::Delete, 3));
        let mut rng = Rng::new(7, Stream::Jobs, 0);
        let between = Between { min: Span(5), max: Span(7) };
        let drawn: Vec<i64> = (0..200).map(|_| rng.span(between).0).collect();
        assert!(
            (5..=7).all(|ms| drawn.contains(&ms)) && drawn.iter().all(|ms| (5..=7).contains(ms))
        );
        let mean = (0..20_000).map(|_| rng.until_next(24.0).as_hours()).sum::<f64>() / 20_000.0;
        assert!((mean - 1.0).abs() < 0.03, "{mean}");
        let ids: std::collections::BTreeSet<u64> = (0..10_000).map(|n| id_number(1, n)).collect();
        assert_eq!(ids.len(), 10_000);
    }
}
