//! Where to connect to: the hosts of a configuration, one at a time.
//!
//! The driver gets one address at a time, so that the deadline, the order of
//! addresses and the resolver are ours.

use crate::error::Error;
use crate::role::Role;
use crate::settings::Place;
use crate::tcp::TcpOptions;
use crate::tls::{self, Tls};
use postgres::Config;
use postgres::config::{ChannelBinding, Host, SslMode, SslNegotiation, TargetSessionAttrs};
use std::net::SocketAddr;
use std::path::Path;

/// PostgreSQL documentation, "Parameter Key Words", `port`.
pub(super) const DEFAULT_PORT: u16 = 5432;

/// Lists the hosts of a configuration in its order.
///
/// # Errors
///
/// [`ErrorKind::Config`](crate::ErrorKind::Config) for no host, or lists of
/// different lengths.
pub(super) fn targets(config: &Config) -> Result<Vec<Place>, Error> {
    let (hosts, addresses) = (config.get_hosts(), config.get_hostaddrs());
    let count = hosts.len().max(addresses.len());
    if count == 0 {
        return Err(Error::config(
            "the PostgreSQL configuration names no host: add host=… or postgres://host/…",
        ));
    }
    if !hosts.is_empty() && !addresses.is_empty() && hosts.len() != addresses.len() {
        return Err(Error::config(format!(
            "{} host entries but {} hostaddr entries",
            hosts.len(),
            addresses.len()
        )));
    }
    let ports = config.get_ports();
    if ports.len() > 1 && ports.len() != count {
        return Err(Error::config(format!("{count} hosts but {} port entries", ports.len())));
    }
    let port = |place: usize| *ports.get(place).or(ports.first()).unwrap_or(&DEFAULT_PORT);
    let target = |place: usize| {
        let (address, port) = (addresses.get(place).copied(), port(place));
        match (hosts.get(place), address) {
            (Some(Host::Unix(folder)), _) => Place::Unix { path: folder.clone(), port: Some(port) },
            (Some(Host::Tcp(host)), _) => Place::Tcp { host: host.clone(), address, port },
            (None, _) => {
                // Without a host name the driver would not call our connector.
                let host = address.map(|address| address.to_string()).unwrap_or_default();
                Place::Tcp { host, address, port }
            }
        }
    };
    Ok((0..count).map(target).collect())
}

/// The configuration for one address of one host: the driver's own, with the
/// switches that make it hand our connector the raw socket.
pub(super) fn for_address(config: &Config, tls: &Tls, host: &str, address: SocketAddr) -> Config {
    let mut one = without_hosts(config);
    one.host(host).hostaddr(address.ip()).port(address.port());
    one.channel_binding(binding_of(tls));
    one.ssl_mode(SslMode::Require).ssl_negotiation(SslNegotiation::Direct);
    one
}

/// Sets what the user's configuration leaves open.
pub(super) fn add_tcp_options(config: &mut Config, options: TcpOptions) {
    if let Some(timeout) = options.user_timeout
        && config.get_tcp_user_timeout().is_none()
    {
        config.tcp_user_timeout(timeout);
    }
    let Some(keepalive) = options.keepalive.filter(|_| config.get_keepalives()) else { return };
    if config.get_keepalives_idle() == Config::new().get_keepalives_idle() {
        config.keepalives_idle(keepalive.idle);
    }
    if config.get_keepalives_interval().is_none() {
        config.keepalives_interval(keepalive.interval);
    }
    if config.get_keepalives_retries().is_none() {
        config.keepalives_retries(keepalive.probes);
    }
}

/// The configuration for one unix socket, which our connector is not called for.
pub(super) fn for_socket(config: &Config, tls: &Tls, folder: &Path, port: u16) -> Config {
    let mut one = without_hosts(config);
    one.channel_binding(binding_of(tls));
    one.host_path(folder).port(port).ssl_mode(SslMode::Disable);
    one
}

/// Lets the driver ask each server for its role, as libpq does.
pub(super) fn want(config: &mut Config, role: Role) {
    if role == Role::Writable {
        config.target_session_attrs(TargetSessionAttrs::ReadWrite);
    }
}

