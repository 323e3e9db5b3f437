//! Short digests that are the same everywhere: 64-bit FNV-1a by Fowler, Noll and Vo. They
//! tell texts apart; they do not resist a search for collisions.

const OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0100_0000_01b3;

/// A digest of bytes that come in parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digest(u64);

impl Digest {
    /// The digest of nothing.
    pub const EMPTY: Self = Self(OFFSET_BASIS);

    /// Adds bytes.
    #[must_use]
    pub fn with(self, bytes: &[u8]) -> Self {
        Self(bytes.iter().fold(self.0, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(PRIME)))
    }

    /// Returns it as a number.
    pub const fn number(self) -> u64 {
        self.0
    }
}

/// Returns the digest of these bytes.
pub fn fnv1a(bytes: &[u8]) -> u64 {
    Digest::EMPTY.with(bytes).number()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_those_of_the_specification() {
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
        assert_eq!(Digest::EMPTY.with(b"foo").with(b"bar").number(), fnv1a(b"foobar"));
    }
}
