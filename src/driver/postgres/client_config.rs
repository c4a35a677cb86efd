//! The driver's configuration for one address at a time, so that the deadline, the order
//! of addresses and the resolver are ours.

use crate::config::settings::{self, Endpoint, pair};
use crate::config::tls::Tls;
use crate::config::{Role, TcpOptions, tls};
use crate::error::Error;
use postgres::Config;
use postgres::config::{ChannelBinding, Host, SslMode, SslNegotiation, TargetSessionAttrs};
use std::net::SocketAddr;
use std::path::Path;

/// PostgreSQL documentation, "Parameter Key Words", `port`.
pub(super) const DEFAULT_PORT: u16 = 5432;

/// Returns the endpoints of a configuration in its order.
///
/// # Errors
///
/// As [`pair`].
pub(super) fn targets(config: &Config) -> Result<Vec<Endpoint>, Error> {
    let (hosts, addresses) = (config.get_hosts(), config.get_hostaddrs());
    let configured = hosts.iter().map(|host| match host {
        Host::Unix(folder) => settings::Host::Socket(folder.clone()),
        Host::Tcp(name) => settings::Host::Name(name.clone()),
    });
    // Without a host name the driver would not call our connector.
    let named = addresses.iter().map(|address| settings::Host::Name(address.to_string()));
    let hosts = if hosts.is_empty() { named.collect() } else { configured.collect() };
    let addresses: Vec<_> = addresses.iter().copied().map(Some).collect();
    let ports: Vec<_> = config.get_ports().iter().copied().map(Some).collect();
    pair(hosts, &addresses, &ports, DEFAULT_PORT)
}

/// Returns the configuration for one address of one host, with the options that make
/// the driver pass the raw socket to our connector.
pub(super) fn for_address(config: &Config, tls: &Tls, host: &str, address: SocketAddr) -> Config {
    let mut one = without_hosts(config);
    one.host(host).hostaddr(address.ip()).port(address.port());
    one.channel_binding(binding_of(tls));
    one.ssl_mode(SslMode::Require).ssl_negotiation(SslNegotiation::Direct);
    one
}

/// Returns what this driver takes from a configuration only once, when it is built.
pub(super) fn endpoints_and_tls(config: &Config) -> impl PartialEq + use<> {
    let tls = (config.get_ssl_mode(), config.get_ssl_negotiation(), config.get_channel_binding());
    let hosts = (config.get_hosts().to_vec(), config.get_hostaddrs().to_vec());
    (hosts, config.get_ports().to_vec(), tls)
}

/// Sets the socket options that the user's configuration does not set.
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

/// Returns the configuration for one unix socket, for which the driver calls no
/// connector.
pub(super) fn for_socket(config: &Config, tls: &Tls, folder: &Path, port: u16) -> Config {
    let mut one = without_hosts(config);
    one.channel_binding(binding_of(tls));
    one.host_path(folder).port(port).ssl_mode(SslMode::Disable);
    one
}

/// Makes the driver ask each server for its role, as libpq does.
pub(super) fn require_role(config: &mut Config, role: Role) {
    if role == Role::Writable {
        config.target_session_attrs(TargetSessionAttrs::ReadWrite);
    }
}

/// Copies everything but hosts, ports and TLS. A notice callback cannot be copied: it has
/// no getter.
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

/// Returns the TLS settings of the driver's own configuration.
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

/// Returns the driver's value for a channel binding.
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
    use crate::config::Keepalive;
    use std::time::Duration;

    #[test]
    fn each_socket_option_of_the_user_overrides_the_pools() {
        let seconds = Duration::from_secs;
        let keepalive = Some(Keepalive::default());
        let ours = TcpOptions { keepalive, user_timeout: Some(seconds(30)) };
        let mut unset: Config = "host=h".parse().expect("a configuration");
        add_tcp_options(&mut unset, ours);
        assert_eq!(unset.get_keepalives_idle(), seconds(30));
        assert_eq!(unset.get_keepalives_interval(), Some(seconds(10)));
        assert_eq!(unset.get_keepalives_retries(), Some(3));
        assert_eq!(unset.get_tcp_user_timeout(), Some(&seconds(30)));
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

    fn listed(text: &str) -> Result<Vec<Endpoint>, Error> {
        targets(&text.parse().expect("a configuration"))
    }

    #[test]
    fn hosts_addresses_and_ports_are_paired_in_order() {
        let found = listed("host=a,/run/pg,c port=1,2,3 user=u").expect("targets");
        assert!(matches!(&found[0], Endpoint::Tcp { host, port: 1, .. } if host == "a"));
        assert!(matches!(&found[1], Endpoint::Unix { port: Some(2), .. }));
        assert!(matches!(&found[2], Endpoint::Tcp { host, port: 3, .. } if host == "c"));
    }

    #[test]
    fn an_address_alone_is_its_own_host() {
        let found = listed("hostaddr=127.0.0.1 user=u").expect("targets");
        assert!(matches!(&found[0], Endpoint::Tcp { host, port: 5432, .. } if host == "127.0.0.1"));
    }

    #[test]
    fn no_host_and_unequal_lists_are_refused() {
        let text = |config| listed(config).expect_err("refused").to_string();
        assert!(text("user=u").contains("host is missing"));
        assert!(text("host=a,b port=1,2,3 user=u").contains("2 hosts but 3 ports"));
    }
}
