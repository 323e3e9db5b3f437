//! Digest of a policy: 128-bit FNV-1a of its serialized form.
//!
//! It distinguishes the policies that operators write. It does not resist a deliberate
//! collision. The serialized form has a fixed order, so one policy has the same digest in every
//! process of one build.

use serde::Serialize;
use trimtab_core::ids::PolicyHash;

const OFFSET_BASIS: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;

/// Returns the digest, or `None` if the value cannot be serialized.
pub(crate) fn digest(value: &impl Serialize) -> Option<PolicyHash> {
    let bytes = serde_json::to_vec(value).ok()?;
    format!("{:032x}", fnv1a(&bytes)).parse().ok()
}

fn fnv1a(bytes: &[u8]) -> u128 {
    bytes.iter().fold(OFFSET_BASIS, |hash, byte| (hash ^ u128::from(*byte)).wrapping_mul(PRIME))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_test_vectors_hold() {
        assert_eq!(fnv1a(b""), 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d);
        assert_eq!(fnv1a(b"a"), 0xd228_cb69_6f1a_8caf_7891_2b70_4e4a_8964);
        assert_eq!(fnv1a(b"foobar"), 0x343e_1662_793c_64bf_6f0d_3597_ba44_6f18);
    }
}
