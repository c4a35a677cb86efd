//! SQLite: `Connection::open(path)`.

use super::lent::Lent;
use super::pools::Pools;
use crate::driver::sqlite::Sqlite;
use crate::error::Error;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};

pub(super) static POOLS: Pools<PathBuf, Sqlite> = Pools::new();

/// A connection to an SQLite database, with the constructor of
/// [`rusqlite::Connection`] and a pool behind it.
///
/// It derefs to the driver's connection. It stays on its thread, and goes back to its pool when
/// it is closed or dropped.
pub struct Connection(Lent<Sqlite>);

impl Connection {
    /// Returns a connection to the database in this file, which is created if it does not
    /// exist.
    ///
    /// # Blocking
    ///
    /// As [`Pool::get`](crate::Pool::get): for at most `checkout_timeout`.
    ///
    /// # Errors
    ///
    /// [`Config`](crate::ErrorKind::Config): a path by which SQLite gives each connection a
    /// database of its own, `:memory:` among them: open such a one with `rusqlite` itself. Or
    /// as [`Pool::get`](crate::Pool::get).
    #[track_caller]
    pub fn open(path: impl AsRef<Path>) -> Result<Connection, Error> {
        let path = path.as_ref();
        if path == Path::new(":memory:") {
            return Err(Error::config(
                "a database in memory ends with its connection: open it with rusqlite itself",
            ));
        }
        // The same file is the same pool, wherever the process is now.
        let key = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
        Ok(Connection(Lent::new(POOLS.check_out(key, |path| Ok(Sqlite::file(path)))?)))
    }

    /// Returns the connection to its pool, as its drop does.
    ///
    /// # Blocking
    ///
    /// As the drop of a [`PooledConnection`](crate::PooledConnection).
    ///
    /// # Errors
    ///
    /// None: the type is that of the driver's method.
    pub fn close(self) -> Result<(), (Connection, Error)> {
        drop(self);
        Ok(())
    }
}

impl Deref for Connection {
    type Target = ::rusqlite::Connection;

    fn deref(&self) -> &::rusqlite::Connection {
        self.0.get()
    }
}

impl DerefMut for Connection {
    fn deref_mut(&mut self) -> &mut ::rusqlite::Connection {
        self.0.get_mut()
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Connection").field(&self.0).finish()
    }
}
