//! The token that says who asks: a JWT in a file, as `scontrol token` prints it.
//!
//! The file is read for every request, so that a token can be replaced while the daemon
//! runs. Whoever has it can drain nodes, so nobody but its owner may read the file, and
//! it goes nowhere but into the request: an error tells of the file, never of its text.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use hyper::header::HeaderValue;

/// Longer ones are none: a JWT of Slurm has some 200 bytes.
const LENGTH_MAX: u64 = 16 << 10;

/// Bits of a file's mode that let somebody else than its owner read or write it.
const OTHERS: u32 = 0o066;

/// The token as it is sent.
///
/// # Errors
/// When there is none in the file, or others could read it.
pub(super) fn read(path: &Path) -> Result<HeaderValue, String> {
    let wrong = |what: &str| format!("token_file {}: {what}", path.display());
    let file = File::open(path).map_err(|why| wrong(&why.to_string()))?;
    // Of the file that is open, not of what the path leads to a moment later.
    let mode = file.metadata().map_err(|why| wrong(&why.to_string()))?.mode() & 0o777;
    if mode & OTHERS != 0 {
        let open = format!("others than its owner may use it (mode {mode:03o}): chmod 600");
        return Err(wrong(&open));
    }
    let mut text = String::new();
    let read = file.take(LENGTH_MAX + 1).read_to_string(&mut text);
    read.map_err(|why| wrong(&why.to_string()))?;
    let text = text.trim();
    let token = text.strip_prefix("SLURM_JWT=").unwrap_or(text);
    let is_part = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'='))
    };
    let is_token = token.split('.').count() == 3 && token.split('.').all(is_part);
    if text.len() as u64 > LENGTH_MAX || !is_token {
        return Err(wrong("has no token: write what `scontrol token` prints"));
    }
    let mut value = HeaderValue::from_str(token).map_err(|_| wrong("has no token"))?;
    // Whatever prints the request, from here on.
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const TOKEN: &str = "eyJhbGciOiJIUzI1NiJ9.eyJzdW4iOiJyb290In0.c2VjcmV0LXBhcnQ";

    #[test]
    fn a_token_is_read_from_a_file_that_only_its_owner_may_use_and_is_never_printed() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("token");
        let read_with = |text: &str, mode: u32| {
            fs::write(&path, text).expect("written");
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("set");
            read(&path)
        };
        for text in [TOKEN.to_owned(), format!("{TOKEN}\n"), format!("SLURM_JWT={TOKEN}\n")] {
            let value = read_with(&text, 0o600).expect("a token");
            assert_eq!(value.as_bytes(), TOKEN.as_bytes());
            assert_eq!(format!("{value:?}"), "Sensitive");
        }
        read_with(TOKEN, 0o400).expect("nobody needs to write it");
        for (mode, shown) in [(0o640, "640"), (0o604, "604"), (0o620, "620"), (0o602, "602")] {
            let why = read_with(TOKEN, mode).expect_err("others may use it");
            assert!(why.ends_with(&format!("may use it (mode {shown}): chmod 600")), "{why}");
        }
        for text in ["", "secret", "a.b", "a.b.c.d", "a..c", "a.b.c d", "a.b.c\nx-header: 1"] {
            let why = read_with(text, 0o600).expect_err(text);
            assert!(why.ends_with("has no token: write what `scontrol token` prints"), "{why}");
        }
        let long = format!("a.b.{}", "c".repeat(20_000));
        let why = read_with(&long, 0o600).expect_err("too long");
        assert!(!why.contains("cc"), "{why}");
        let why = read(&folder.path().join("none")).expect_err("no file");
        assert!(why.contains("none: No such file"), "{why}");
    }
}
