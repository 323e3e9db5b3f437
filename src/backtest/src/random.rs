//! Random numbers from a seed.

use trimtab_core::units::Span;

/// SplitMix64 (Steele, Lea and Flood 2014): small, with the same results on every machine.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Returns a number below `len`, which must not be 0.
    pub(crate) fn below(&mut self, len: usize) -> usize {
        let wide = u128::from(self.next()) * len as u128;
        (wide >> 64) as usize
    }

    /// Returns a random timer with the density e^(t/T*) / (T* (e - 1)) on [0, T*]
    /// (docs/cost-rule.md, section 5).
    pub(crate) fn timer(&mut self, break_even: Span) -> Span {
        let unit = (self.next() >> 11) as f64 / (1_u64 << 53) as f64;
        let share = (1.0 + unit * (std::f64::consts::E - 1.0)).ln();
        Span((break_even.0 as f64 * share) as i64)
    }
}
