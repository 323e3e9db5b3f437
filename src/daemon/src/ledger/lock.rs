//! One daemon per ledger: an operating system lock on a file next to the ledger.
//!
//! The lock ends with the process, even after a crash. The content of the file only
//! identifies the holder. The file is never deleted: otherwise two daemons could lock
//! two different files with the same name.

use std::ffi::OsString;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use trimtab_core::units::Time;

use super::error::OpenError;

/// The lock of the ledger's daemon, held until it is dropped.
pub(super) struct DaemonLock {
    file: File,
    path: PathBuf,
}

impl DaemonLock {
    /// Takes the lock of a ledger.
    pub(super) fn take(ledger: &Path, now: Time) -> Result<Self, OpenError> {
        let path = lock_path(ledger);
        let unusable = |why: std::io::Error| OpenError::Unusable {
            path: path.display().to_string(),
            why: format!(
                "{why}; its directory must exist and be writable for the user that trimtab runs as"
            ),
        };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(unusable)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(OpenError::Held {
                    path: ledger.display().to_string(),
                    holder: holder(&mut file),
                });
            }
            Err(TryLockError::Error(why)) => return Err(unusable(why)),
        }
        let me = format!("pid {} on host {} since {now}\n", std::process::id(), host());
        file.set_len(0).and_then(|()| file.write_all(me.as_bytes())).map_err(unusable)?;
        Ok(Self { file, path })
    }

    /// Whether the path still leads to the locked file. If the file was replaced, another
    /// daemon could lock the new one.
    pub(super) fn is_in_place(&self) -> std::io::Result<bool> {
        let (ours, there) = (self.file.metadata()?, std::fs::metadata(&self.path)?);
        Ok((ours.dev(), ours.ino()) == (there.dev(), there.ino()))
    }
}

/// Returns the path of the lock file: the ledger's path with `.lock` appended.
fn lock_path(ledger: &Path) -> PathBuf {
    let mut path = OsString::from(ledger);
    path.push(".lock");
    PathBuf::from(path)
}

/// Reads who holds the lock. The holder may not have written it yet.
fn holder(file: &mut File) -> String {
    let mut text = String::new();
    let read = file.rewind().and_then(|()| file.take(1024).read_to_string(&mut text));
    match read {
        Ok(_) if !text.trim().is_empty() => text.trim().to_owned(),
        Ok(_) | Err(_) => "its process id is not known yet".to_owned(),
    }
}

fn host() -> String {
    let read = std::fs::read_to_string("/proc/sys/kernel/hostname");
    read.map_or_else(|_| "unknown".to_owned(), |name| name.trim().to_owned())
}
