//! PostgreSQL: `Client::connect(url, NoTls)`.

use super::lent::Lent;
use super::pools::Pools;
use crate::config::settings::Settings;
use crate::config::tls::{SslMode, Tls};
use crate::driver::FromSettings;
use crate::driver::postgres::Postgres;
use crate::error::Error;
use std::fmt;
use std::ops::{Deref, DerefMut};

pub use ::postgres::NoTls;

/// The text of the settings, and the TLS that replaces theirs.
type Key = (String, Option<Tls>);

pub(super) static POOLS: Pools<Key, Postgres> = Pools::new();

/// A connection to PostgreSQL, with the constructor of [`postgres::Client`]
/// and a pool behind it.
///
/// It derefs to the driver's client. It stays on its thread, and goes back to its pool when it
/// is closed or dropped.
pub struct Client(Lent<Postgres>);

/// How a [`Client`] uses TLS: [`NoTls`], or [`Tls`].
///
/// With [`NoTls`], as with the driver, there is none, unless the settings have an `sslmode`:
/// then that is what counts.
pub trait TlsMode: sealed::TlsMode {}

impl TlsMode for NoTls {}
impl TlsMode for Tls {}

mod sealed {
    use super::{NoTls, Tls};

    pub trait TlsMode {
        fn into_tls(self) -> Option<Tls>;
    }

    impl TlsMode for NoTls {
        fn into_tls(self) -> Option<Tls> {
            None
        }
    }

    impl TlsMode for Tls {
        fn into_tls(self) -> Option<Tls> {
            Some(self)
        }
    }
}

fn driver((params, tls): &Key) -> Result<Postgres, Error> {
    let settings = Settings::parse(params)?;
    let driver = Postgres::from_settings(&settings)?;
    match tls {
        Some(tls) => driver.with_tls(tls.clone()),
        None if settings.text("sslmode").is_none() => driver.with_tls(Tls::new(SslMode::Disable)),
        None => Ok(driver),
    }
}

impl Client {
    /// Returns a connection with these settings: a URL or a list of keys, as
    /// [`Postgres::new`] reads them.
    ///
    /// # Blocking
    ///
    /// As [`Pool::get`](crate::Pool::get): for at most `checkout_timeout`.
    ///
    /// # Errors
    ///
    /// [`Config`](crate::ErrorKind::Config), or as [`Pool::get`](crate::Pool::get).
    #[track_caller]
    pub fn connect(params: &str, tls_mode: impl TlsMode) -> Result<Client, Error> {
        let key = (params.to_owned(), tls_mode.into_tls());
        Ok(Client(Lent::new(POOLS.check_out(key, driver)?)))
    }

    /// Returns the connection to its pool, as its drop does.
    ///
    /// # Blocking
    ///
    /// As the drop of a [`PooledConnection`](crate::PooledConnection).
    ///
    /// # Errors
    ///
    /// None.
    pub fn close(self) -> Result<(), Error> {
        drop(self);
        Ok(())
    }
}

impl Deref for Client {
    type Target = ::postgres::Client;

    fn deref(&self) -> &::postgres::Client {
        self.0.get()
    }
}

impl DerefMut for Client {
    fn deref_mut(&mut self) -> &mut ::postgres::Client {
        self.0.get_mut()
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Client").field(&self.0).finish()
    }
}
