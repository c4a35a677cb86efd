//! Finds the unix sockets of this process that are connected to one server.

use super::socket_search;
use super::sockets::{self, Descriptor};
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What tells open files apart: the device and the inode.
pub(crate) type Identity = (u64, u64);

/// The unix sockets of this process that are connected to one server's socket.
pub(crate) struct UnixSockets {
    path: PathBuf,
    /// The server's socket: the server may know it by another path, through a symbolic
    /// link for example.
    server: Option<Identity>,
}

impl UnixSockets {
    pub(crate) fn connected_to(path: &Path) -> UnixSockets {
        UnixSockets { path: path.to_owned(), server: identity_of(path) }
    }

    /// Returns the number of each such socket, with its identity.
    pub(crate) fn find(&self) -> Vec<(RawFd, Identity)> {
        let found = socket_search::numbers_of_sockets().into_iter();
        let there = found.filter(|raw| self.is_server(peer_path(*raw).as_deref()));
        there.filter_map(|raw| Some((raw, sockets::identity(raw)?))).collect()
    }

    /// Duplicates one of those that were found.
    ///
    /// # Errors
    ///
    /// The system's error, usually that the process has no descriptor left.
    pub(crate) fn duplicate(
        &self,
        (raw, socket): (RawFd, Identity),
    ) -> io::Result<Option<Descriptor>> {
        let is_it = |raw| sockets::identity(raw) == Some(socket);
        sockets::duplicate_verified(raw, |number| is_it(number.as_raw_fd()))
    }

    fn is_server(&self, peer: Option<&Path>) -> bool {
        let Some(peer) = peer else { return false };
        peer == self.path || self.server.is_some() && self.server == identity_of(peer)
    }
}

/// Returns the path to which a unix socket is connected.
fn peer_path(raw: RawFd) -> Option<PathBuf> {
    let peer = sockets::peer_address(raw)?;
    let abstracted = || {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        return Some(path_of_abstract(peer.as_abstract_namespace()?));
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        None
    };
    peer.as_pathname().map(Path::to_owned).or_else(abstracted)
}

/// Returns the name of an abstract unix socket as a path that begins with a NUL.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn path_of_abstract(name: &[u8]) -> PathBuf {
    use std::os::unix::ffi::OsStringExt;
    std::ffi::OsString::from_vec([b"\0", name].concat()).into()
}

fn identity_of(path: &Path) -> Option<Identity> {
    std::fs::metadata(path).ok().map(|file| (file.dev(), file.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::{UnixListener, UnixStream};

    #[test]
    fn a_socket_is_found_by_the_path_its_link_and_what_the_server_calls_it() {
        let folder = std::env::temp_dir().join(format!("poolwarden-{}", fastrand::u64(..)));
        std::fs::create_dir(&folder).expect("a folder");
        let (path, link) = (folder.join("socket"), folder.join("link"));
        let listener = UnixListener::bind(&path).expect("a socket");
        std::os::unix::fs::symlink(&path, &link).expect("a link");
        let other = UnixListener::bind(folder.join("other")).expect("a socket");
        let near = UnixStream::connect(&link).expect("a connection");
        let elsewhere = UnixStream::connect(folder.join("other")).expect("a connection");
        for path in [&path, &link] {
            let sockets = UnixSockets::connected_to(path);
            let found = sockets.find();
            let numbers: Vec<_> = found.iter().map(|(raw, _)| *raw).collect();
            assert_eq!(numbers, [near.as_raw_fd()], "{}", path.display());
            let copy = sockets.duplicate(found[0]).expect("a descriptor").expect("it is there");
            assert!(copy.is_same_socket(sockets::borrow(&near)));
            let stale = (elsewhere.as_raw_fd(), found[0].1);
            assert!(sockets.duplicate(stale).expect("a descriptor").is_none());
        }
        drop((listener, other));
        std::fs::remove_dir_all(&folder).expect("the folder goes");
    }
}
