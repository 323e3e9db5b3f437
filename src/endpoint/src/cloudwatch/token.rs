//! NextToken: where the next page begins. A token is valid only for the request that it was
//! issued for.

use trimtab_core::digest::fnv1a;

use super::failure::{Failure, FailureKind};

/// Content of a token: three numbers whose meaning depends on the operation.
pub(super) type Position = [i64; 3];

/// Digest of a request (the 64-bit FNV-1a hash).
pub(super) fn digest(asked: &str) -> u64 {
    fnv1a(asked.as_bytes())
}

pub(super) fn write(digest: u64, [a, b, c]: Position) -> String {
    format!("{digest:016x}.{a}.{b}.{c}")
}

/// Reads the position from a token.
///
/// # Errors
/// If the token was not issued for the request with this digest.
pub(super) fn read(digest: u64, token: &str) -> Result<Position, Failure> {
    let read = || {
        let mut parts = token.split('.');
        let own = u64::from_str_radix(parts.next()?, 16).ok()?;
        let mut number = || parts.next()?.parse::<i64>().ok();
        let position = [number()?, number()?, number()?];
        (own == digest && parts.next().is_none()).then_some(position)
    };
    read().ok_or_else(|| {
        let what = "The value for parameter NextToken was not issued for this request.";
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
