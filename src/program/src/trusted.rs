//! Whether a program may be run at all: nobody but root and the user we run as
//! may have a hand in what it is.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Access, access};
use rustix::process::geteuid;

/// Symbolic links on the way to a program; the kernel follows as many.
const LINKS_MAX: usize = 40;

/// The bits of a mode that let the group or all others write.
const GROUP_OR_OTHERS_WRITE: u32 = 0o022;

/// Why a program is not run.
#[derive(Debug, thiserror::Error)]
pub enum Untrusted {
    /// The path does not begin with `/`.
    #[error("{0} is not an absolute path: write the whole path")]
    NotAbsolute(PathBuf),
    /// There is nothing, or nothing that we may look at.
    #[error("{path} cannot be looked at: {why}")]
    Unseen {
        /// What.
        path: PathBuf,
        /// Why not.
        why: io::Error,
    },
    /// It is a folder, a device or something else.
    #[error("{0} is not a regular file: name the program itself")]
    NotAFile(PathBuf),
    /// A part of the way to it is no folder.
    #[error("{0} is not a folder")]
    NotAFolder(PathBuf),
    /// We may not run it.
    #[error("{path} (mode {mode:04o}) cannot be executed by user {user}: `chmod 0755` it")]
    NotExecutable {
        /// What.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// Who we are.
        user: u32,
    },
    /// Its owner could put something else in its place.
    #[error(
        "{path} belongs to user {owner}, who is neither root nor the user that trimtab runs as \
         ({user}): `chown root` it"
    )]
    Owner {
        /// What: the program, or a folder or a link on the way to it.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Who we are.
        user: u32,
    },
    /// Others could put something else in its place.
    #[error(
        "{path} (mode {mode:04o}) can be written by its group or by everybody, so what runs would \
         be theirs to choose: `chmod go-w` it, or put the program elsewhere, such as in \
         /usr/local/sbin"
    )]
    Writable {
        /// What: the program, or a folder on the way to it.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The links lead nowhere.
    #[error("{0} leads through too many symbolic links")]
    Links(PathBuf),
}

/// Where a program really is, if it can be trusted: an executable regular file
/// that belongs to root or to the user we run as, as does every folder and every
/// link on the way to it, none of which the group or others may write. A folder
/// that everybody may write and only owners may delete from (`/tmp`) is no
/// exception.
///
/// What the program itself runs, its interpreter and its configuration, is not
/// looked at.
///
/// # Errors
/// The first thing that is wrong, from the root down.
pub fn trusted(path: &Path) -> Result<PathBuf, Untrusted> {
    find(Path::new("/"), path, geteuid().as_raw())
}

/// The same for this user, with `root` in the place of `/`.
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
            // What is above was judged on the way down.
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
            // Its mode says nothing: who may change it is up to its folder.
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

    /// A root of our own, with a program in /opt/hooks.
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

        /// What is wrong, which has to name this path.
        fn refuses(&self, path: &str, named: &str, what: &str) {
            let why = self.find(path).expect_err("it is not to be trusted");
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
            // Like /tmp: nobody can delete it, but anybody could have made it.
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
        let why = root.find("/opt/circle").expect_err("it leads nowhere");
        assert!(why.contains("too many symbolic links"), "{why}");
    }

    #[test]
    fn only_an_executable_regular_file_is_a_program() {
        let root = Root::new();
        root.set("/opt/hooks/gate", 0o644);
        root.refuses("/opt/hooks/gate", "/opt/hooks/gate", "(mode 0644) cannot be executed");
        root.refuses("/opt/hooks/none", "/opt/hooks/none", "cannot be looked at");
        root.refuses("/opt/hooks/gate/more", "/opt/hooks/gate", "is not a folder");
        for path in ["/opt/hooks", "/"] {
            let why = root.find(path).expect_err("a folder");
            assert!(why.contains("is not a regular file"), "{why}");
        }
        let why = root.find("opt/hooks/gate").expect_err("not absolute");
        assert!(why.contains("is not an absolute path"), "{why}");
    }
}
