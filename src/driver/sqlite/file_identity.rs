//! Which file a connection has open, and whether its path still leads there.

use rusqlite::Connection;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The file behind a connection: after it was deleted or replaced, SQLite reads the old one
/// for ever, and refuses every write with `SQLITE_READONLY_DBMOVED`.
#[derive(Debug, Default)]
pub(super) struct FileIdentity(Option<Opened>);

#[derive(Debug)]
struct Opened {
    path: PathBuf,
    identity: Identity,
}

#[cfg(unix)]
type Identity = (u64, u64);

#[cfg(not(unix))]
type Identity = ();

impl FileIdentity {
    /// Returns the identity of the file that a connection has just opened; of a database in
    /// memory it never changes.
    pub(super) fn of(connection: &Connection) -> FileIdentity {
        let path = connection.path().filter(|path| !path.is_empty()).map(PathBuf::from);
        FileIdentity(path.and_then(|path| {
            let identity = identity(&path).ok()?;
            Some(Opened { path, identity })
        }))
    }

    /// Returns `true` if there is no file or another file at the path: one system call.
    pub(super) fn has_moved(&self) -> bool {
        let Some(opened) = &self.0 else { return false };
        match identity(&opened.path) {
            Ok(now) => now != opened.identity,
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        }
    }
}

#[cfg(unix)]
fn identity(path: &Path) -> io::Result<Identity> {
    use std::os::unix::fs::MetadataExt;
    let file = fs::metadata(path)?;
    Ok((file.dev(), file.ino()))
}

/// Where files have no numbers, only a missing one is noticed.
#[cfg(not(unix))]
fn identity(path: &Path) -> io::Result<Identity> {
    fs::metadata(path).map(drop)
}
