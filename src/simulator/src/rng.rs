//! Chance from one seed, the same on every machine and in every version.
//!
//! Each use draws from a stream of its own ([`Stream`]), most of them numbered
//! by the node or job concerned. So what the daemon does changes what happens
//! next, but not how long the boot of node 17 takes or when job 40 comes: two
//! runs of one seed can be compared node by node. `ln` and `exp` are our own,
//! made of the four operations that IEEE 754 defines to the bit.

use trimtab_core::units::Span;

use crate::spec::Between;

/// What chance is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    /// Instance ids.
    Ids,
    /// When nodes of the start were launched.
    Ages,
    /// How long a node boots, is checked and takes to join.
    Boot,
    /// How long an accepted deletion takes.
    Delete,
    /// How long a dead node's entry stays in the scheduler.
    Prune,
    /// Which idle node a job gets.
    Placement,
    /// Generated jobs.
    Jobs,
    /// Copies and omissions of a scaled trace.
    Trace,
    /// How long a job is being started and ended.
    JobSteps,
    /// Metrics.
    Metrics,
    /// Random faults.
    Faults,
    /// What a fault hits.
    Targets,
    /// Recovery of failed nodes.
    Recovery,
    /// Which nodes UpdateCluster takes.
    Victims,
    /// How long a software update takes.
    Software,
    /// Which of a node's devices does how much of its work.
    Devices,
}

/// A stream of numbers (SplitMix64, by Steele, Lea and Flood).
#[derive(Debug, Clone)]
pub(crate) struct Rng(u64);

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// SplitMix64's finalizer: a permutation of the 64-bit numbers.
const fn mix(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

impl Rng {
    /// The `n`-th stream of its kind.
    pub(crate) fn new(seed: u64, stream: Stream, n: u64) -> Self {
        let kind = mix(seed.wrapping_add(GOLDEN.wrapping_mul(stream as u64 + 1)));
        Self(mix(kind ^ mix(n.wrapping_add(GOLDEN))))
    }

    /// The next number.
    pub(crate) fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN);
        mix(self.0)
    }

    /// A number below `bound`; 0 if there is none.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.draw()) * u128::from(bound)) >> 64) as u64
    }

    /// An index into so many items; 0 if there are none.
    pub(crate) fn index(&mut self, len: usize) -> usize {
        self.below(len as u64) as usize
    }

    /// A number from 0 up to, but not, 1.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.draw() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A span between two, both included, to the millisecond.
    pub(crate) fn span(&mut self, between: Between) -> Span {
        let width = between.max.0.saturating_sub(between.min.0).max(0) as u64;
        Span(between.min.0 + self.below(width + 1) as i64)
    }

    /// The time to the next of events that come at random, so many a day.
    pub(crate) fn until_next(&mut self, per_day: f64) -> Span {
        let days = -ln(1.0 - self.unit()) / per_day;
        Span((days * 86_400_000.0).min(Span::FOREVER.0 as f64) as i64)
    }

    /// About normal with mean 0 and variance 1: twelve uniform numbers added
    /// up (Irwin and Hall), which ends at 6 on either side.
    pub(crate) fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.unit()).sum::<f64>() - 6.0
    }
}

/// The `serial`-th id number of a seed; no two are equal.
pub(crate) fn id_number(seed: u64, serial: u64) -> u64 {
    let base = mix(seed.wrapping_add(GOLDEN.wrapping_mul(Stream::Ids as u64 + 1)));
    mix(base.wrapping_add(serial.wrapping_mul(GOLDEN)))
}

/// The natural logarithm of a positive, normal number.
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

/// The exponential function, for exponents between -600 and 600.
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
        let draw = |stream, n| Rng::new(7, stream, n).draw();
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
