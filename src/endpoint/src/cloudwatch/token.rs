//! NextToken: where the next page begins. A token fits the request that it was given
//! for, and no other.

use super::failure::{Failure, FailureKind};

/// What a page's token says: three numbers whose meaning the operation knows.
pub(super) type Position = [i64; 3];

/// A digest of what a request asks for (FNV-1a by Fowler, Noll and Vo).
pub(super) fn digest(asked: &str) -> u64 {
    asked.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

pub(super) fn write(digest: u64, [a, b, c]: Position) -> String {
    format!("{digest:016x}.{a}.{b}.{c}")
}

/// Where the page begins that this token is for.
///
/// # Errors
/// It was not given for this request.
pub(super) fn read(digest: u64, token: &str) -> Result<Position, Failure> {
    let read = || {
        let mut parts = token.split('.');
        let own = u64::from_str_radix(parts.next()?, 16).ok()?;
        let mut number = || parts.next()?.parse::<i64>().ok();
        let position = [number()?, number()?, number()?];
        (own == digest && parts.next().is_none()).then_some(position)
    };
    read().ok_or_else(|| {
        let what = "The value for parameter NextToken is not one that was given for this request.";
        FailureKind::InvalidNextToken.because(what)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_is_read_for_its_own_request_only() {
        let token = write(digest("this"), [1, -2, 3]);
        assert_eq!(read(digest("this"), &token), Ok([1, -2, 3]));
        for wrong in ["", ".", "x", &token[1..], &format!("{token}.4"), &format!("{token}x")] {
            assert!(read(digest("this"), wrong).is_err(), "{wrong}");
        }
        let failure = read(digest("that"), &token).expect_err("another request's");
        assert_eq!(failure.kind, FailureKind::InvalidNextToken);
    }
}
