//! What ends a builder: `build`, `build_lazy` and `manager`.

use super::builder::Builder;
use super::pool::Pool;
use crate::config::Config;
use crate::connection::Shared;
use crate::driver::Driver;
use crate::engine::{Blocking, Engine};
use crate::error::Error;
use crate::observe;
use crate::pool::r2d2::Manager;
use crate::sys::catch_panic::catch_panic;
use std::panic::Location;
use std::sync::Arc;

impl<D: Driver> Builder<D> {
    /// Builds the pool and opens its first connection.
    ///
    /// # Blocking
    ///
    /// Waits for the first connection for at most `checkout_timeout`; if the server is
    /// unreachable or rejects the credentials, this returns the error immediately.
    ///
    /// # Errors
    ///
    /// [`Config`](crate::ErrorKind::Config), or as [`Pool::get`].
    #[track_caller]
    pub fn build(self, driver: D) -> Result<Pool<D>, Error> {
        let pool = self.build_lazy(driver)?;
        let config = pool.engine().shared().config();
        let (timeout, strict) = (config.checkout_timeout, config.strict_limits);
        drop(pool.engine().check_out(timeout, Blocking::Always, Location::caller())?);
        let conflicts = pool.engine().shared().conflicts();
        if strict && !conflicts.is_empty() {
            let text = format!("strict_limits: {}", conflicts.join("; "));
            return Err(Error::config(text).in_pool(pool.name()));
        }
        Ok(pool)
    }

    /// Builds the pool without opening a connection.
    ///
    /// # Blocking
    ///
    /// Does not block. `min_idle` connections are opened in the background.
    ///
    /// # Errors
    ///
    /// [`Config`](crate::ErrorKind::Config).
    pub fn build_lazy(self, driver: D) -> Result<Pool<D>, Error> {
        let pool = self.build_unlisted(driver)?;
        observe::register(pool.name(), pool.engine());
        Ok(pool)
    }

    /// Builds the pool without opening a connection, and without a place in the reports of all
    /// pools of the process.
    pub(crate) fn build_unlisted(self, driver: D) -> Result<Pool<D>, Error> {
        let engine = Engine::new(self.shared(driver)?);
        engine.start();
        Ok(Pool::new(engine))
    }

    /// Builds a manager with these options, for a bare `r2d2::Pool`.
    ///
    /// # Errors
    ///
    /// [`Config`](crate::ErrorKind::Config), also for a `statement_timeout`, a
    /// `held_warning`, a `slow_checkout`, a `slow_statement`, a `keepalive_ping` and shared
    /// `permits`: an r2d2 pool does not report when a connection is checked out, and gives
    /// nobody else access to its idle ones.
    pub fn manager(self, driver: D) -> Result<Manager<D>, Error> {
        let shared = self.shared(driver)?;
        if let Some(timeout) = shared.config().statement_timeout {
            return Err(Error::config(format!(
                "statement_timeout {timeout:?}: not supported in a bare r2d2::Pool; set a \
                 timeout in the server, or use poolwarden's own Pool"
            )));
        }
        let config = shared.config();
        for (option, limit) in [
            ("held_warning", config.held_warning),
            ("slow_checkout", config.slow_checkout),
            ("slow_statement", config.slow_statement),
        ] {
            if let Some(limit) = limit {
                return Err(Error::config(format!(
                    "{option} {limit:?}: not supported in a bare r2d2::Pool, which does not report \
                     its check-outs; use poolwarden's own Pool"
                )));
            }
        }
        if let Some(every) = shared.config().keepalive_ping {
            return Err(Error::config(format!(
                "keepalive_ping {every:?}: not supported in a bare r2d2::Pool, whose idle \
                 connections only it can reach; use poolwarden's own Pool"
            )));
        }
        if shared.permits().member().is_some() {
            return Err(Error::config(
                "permits: not supported in a bare r2d2::Pool, whose idle connections no other \
                 pool could take over; use poolwarden's own Pool",
            ));
        }
        observe::register(shared.name(), &shared);
        Ok(Manager::guarded_by(shared))
    }

    fn shared(self, driver: D) -> Result<Arc<Shared<D>>, Error> {
        let driver_options = catch_panic(|| driver.options().cloned()).unwrap_or_default();
        let config = Config::of(&[&driver_options.unwrap_or_default(), &self.options]);
        let reserves_one = check(&driver, &config).map_err(|error| {
            let label = || catch_panic(|| driver.label()).unwrap_or_else(|_| "unnamed".into());
            error.in_pool(&config.name.clone().unwrap_or_else(label))
        })?;
        let shared = Shared::new(driver, config, self.hooks, self.observers);
        if shared.is_forked() {
            return Err(shared.forked());
        }
        let member = self.sharing.join(shared.config());
        let member = member.map_err(|error| error.in_pool(shared.name()))?;
        member.into_iter().for_each(|member| shared.permits().share(member));
        if reserves_one {
            shared.permits().reserve();
        }
        shared.compare_options();
        Ok(shared)
    }
}

/// Checks the options against each other and the driver; returns `true` if a connection is
/// reserved for cancel requests.
fn check<D: Driver>(driver: &D, config: &Config) -> Result<bool, Error> {
    config.check()?;
    let defaults = config.session_defaults();
    let missing = || match driver.defaults() {
        Some(by) => by.missing_default(&defaults),
        None => defaults.names().next(),
    };
    if let Some(option) = catch_panic(missing).unwrap_or_default() {
        let label = catch_panic(|| driver.label()).unwrap_or_default();
        return Err(Error::config(format!("{option}: {label} has no such session default")));
    }
    let has_slots = || driver.slots().is_some();
    if config.fleet_cap.is_some() && !catch_panic(has_slots).unwrap_or(false) {
        let label = catch_panic(|| driver.label()).unwrap_or_default();
        return Err(Error::config(format!("fleet_cap: not supported by {label}")));
    }
    let reserves_one = config.statement_timeout.is_some()
        && catch_panic(|| driver.cancel().is_some_and(|by| by.takes_a_session())).unwrap_or(false);
    if reserves_one && config.min_idle > 1 && config.min_idle >= config.max_size {
        return Err(Error::config(format!(
            "min_idle {} exceeds max_size {} minus the one connection that \
             statement_timeout reserves for KILL QUERY",
            config.min_idle, config.max_size
        )));
    }
    Ok(reserves_one)
}
