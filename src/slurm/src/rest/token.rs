//! Reads the token that authenticates trimtab: a JWT in a file, as `scontrol token` prints it.
//!
//! trimtab reads the file for every request, so that the token can be replaced while the daemon
//! runs. Anyone with the token can drain nodes. So only its owner may have access to the file,
//! and the token appears in no error message.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use hyper::header::HeaderValue;

/// Limit on the length of the file, in bytes. A JWT of Slurm has about 200.
const LENGTH_MAX: u64 = 16 << 10;

/// Mode bits that allow the group or others to read or write the file.
const OTHERS: u32 = 0o066;

/// Returns the token as a header value.
///
/// # Errors
/// When the file contains no token, or users other than its owner can access it.
pub(super) fn read(path: &Path) -> Result<HeaderValue, String> {
    let wrong = |what: &str| format!("token_file {}: {what}", path.display());
    let file = File::open(path).map_err(|why| wrong(&why.to_string()))?;
    // Check the open file: the path may point to another file by now.
    let mode = file.metadata().map_err(|why| wrong(&why.to_string()))?.mode() & 0o777;
    if mode & OTHERS != 0 {
        let open = format!("users other than its owner can access it (mode {mode:03o}): chmod 600");
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
        return Err(wrong("contains no token: write what `scontrol token` prints"));
    }
    let mut value = HeaderValue::from_str(token).map_err(|_| wrong("contains no token"))?;
    // Debug output of the request does not show the token.
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
        read_with(TOKEN, 0o400).expect("a read-only file is enough");
        for (mode, shown) in [(0o640, "640"), (0o604, "604"), (0o620, "620"), (0o602, "602")] {
            let why = read_with(TOKEN, mode).expect_err("others have access");
            assert!(why.ends_with(&format!("can access it (mode {shown}): chmod 600")), "{why}");
        }
        for text in ["", "secret", "a.b", "a.b.c.d", "a..c", "a.b.c d", "a.b.c\nx-header: 1"] {
            let why = read_with(text, 0o600).expect_err(text);
            assert!(
                why.ends_with("contains no token: write what `scontrol token` prints"),
                "{why}"
            );
        }
        let long = format!("a.b.{}", "c".repeat(20_000));
        let why = read_with(&long, 0o600).expect_err("too long");
        assert!(!why.contains("cc"), "{why}");
        let why = read(&folder.path().join("none")).expect_err("no file");
        assert!(why.contains("none: No such file"), "{why}");
    }
}
