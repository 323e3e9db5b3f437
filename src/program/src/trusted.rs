//! Checks whether a program is trusted: only root and the user that trimtab runs as may be able
//! to change it.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Access, access};
use rustix::process::geteuid;

/// Limit on the symbolic links in a path; the kernel has the same limit.
const LINKS_MAX: usize = 40;

/// Mode bits that allow the group or others to write.
const GROUP_OR_OTHERS_WRITE: u32 = 0o022;

/// Why a program is not trusted.
#[derive(Debug, thiserror::Error)]
pub enum Untrusted {
    /// The path does not begin with `/`.
    #[error("{0} is not an absolute path: write the whole path")]
    NotAbsolute(PathBuf),
    /// The path does not exist or cannot be read.
    #[error("{path} cannot be checked: {why}")]
    Unseen { path: PathBuf, why: io::Error },
    /// The path is a folder, a device or another special file.
    #[error("{0} is not a regular file: name the program itself")]
    NotAFile(PathBuf),
    /// A part of the path is not a folder.
    #[error("{0} is not a folder")]
    NotAFolder(PathBuf),
    /// The user that trimtab runs as may not execute it.
    #[error("{path} (mode {mode:04o}) cannot be executed by user {user}: run `chmod 0755` on it")]
    NotExecutable {
        path: PathBuf,
        /// Permission bits.
        mode: u32,
        /// User that trimtab runs as.
        user: u32,
    },
    /// Its owner could replace the program.
    #[error(
        "{path} belongs to user {owner}, which is neither root nor the user that trimtab runs as \
         ({user}): run `chown root` on it"
    )]
    Owner {
        /// The program, or a folder or link in its path.
        path: PathBuf,
        /// User that owns it.
        owner: u32,
        /// User that trimtab runs as.
        user: u32,
    },
    /// Other users could replace the program.
    #[error(
        "{path} (mode {mode:04o}) can be written by its group or by all users, who could replace \
         the program: run `chmod go-w` on it, or move the program, for example to /usr/local/sbin"
    )]
    Writable {
        /// The program, or a folder in its path.
        path: PathBuf,
        /// Permission bits.
        mode: u32,
    },
    /// The symbolic links form a loop or a long chain.
    #[error("{0} has too many symbolic links")]
    Links(PathBuf),
}

/// Returns the resolved path of a program if it is trusted. A trusted program is an executable
/// regular file. It, every folder and every link in its path belong to root or to the user that
/// trimtab runs as, and neither the group nor others may write them. Folders with the sticky
/// bit (`/tmp`) are no exception.
///
/// The programs that it runs itself, its interpreter and its configuration are not checked.
///
/// # Errors
/// The first problem, from the root down.
pub fn trusted(path: &Path) -> Result<PathBuf, Untrusted> {
    find(Path::new("/"), path, geteuid().as_raw())
}

/// Does the same for this user, with `root` instead of `/`.
fn find(root: &Path, path: &Path, user: u32) -> Result<PathBuf, Untrusted> {
    if !path.is_absolute() {
        return Err(Untrusted::NotAbsolute(path.to_owned()));
    }
    let mut way = vec![root.to_owned()];
    judge(root, &look(root)?, user)?;
    let mut parts = parts(path);
    let mut links = 0;
    while let Some(part) = parts.pop_front() {
        let here = way.last().map_or(root, PathBuf::as_path);
        if part == ".." {
            // The parent was checked on the way down.
            if way.len() > 1 {
                way.pop();
            }
            continue;
        }
        let next = here.join(&part);
        let metadata = look(&next)?;
        if metadata.is_symlink() {
            links += 1;
            if links > LINKS_MAX {
                return Err(Untrusted::Links(path.to_owned()));
            }
            // The mode of a link has no meaning: the permissions of its folder decide who may
            // change it.
            judge_owner(&next, &metadata, user)?;
            let target = std::fs::read_link(&next)
                .map_err(|why| Untrusted::Unseen { path: next.clone(), why })?;
            if target.is_absolute() {
                way.truncate(1);
            }
            for part in self::parts(&target).into_iter().rev() {
                parts.push_front(part);
            }
            continue;
        }
        judge(&next, &metadata, user)?;
        if metadata.is_dir() {
            way.push(next);
            continue;
        }
        if !parts.is_empty() {
            return Err(Untrusted::NotAFolder(next));
        }
        if !metadata.is_file() {
            return Err(Untrusted::NotAFile(next));
        }
        if access(&next, Access::EXEC_OK).is_err() {
            let mode = permissions(&metadata);
            return Err(Untrusted::NotExecutable { path: next, mode, user });
        }
        return Ok(next);
    }
    Err(Untrusted::NotAFile(path.to_owned()))
}

fn parts(path: &Path) -> VecDeque<OsString> {
    let named = path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name),
        Component::ParentDir => Some(OsStr::new("..")),
        Component::CurDir | Component::RootDir | Component::Prefix(_) => None,
    });
    named.map(OsStr::to_owned).collect()
}

fn look(path: &Path) -> Result<Metadata, Untrusted> {
    let unseen = |why| Untrusted::Unseen { path: path.to_owned(), why };
    std::fs::symlink_metadata(path).map_err(unseen)
}

fn judge(path: &Path, metadata: &Metadata, user: u32) -> Result<(), Untrusted> {
    judge_owner(path, metadata, user)?;
    let mode = permissions(metadata);
    if mode & GROUP_OR_OTHERS_WRITE != 0 {
        return Err(Untrusted::Writable { path: path.to_owned(), mode });
    }
    Ok(())
}

