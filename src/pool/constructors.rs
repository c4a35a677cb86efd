//! The one-step constructors of pools and managers.

use super::builder::Builder;
use super::pool::Pool;
use crate::config::settings::Settings;
use crate::driver::{Driver, FromSettings};
use crate::error::Error;
use crate::pool::r2d2::Manager;

impl<D: Driver> Pool<D> {
    /// Returns a builder with every option at its default.
    pub fn builder() -> Builder<D> {
        Builder::new()
    }

    /// Builds a pool from a URL, which names the driver's settings and the pool's options
    /// (`pool_max_size=8`), and opens its first connection.
    ///
    /// ```
    /// # #[cfg(feature = "sqlite")] {
    /// use poolwarden::{Pool, Sqlite};
    ///
    /// let pool: Pool<Sqlite> = Pool::connect("sqlite::memory:?pool_max_size=4")?;
    /// assert_eq!(pool.snapshot().levels.max_size, 4);
    /// # }
    /// # Ok::<(), poolwarden::Error>(())
    /// ```
    ///
    /// # Blocking
    ///
    /// As [`Builder::build`].
    ///
    /// # Errors
    ///
    /// As [`Builder::build`]; an invalid URL is [`Config`](crate::ErrorKind::Config),
    /// whose text names the key without its value.
    #[track_caller]
    pub fn connect(url: &str) -> Result<Pool<D>, Error>
    where
        D: FromSettings,
    {
        Pool::with_settings(&Settings::parse(url)?)
    }

    /// Builds a pool from settings, which describe the driver and the pool's options, and
    /// opens its first connection.
    ///
    /// # Blocking
    ///
    /// As [`Builder::build`].
    ///
    /// # Errors
    ///
    /// As [`connect`](Pool::connect).
    #[track_caller]
    pub fn with_settings(settings: &Settings) -> Result<Pool<D>, Error>
    where
        D: FromSettings,
    {
        Pool::builder().build(D::from_settings(settings)?)
    }
}

impl<D: Driver> Manager<D> {
    /// Creates a manager with every option at its default, or as set in the driver's URL.
    ///
    /// [`Builder::manager`] creates one with other options.
    pub fn new(driver: D) -> Manager<D> {
        match Builder::new().manager(driver) {
            Ok(manager) => manager,
            Err(error) => unreachable!("bug: the driver's options were never checked: {error}"),
        }
    }
}
