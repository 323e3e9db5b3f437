//! One daemon per ledger: an operating system's lock on a file beside it.
//!
//! The lock goes with the process, however it dies; what stands in the file is
//! only there to name the holder. The file itself stays, because deleting it
//! would let two daemons lock two different files of one name.

use std::ffi::OsString;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use trimtab_core::units::Time;

use super::error::OpenError;

/// The right to be the ledger's daemon, until it is dropped.
pub(super) struct DaemonLock {
    file: File,
    path: PathBuf,
}

impl DaemonLock {
    /// Takes the lock beside the ledger.
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

    /// Whether the file that is locked is still the one of that name. Were it
    /// replaced, another daemon could lock the new one.
    pub(super) fn is_in_place(&self) -> std::io::Result<bool> {
        let (ours, there) = (self.file.metadata()?, std::fs::metadata(&self.path)?);
        Ok((ours.dev(), ours.ino()) == (there.dev(), there.ino()))
    }
}

/// The lock's file: the ledger's with `.lock` behind it.
fn lock_path(ledger: &Path) -> PathBuf {
    let mut path = OsString::from(ledger);
    path.push(".lock");
    PathBuf::from(path)
}

/// Who holds the lock, as written by the holder itself. It may be about to
/// write it.
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
