//! `#[database]` of `rocket_sync_db_pools` over our managers.

use super::table::Table;
use crate::driver::FromSettings;
use crate::error::Error;
use crate::pool::Builder;
use crate::pool::r2d2::{ManagedConnection, Manager};
use ::rocket::{Build, Rocket};
use rocket_sync_db_pools::{Config, PoolResult, Poolable};

/// With the feature `rocket`: the connections of `#[database]`, configured as
/// [`rocket`](crate::rocket) says.
impl<D: FromSettings> Poolable for ManagedConnection<D> {
    type Manager = Manager<D>;
    type Error = Error;

    fn pool(db_name: &str, rocket: &Rocket<Build>) -> PoolResult<Self> {
        let custom = rocket_sync_db_pools::Error::Custom;
        let table = Table::read(db_name, rocket).map_err(custom)?;
        let config = Config::from(db_name, rocket)?;
        let settings = table.settings_beside(&config).map_err(custom)?;
        let driver = D::from_settings(&settings).map_err(custom)?;
        let mut builder = Builder::new();
        if settings.options().name.is_none() {
            builder = builder.name(db_name);
        }
        let manager = builder.manager(driver).map_err(custom)?;
        Ok(manager.builder().build(manager)?)
    }
}
