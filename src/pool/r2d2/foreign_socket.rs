//! How the socket of a foreign manager's connection is found.

use crate::driver::Attempt;
use crate::driver::workarounds::new_tcp_socket::NewTcpSocket;
use crate::driver::workarounds::new_unix_socket::{self, Watched};
use crate::error::{BoxError, ConnectError, FaultClass};
use crate::sys::sockets::Descriptor;
use r2d2::ManageConnection;
use std::path::{Path, PathBuf};

/// Where the socket of a new connection is searched for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SocketSearch {
    /// Nowhere: the connection is pinged.
    None,
    /// There is none: the database is in this process.
    InProcess,
    /// Among those connected to this port.
    Tcp(u16),
    /// Among those connected to this unix socket.
    Unix(PathBuf),
}

/// Why a connection could not be opened: the class, and the cause.
pub(super) struct Failure(FaultClass, BoxError);

impl Failure {
    pub(super) fn into_connect(
        self,
        error: impl FnOnce(FaultClass, BoxError) -> ConnectError,
    ) -> ConnectError {
        error(self.0, self.1)
    }
}

type Opened<C> = Result<(C, Option<Descriptor>), Failure>;

impl SocketSearch {
    /// Opens a connection, and finds its socket.
    pub(super) fn connect<M>(&self, manager: &M, attempt: &Attempt) -> Opened<M::Connection>
    where
        M: ManageConnection,
        M::Error: Send + Sync,
    {
        match self {
            SocketSearch::None | SocketSearch::InProcess => {
                let connection = manager.connect().map_err(failed)?;
                Ok((connection, None))
            }
            SocketSearch::Tcp(port) => over_tcp(manager, attempt, *port),
            SocketSearch::Unix(path) => over_unix_socket(manager, attempt, path),
        }
    }
}

fn over_tcp<M>(manager: &M, attempt: &Attempt, port: u16) -> Opened<M::Connection>
where
    M: ManageConnection,
    M::Error: Send + Sync,
{
    let search = NewTcpSocket::begin(port);
    let mut connection = manager.connect().map_err(failed)?;
    let found = search.find(attempt.deadline(), || manager.is_valid(&mut connection));
    let socket = found.map_err(failed)?.map_err(no_descriptor)?;
    // Past its deadline the attempt fails all the same.
    let _ = socket.clone().map(|socket| attempt.watch(socket));
    Ok((connection, socket))
}

fn over_unix_socket<M>(manager: &M, attempt: &Attempt, path: &Path) -> Opened<M::Connection>
where
    M: ManageConnection,
    M::Error: Send + Sync,
{
    // A connection that does not answer is found out by its first use.
    let ping = |connection: &mut M::Connection| drop(manager.is_valid(connection));
    match new_unix_socket::watched(path, attempt, || manager.connect(), ping) {
        Watched::Connected(connection, socket) => Ok((connection, socket)),
        Watched::Failed(error) => Err(failed(error)),
        Watched::NoDescriptor(error) => Err(no_descriptor(error)),
        Watched::TimedOut => {
            let text = "another connect to the same unix socket took all the time";
            Err(Failure(FaultClass::TimedOut, text.into()))
        }
    }
}

fn failed(error: impl Into<BoxError>) -> Failure {
    Failure(FaultClass::Other, error.into())
}

fn no_descriptor(error: std::io::Error) -> Failure {
    Failure(FaultClass::LocalResource, error.into())
}
