//! A pool that Rocket builds at launch and keeps in its state.

use super::table::Table;
use crate::driver::FromSettings;
use crate::error::{Error, ErrorKind};
use crate::pool::{Builder, Pool};
use ::rocket::fairing::{self, Fairing, Info, Kind};
use ::rocket::tokio::task::spawn_blocking;
use ::rocket::{Build, Phase, Rocket};
use std::fmt;
use std::marker::PhantomData;

/// A pool that Rocket's configuration describes under `databases.NAME`.
///
/// It is implemented by a type of the program, one for each database, which stands for the
/// pool in [`Db`](super::Db). The module [`rocket`](crate::rocket) has an example.
pub trait Database: Send + Sync + 'static {
    /// The driver of the pool.
    type Driver: FromSettings;

    /// The name of the table in Rocket's configuration; the pool has it too, unless the
    /// table sets `name`.
    const NAME: &'static str;

    /// Builds the pool from the builder and the driver that the configuration gives.
    ///
    /// Override it for what no configuration holds, such as hooks and observers, or to
    /// call [`build_lazy`](Builder::build_lazy), so that the program starts while the
    /// server is away. Default: [`Builder::build`].
    ///
    /// # Blocking
    ///
    /// It is called on a thread that may block.
    ///
    /// # Errors
    ///
    /// Those of the builder; they end the launch.
    fn build(
        builder: Builder<Self::Driver>,
        driver: Self::Driver,
    ) -> Result<Pool<Self::Driver>, Error> {
        builder.build(driver)
    }

    /// Returns the fairing that builds the pool at launch; a program attaches it.
    ///
    /// If the configuration is wrong or the pool cannot be built, it logs the error and the
    /// launch fails.
    fn fairing() -> PoolFairing<Self>
    where
        Self: Sized,
    {
        PoolFairing { database: PhantomData }
    }

    /// Returns the pool of a Rocket; `None` if its fairing is not attached, or before it
    /// has ignited.
    ///
    /// For work outside of requests, and for [`Pool::close`] when the launch has returned.
    fn pool<P: Phase>(rocket: &Rocket<P>) -> Option<&Pool<Self::Driver>>
    where
        Self: Sized,
    {
        rocket.state::<StoredPool<Self>>().map(|stored| &stored.pool)
    }
}

/// What Rocket's state keeps for a database.
pub(super) struct StoredPool<K: Database> {
    pub(super) pool: Pool<K::Driver>,
}

/// The fairing of a [`Database`].
///
/// It does not close the pool at a shutdown: requests under way still need it. Close it when
/// the launch has returned, or leave it to the drop of Rocket's state.
pub struct PoolFairing<K> {
    database: PhantomData<fn() -> K>,
}

impl<K: Database> fmt::Debug for PoolFairing<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolFairing").field("database", &K::NAME).finish()
    }
}

#[::rocket::async_trait]
impl<K: Database> Fairing for PoolFairing<K> {
    fn info(&self) -> Info {
        Info { name: K::NAME, kind: Kind::Ignite }
    }

    async fn on_ignite(&self, rocket: Rocket<Build>) -> fairing::Result {
        let table = Table::read(K::NAME, &rocket);
        let built = spawn_blocking(move || build::<K>(table?)).await;
        let panicked = |_| Error::new(ErrorKind::Config, "the build panicked").in_pool(K::NAME);
        match built.map_err(panicked).and_then(|built| built) {
            Ok(pool) => Ok(rocket.manage(StoredPool::<K> { pool })),
            Err(error) => {
                log::error!(target: "poolwarden", "{error}");
                Err(rocket)
            }
        }
    }
}

fn build<K: Database>(table: Table) -> Result<Pool<K::Driver>, Error> {
    let settings = table.settings()?;
    let driver = K::Driver::from_settings(&settings)?;
    let mut builder = Builder::new();
    if settings.options().name.is_none() {
        builder = builder.name(K::NAME);
    }
    K::build(builder, driver)
}
