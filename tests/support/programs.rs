//! Where the programs of servers and proxies are.

use std::env;
use std::path::PathBuf;

/// Many are no user's commands: their folders are often not in `PATH`.
const MORE_FOLDERS: [&str; 3] = ["/usr/sbin", "/usr/local/sbin", "/usr/libexec"];

/// Returns the path of a program, if it is installed.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let in_path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&in_path).chain(MORE_FOLDERS.map(PathBuf::from));
    folders.map(|folder| folder.join(name)).find(|path| path.is_file())
}
