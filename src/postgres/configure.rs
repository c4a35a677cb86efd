//! Settings and credentials as the `postgres` driver's own configuration.

use super::driver::Postgres;
use super::hosts;
use super::passfile::Passfile;
use crate::credentials::Credentials;
use crate::error::Error;
use crate::route::Order;
use crate::settings::{FromSettings, Settings, System};
use postgres::Config;
use postgres::config::TargetSessionAttrs;
use std::time::Duration;

/// Replaces user and password by what a hook returned.
pub(super) fn log_in(config: &mut Config, credentials: Option<&Credentials>) {
    if let Some(credentials) = credentials {
        if let Some(user) = &credentials.user {
            config.user(user);
        }
        config.password(credentials.password.expose());
    }
}

impl FromSettings for Postgres {
    fn from_settings(settings: &Settings) -> Result<Postgres, Error> {
        settings.must_suit(System::Postgres)?;
        let places = settings.places(hosts::DEFAULT_PORT)?;
        let order = Order::named(settings.text("load_balance_hosts"));
        let knobs = settings.all_knobs(places.len())?;
        let config = config(settings);
        let mut driver = Postgres::leading_to(places, order, config, settings.tls()?)?;
        driver.knobs = knobs;
        driver.passfile = Passfile::at(settings.text("passfile"));
        Ok(driver)
    }
}

/// Everything but hosts and TLS.
fn config(settings: &Settings) -> Config {
    let mut config = Config::new();
    if let Some(user) = settings.text("user") {
        config.user(user);
    }
    if let Some(password) = settings.secret("password") {
        config.password(password.expose());
    }
    if let Some(name) = settings.text("dbname") {
        config.dbname(name);
    }
    if let Some(options) = settings.text("options") {
        config.options(options);
    }
    let name = settings.text("application_name");
    if let Some(name) = name.or(settings.text("fallback_application_name")) {
        config.application_name(name);
    }
    config.target_session_attrs(match settings.text("target_session_attrs") {
        Some("read-write") => TargetSessionAttrs::ReadWrite,
        Some("read-only") => TargetSessionAttrs::ReadOnly,
        _ => TargetSessionAttrs::Any,
    });
    if let Some(timeout) = settings.seconds("connect_timeout") {
        config.connect_timeout(timeout);
    }
    keep_alive(settings, &mut config);
    config
}

fn keep_alive(settings: &Settings, config: &mut Config) {
    config.keepalives(settings.value("keepalives").unwrap_or(true));
    if let Some(idle) = settings.seconds("keepalives_idle") {
        config.keepalives_idle(idle);
    }
    if let Some(interval) = settings.seconds("keepalives_interval") {
        config.keepalives_interval(interval);
    }
    if let Some(count) = settings.value("keepalives_count") {
        config.keepalives_retries(count);
    }
    // PostgreSQL documentation, "Parameter Key Words": in milliseconds, and 0 is the
    // system's default. The driver's own parser takes it for seconds.
    let timeout: Option<u64> = settings.value("tcp_user_timeout");
    if let Some(timeout) = timeout.filter(|timeout| *timeout > 0) {
        config.tcp_user_timeout(Duration::from_millis(timeout));
    }
}
