//! Settings and credentials as the `postgres` driver's own configuration.

use super::client_config;
use super::options::Postgres;
use super::passfile::Passfile;
use super::session_role::SessionRole;
use crate::config::settings::{Settings, System};
use crate::driver::connect::HostOrder;
use crate::driver::connect::credentials::Credentials;
use crate::driver::from_settings::FromSettings;
use crate::error::Error;
use postgres::Config;
use postgres::config::TargetSessionAttrs;
use std::time::Duration;

/// Replaces user and password with those that a credential hook returned.
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
        let endpoints = settings.endpoints(client_config::DEFAULT_PORT)?;
        let order = HostOrder::named(settings.text("load_balance_hosts"));
        let options = settings.all_options(endpoints.len())?;
        let config = config(settings);
        let mut driver = Postgres::leading_to(endpoints, order, config, settings.tls()?)?;
        driver.options = options;
        driver.passfile = Passfile::at(settings.text("passfile"));
        driver.session_role = SessionRole::named(settings.text("target_session_attrs"));
        Ok(driver)
    }
}

/// Returns the configuration without hosts and TLS.
fn config(settings: &Settings) -> Config {
    let mut config = Config::new();
    // PostgreSQL documentation, "Parameter Key Words", `user`: by default the name of the
    // operating system's user, also for the password file and the database. If there is
    // none, the driver says so when it connects.
    let user = settings.text("user").map(str::to_owned);
    if let Some(user) = user.or_else(|| whoami::username().ok()) {
        config.user(&user);
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
    // system's default. The driver's own parser reads it as seconds.
    let timeout: Option<u64> = settings.value("tcp_user_timeout");
    if let Some(timeout) = timeout.filter(|timeout| *timeout > 0) {
        config.tcp_user_timeout(Duration::from_millis(timeout));
    }
}