fn judge_owner(path: &Path, metadata: &Metadata, user: u32) -> Result<(), Untrusted> {
    let owner = metadata.uid();
    if owner == 0 || owner == user {
        return Ok(());
    }
    Err(Untrusted::Owner { path: path.to_owned(), owner, user })
}

fn permissions(metadata: &Metadata) -> u32 {
    metadata.mode() & 0o7777
}

#[cfg(test)]
mod tests {
    use std::fs::{Permissions, create_dir, set_permissions, write};
    use std::os::unix::fs::{PermissionsExt as _, chown, symlink};

    use super::*;

    /// A temporary root with a program in /opt/hooks.
    struct Root(tempfile::TempDir);

    impl Root {
        fn new() -> Self {
            let root = Self(tempfile::tempdir().expect("a folder"));
            root.set("/", 0o755);
            for folder in ["/opt", "/opt/hooks"] {
                create_dir(root.at(folder)).expect("a folder");
                root.set(folder, 0o755);
            }
            root.program("/opt/hooks/gate");
            root
        }

        fn at(&self, path: &str) -> PathBuf {
            match path.trim_start_matches('/') {
                "" => self.0.path().to_owned(),
                inside => self.0.path().join(inside),
            }
        }

        fn program(&self, path: &str) {
            write(self.at(path), "#!/bin/sh\n").expect("written");
            self.set(path, 0o755);
        }

        fn set(&self, path: &str, mode: u32) {
            set_permissions(self.at(path), Permissions::from_mode(mode)).expect("a mode");
        }

        fn link(&self, target: &str, at: &str) {
            symlink(target, self.at(at)).expect("a link");
        }

        fn find(&self, path: &str) -> Result<PathBuf, String> {
            let user = geteuid().as_raw();
            find(self.0.path(), Path::new(path), user).map_err(|why| why.to_string())
        }

        /// Checks that the path is refused with a message that begins with `named` and contains
        /// `what`.
        fn refuses(&self, path: &str, named: &str, what: &str) {
            let why = self.find(path).expect_err("it is not trusted");
            let named = self.at(named).display().to_string();
            assert!(why.starts_with(&named) && why.contains(what), "{why}");
        }
    }

    #[test]
    fn a_program_that_only_we_may_change_is_trusted() {
        let root = Root::new();
        assert_eq!(root.find("/opt/hooks/gate"), Ok(root.at("/opt/hooks/gate")));
        assert_eq!(root.find("/opt/./hooks/../hooks//gate"), Ok(root.at("/opt/hooks/gate")));
    }

    #[test]
    fn what_others_may_write_is_refused_wherever_it_is_on_the_way() {
        for (path, mode) in [
            ("/opt/hooks/gate", 0o775),
            ("/opt/hooks/gate", 0o757),
            ("/opt/hooks", 0o775),
            ("/opt", 0o777),
            // Like /tmp: other users cannot delete the program, but could have created it.
            ("/opt", 0o1777),
            ("/", 0o777),
        ] {
            let root = Root::new();
            root.set(path, mode);
            root.refuses("/opt/hooks/gate", path, &format!("(mode {mode:04o})"));
        }
    }

    #[test]
    fn what_belongs_to_somebody_else_is_refused() {
        let root = Root::new();
        if geteuid().is_root() {
            chown(root.at("/opt/hooks"), Some(12_345), None).expect("root may");
            root.refuses("/opt/hooks/gate", "/opt/hooks", "belongs to user 12345");
        } else {
            let somebody = geteuid().as_raw() + 1;
            let why = find(root.0.path(), Path::new("/opt/hooks/gate"), somebody);
            assert!(matches!(why, Err(Untrusted::Owner { .. })), "{why:?}");
        }
    }

    #[test]
    fn links_are_followed_and_what_they_lead_through_is_checked() {
        let root = Root::new();
        root.link("hooks/gate", "/opt/relative");
        root.link("/opt/hooks", "/opt/whole");
        root.link("../opt/whole/gate", "/opt/up");
        for path in ["/opt/relative", "/opt/whole/gate", "/opt/up"] {
            assert_eq!(root.find(path), Ok(root.at("/opt/hooks/gate")), "{path}");
        }
        root.set("/opt/hooks", 0o777);
        root.refuses("/opt/relative", "/opt/hooks", "(mode 0777)");
        root.link("/opt/circle", "/opt/circle");
        let why = root.find("/opt/circle").expect_err("it is a loop");
        assert!(why.contains("too many symbolic links"), "{why}");
    }

    #[test]
    fn only_an_executable_regular_file_is_a_program() {
        let root = Root::new();
        root.set("/opt/hooks/gate", 0o644);
        root.refuses("/opt/hooks/gate", "/opt/hooks/gate", "(mode 0644) cannot be executed");
        root.refuses("/opt/hooks/none", "/opt/hooks/none", "cannot be checked");
        root.refuses("/opt/hooks/gate/more", "/opt/hooks/gate", "is not a folder");
        for path in ["/opt/hooks", "/"] {
            let why = root.find(path).expect_err("a folder");
            assert!(why.contains("is not a regular file"), "{why}");
        }
        let why = root.find("opt/hooks/gate").expect_err("not absolute");
        assert!(why.contains("is not an absolute path"), "{why}");
    }
}
