//! The pause file: while it exists, trimtab deletes no node. It works without the ledger and
//! without configuration management.

use std::path::PathBuf;

use trimtab_core::ids::ClusterName;
use trimtab_core::text::plain;
use trimtab_daemon::ports::{ReadError, Switch, Switches};

/// Longest reason to read from the file, in bytes.
const REASON_LIMIT: usize = 200;

/// Reads the pause file.
#[derive(Debug)]
pub(crate) struct PauseFile {
    path: PathBuf,
}

impl PauseFile {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path }
    }
}

impl Switches for PauseFile {
    fn read(&self, _: &ClusterName) -> Result<Switch, ReadError> {
        match std::fs::read(&self.path) {
            Ok(content) => {
                let content = &content[..content.len().min(REASON_LIMIT)];
                let text = String::from_utf8_lossy(content);
                let plain = plain(text.trim());
                let path = self.path.display();
                let why = if plain.is_empty() {
                    format!("{path} exists")
                } else {
                    format!("{path}: {plain}")
                };
                Ok(Switch::Paused { why: why.into() })
            }
            // A broken symbolic link is not "no file": report it as unreadable.
            Err(why)
                if why.kind() == std::io::ErrorKind::NotFound
                    && std::fs::symlink_metadata(&self.path).is_err() =>
            {
                Ok(Switch::On)
            }
            Err(why) => {
                let text = format!("{}: {why}", self.path.display());
                Err(ReadError::Unreadable(text.into()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_pauses_its_absence_does_not_and_anything_else_is_an_error() {
        let folder = tempfile::tempdir().expect("a folder");
        let cluster: ClusterName = "research".parse().expect("valid");
        let path = folder.path().join("PAUSE");
        let file = PauseFile::new(path.clone());
        assert_eq!(file.read(&cluster), Ok(Switch::On));
        std::fs::write(&path, "audit until Friday\u{1b}[2J\n").expect("written");
        let Ok(Switch::Paused { why }) = file.read(&cluster) else { panic!("not paused") };
        assert!(why.ends_with("PAUSE: audit until Friday[2J"), "{why}");
        std::fs::remove_file(&path).expect("removed");
        std::fs::create_dir(&path).expect("a folder in its place");
        assert!(file.read(&cluster).is_err());
        std::fs::remove_dir(&path).expect("removed");
        std::os::unix::fs::symlink("nowhere", &path).expect("a link that leads nowhere");
        assert!(file.read(&cluster).is_err(), "a broken link is unreadable");
    }
}
