//! MySQL and MariaDB: `Conn::new(opts)`.

use super::lent::Lent;
use super::pools::Pools;
use crate::driver::mysql::MySql;
use crate::error::Error;
use ::mysql::Opts;
use std::fmt;
use std::ops::{Deref, DerefMut};

pub(super) static POOLS: Pools<Opts, MySql> = Pools::new();

/// A connection to MySQL or MariaDB, with the constructor of [`mysql::Conn`] and
/// a pool behind it.
///
/// It derefs to the driver's connection. It stays on its thread, and goes back to its pool when
/// it is closed or dropped.
pub struct Conn(Lent<MySql>);

impl Conn {
    /// Returns a connection with these options: a URL, or the driver's own `Opts` or
    /// `OptsBuilder`, as [`MySql::from_opts`] interprets them.
    ///
    /// # Blocking
    ///
    /// As [`Pool::get`](crate::Pool::get): for at most `checkout_timeout`.
    ///
    /// # Errors
    ///
    /// [`Config`](crate::ErrorKind::Config): they are invalid, or set a `read_timeout` or a
    /// `write_timeout`. Or as [`Pool::get`](crate::Pool::get).
    #[track_caller]
    pub fn new<T, E>(opts: T) -> Result<Conn, Error>
    where
        Opts: TryFrom<T, Error = E>,
        ::mysql::Error: From<E>,
    {
        // The driver's error may show a value of the URL.
        let Ok(opts) = Opts::try_from(opts) else {
            return Err(Error::config("the options of the mysql connection are invalid"));
        };
        let driver = |opts: &Opts| MySql::from_opts(opts.clone());
        Ok(Conn(Lent::new(POOLS.check_out(opts, driver)?)))
    }

    /// Returns the connection to its pool, as its drop does.
    ///
    /// # Blocking
    ///
    /// As the drop of a [`PooledConnection`](crate::PooledConnection).
    pub fn close(self) {
        drop(self);
    }
}

impl Deref for Conn {
    type Target = ::mysql::Conn;

    fn deref(&self) -> &::mysql::Conn {
        self.0.get()
    }
}

impl DerefMut for Conn {
    fn deref_mut(&mut self) -> &mut ::mysql::Conn {
        self.0.get_mut()
    }
}

impl fmt::Debug for Conn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Conn").field(&self.0).finish()
    }
}
