//! Settings as the `mysql` driver's own options.

use crate::config::settings::{Endpoint, Settings};
use crate::error::Error;
use mysql::{Opts, OptsBuilder};
use std::collections::HashMap;
use std::time::Duration;

/// MySQL documentation, "Connection Options", `--port`.
const DEFAULT_PORT: u16 = 3306;

/// The keys that the driver reads itself, under the same names.
const DRIVERS_OWN: [&str; 11] = [
    "compress",
    "enable_cleartext_plugin",
    "max_allowed_packet",
    "secure_auth",
    "server_key_path",
    "stmt_cache_size",
    "tcp_connect_timeout_ms",
    "tcp_keepalive_time_ms",
    "tcp_keepalive_probe_interval_secs",
    "tcp_keepalive_probe_count",
    "tcp_user_timeout_ms",
];

/// Returns the driver's options without hosts, password and TLS.
pub(super) fn opts(settings: &Settings) -> Result<Opts, Error> {
    let own = DRIVERS_OWN.iter().filter_map(|key| Some((*key, settings.text(key)?)));
    let own: HashMap<_, _> = own.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    let opts = OptsBuilder::new().from_hash_map(&own);
    let opts = opts.map_err(|_| Error::config("the mysql driver rejects a value"))?;
    let opts = opts.user(settings.text("user")).db_name(settings.text("dbname"));
    let opts = match settings.seconds("connect_timeout") {
        Some(timeout) => opts.tcp_connect_timeout(Some(timeout)),
        None => opts,
    };
    Ok(keep_alive(settings, opts).into())
}

/// Translates libpq's keepalive keys into the driver's options.
fn keep_alive(settings: &Settings, mut opts: OptsBuilder) -> OptsBuilder {
    if let Some(idle) = settings.seconds("keepalives_idle") {
        opts = opts.tcp_keepalive_time_ms(Some(millis(idle)));
    }
    #[cfg(any(target_os = "linux", target_os = "macos"))]
    {
        if let Some(interval) = settings.seconds("keepalives_interval") {
            opts = opts.tcp_keepalive_probe_interval_secs(Some(seconds(interval)));
        }
        if let Some(count) = settings.value("keepalives_count") {
            opts = opts.tcp_keepalive_probe_count(Some(count));
        }
    }
    #[cfg(target_os = "linux")]
    if let Some(timeout) = settings.value("tcp_user_timeout").filter(|timeout| *timeout > 0) {
        opts = opts.tcp_user_timeout_ms(Some(timeout));
    }
    opts
}

fn millis(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}

#[cfg(any(target_os = "linux", target_os = "macos"))]
fn seconds(time: Duration) -> u32 {
    u32::try_from(time.as_secs()).unwrap_or(u32::MAX)
}

/// Returns the servers' endpoints: a `socket` takes precedence over all hosts.
pub(super) fn endpoints(settings: &Settings) -> Result<Vec<Endpoint>, Error> {
    match settings.text("socket") {
        Some(socket) => Ok(vec![Endpoint::Unix { path: socket.into(), port: None }]),
        None => {
            let mut endpoints = settings.endpoints(DEFAULT_PORT)?;
            for endpoint in &mut endpoints {
                if let Endpoint::Unix { path, port } = endpoint {
                    *port = None;
                    if path.as_os_str().as_encoded_bytes().starts_with(b"\0") {
                        return Err(Error::config(
                            "host: the mysql driver cannot dial an abstract unix socket (@name)",
                        ));
                    }
                }
            }
            Ok(endpoints)
        }
    }
}

/// Returns the endpoint in the driver's own options.
pub(super) fn endpoint_of(opts: &Opts) -> Endpoint {
    let port = opts.get_tcp_port();
    match opts.get_socket() {
        Some(socket) => Endpoint::Unix { path: socket.into(), port: None },
        None => Endpoint::Tcp { host: opts.get_ip_or_hostname().into(), address: None, port },
    }
}