/// Copies everything but hosts, ports and TLS. A notice callback has no getter
/// and stays behind.
fn without_hosts(config: &Config) -> Config {
    let mut copy = Config::new();
    if let Some(user) = config.get_user() {
        copy.user(user);
    }
    if let Some(password) = config.get_password() {
        copy.password(password);
    }
    if let Some(name) = config.get_dbname() {
        copy.dbname(name);
    }
    if let Some(options) = config.get_options() {
        copy.options(options);
    }
    if let Some(name) = config.get_application_name() {
        copy.application_name(name);
    }
    if let Some(timeout) = config.get_tcp_user_timeout() {
        copy.tcp_user_timeout(*timeout);
    }
    copy.keepalives(config.get_keepalives()).keepalives_idle(config.get_keepalives_idle());
    if let Some(interval) = config.get_keepalives_interval() {
        copy.keepalives_interval(interval);
    }
    if let Some(retries) = config.get_keepalives_retries() {
        copy.keepalives_retries(retries);
    }
    copy.target_session_attrs(config.get_target_session_attrs());
    copy
}

/// What a configuration of the driver's own says about TLS.
pub(super) fn tls_of(config: &Config) -> Tls {
    let mode = match config.get_ssl_mode() {
        SslMode::Disable => tls::SslMode::Disable,
        SslMode::Prefer => tls::SslMode::Prefer,
        _ => tls::SslMode::Require,
    };
    let binding = match config.get_channel_binding() {
        ChannelBinding::Disable => tls::ChannelBinding::Disable,
        ChannelBinding::Prefer => tls::ChannelBinding::Prefer,
        _ => tls::ChannelBinding::Require,
    };
    let negotiation = match config.get_ssl_negotiation() {
        SslNegotiation::Direct => tls::SslNegotiation::Direct,
        _ => tls::SslNegotiation::Postgres,
    };
    Tls::new(mode).channel_binding(binding).negotiation(negotiation)
}

/// The driver's word for a channel binding.
fn binding_of(tls: &Tls) -> ChannelBinding {
    match tls.channel_binding {
        tls::ChannelBinding::Disable => ChannelBinding::Disable,
        tls::ChannelBinding::Prefer => ChannelBinding::Prefer,
        tls::ChannelBinding::Require => ChannelBinding::Require,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tcp::Keepalive;
    use std::time::Duration;

    #[test]
    fn the_users_socket_options_win_one_by_one_over_the_pools() {
        let seconds = Duration::from_secs;
        let keepalive = Some(Keepalive::default());
        let ours = TcpOptions { keepalive, user_timeout: Some(seconds(30)) };
        let mut silent: Config = "host=h".parse().expect("a configuration");
        add_tcp_options(&mut silent, ours);
        assert_eq!(silent.get_keepalives_idle(), seconds(30));
        assert_eq!(silent.get_keepalives_interval(), Some(seconds(10)));
        assert_eq!(silent.get_keepalives_retries(), Some(3));
        assert_eq!(silent.get_tcp_user_timeout(), Some(&seconds(30)));
        let text = "host=h keepalives_idle=5 keepalives_retries=9 tcp_user_timeout=7";
        let mut chosen: Config = text.parse().expect("a configuration");
        add_tcp_options(&mut chosen, ours);
        assert_eq!(chosen.get_keepalives_idle(), seconds(5));
        assert_eq!(chosen.get_keepalives_interval(), Some(seconds(10)));
        assert_eq!(chosen.get_keepalives_retries(), Some(9));
        assert_eq!(chosen.get_tcp_user_timeout(), Some(&seconds(7)));
        let mut off: Config = "host=h keepalives=0".parse().expect("a configuration");
        add_tcp_options(&mut off, ours);
        assert!(!off.get_keepalives() && off.get_keepalives_retries().is_none());
    }

    fn listed(text: &str) -> Result<Vec<Place>, Error> {
        targets(&text.parse().expect("a configuration"))
    }

    #[test]
    fn hosts_addresses_and_ports_are_paired_in_order() {
        let found = listed("host=a,/run/pg,c port=1,2,3 user=u").expect("targets");
        assert!(matches!(&found[0], Place::Tcp { host, port: 1, .. } if host == "a"));
        assert!(matches!(&found[1], Place::Unix { port: Some(2), .. }));
        assert!(matches!(&found[2], Place::Tcp { host, port: 3, .. } if host == "c"));
    }

    #[test]
    fn an_address_alone_is_its_own_host() {
        let found = listed("hostaddr=127.0.0.1 user=u").expect("targets");
        assert!(matches!(&found[0], Place::Tcp { host, port: 5432, .. } if host == "127.0.0.1"));
    }

    #[test]
    fn no_host_and_unequal_lists_are_refused() {
        let text = |config| listed(config).expect_err("refused").to_string();
        assert!(text("user=u").contains("names no host"));
        assert!(text("host=a,b port=1,2,3 user=u").contains("2 hosts but 3 port entries"));
    }
}
