//! The account that a server runs as: database servers refuse to run as root.

use std::env;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use nix::unistd::{Uid, User};

/// The account of a server's processes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Account {
    /// User and group to change to; `None` keeps our own.
    ids: Option<(u32, u32)>,
}

impl Account {
    /// Returns `preferred`, or `nobody`, when this process is root; else our own account.
    pub(crate) fn for_server(preferred: &str) -> Account {
        if !Uid::effective().is_root() {
            return Account { ids: None };
        }
        let find = |name| User::from_name(name).ok().flatten();
        let user = find(preferred).or_else(|| find("nobody"));
        let user = user
            .unwrap_or_else(|| panic!("this system has no user {preferred} and no user nobody"));
        Account { ids: Some((user.uid.as_raw(), user.gid.as_raw())) }
    }

    /// Returns the account that this process runs as.
    pub(crate) fn current() -> Account {
        Account { ids: None }
    }

    /// Returns a command that runs `program` as this account, in and at home in `folder`.
    ///
    /// It inherits only `PATH` from our environment: no `PGHOST`, no locale.
    pub(crate) fn command(self, program: &Path, folder: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", env::var_os("PATH").unwrap_or_default())
            .env("HOME", folder)
            .env("LC_ALL", "C")
            .current_dir(folder);
        if let Some((user, group)) = self.ids {
            // Changing the user also drops root's supplementary groups.
            command.gid(group).uid(user);
        }
        command
    }

    /// Makes this account the owner and the only reader of `path`.
    pub(crate) fn keep_private(self, path: &Path) {
        let mode = Permissions::from_mode(0o600);
        fs::set_permissions(path, mode).expect("our own file's mode can be set");
        self.own(path);
    }

    /// Makes this account the owner of `path`.
    pub(crate) fn own(self, path: &Path) {
        if let Some((user, group)) = self.ids {
            chown(path, Some(user), Some(group)).expect("root may change owners");
        }
    }
}
