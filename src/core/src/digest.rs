//! Short digests that are the same on every machine: 64-bit FNV-1a by Fowler, Noll and Vo. They
//! distinguish texts, but an attacker can construct collisions.

const OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0100_0000_01b3;

/// A digest of bytes that are added in parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digest(u64);

impl Digest {
    /// The digest of zero bytes.
    pub const EMPTY: Self = Self(OFFSET_BASIS);

    /// Returns the digest after these bytes are added.
    #[must_use]
    pub fn with(self, bytes: &[u8]) -> Self {
        Self(bytes.iter().fold(self.0, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(PRIME)))
    }

    /// Returns the digest as a number.
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
