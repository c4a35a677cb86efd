//! The endpoints of the servers: hosts, addresses and ports, paired as in libpq.

use super::settings::Settings;
use crate::error::Error;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// One server to try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    /// A host by name, or by its address as text; the address saves the lookup.
    Tcp { host: String, address: Option<IpAddr>, port: u16 },
    /// A unix socket: for PostgreSQL its directory and port, for MySQL the socket file. A
    /// NUL in front is Linux's abstract namespace.
    Unix { path: PathBuf, port: Option<u16> },
}

impl Endpoint {
    /// Returns the server's name for logs and errors.
    pub(crate) fn label(&self) -> String {
        match self {
            Endpoint::Tcp { host, port, .. } if host.contains(':') => format!("[{host}]:{port}"),
            Endpoint::Tcp { host, port, .. } => format!("{host}:{port}"),
            Endpoint::Unix { path, port: Some(port) } => format!("{}:{port}", shown(path)),
            Endpoint::Unix { path, port: None } => shown(path),
        }
    }
}

/// Returns a socket's path as it is written in settings.
pub(crate) fn shown(path: &Path) -> String {
    path.display().to_string().replacen('\0', "@", 1)
}

/// A host as it is configured.
pub(crate) enum Host {
    /// A name, or an address as text.
    Name(String),
    /// The folder of a unix socket, or the socket.
    Socket(PathBuf),
}

impl Host {
    /// libpq: a path begins with a slash, a name in the abstract namespace with `@`.
    fn of(text: &str) -> Host {
        match text.strip_prefix('@') {
            Some(name) => Host::Socket(format!("\0{name}").into()),
            None if text.starts_with('/') => Host::Socket(text.into()),
            None => Host::Name(text.to_owned()),
        }
    }
}

/// Pairs hosts, their addresses and their ports by their places in the lists.
///
/// PostgreSQL documentation, "Specifying Multiple Hosts": the lists must have the same
/// length, except that a single port applies to all hosts.
///
/// # Errors
///
/// [`ErrorKind::Config`](crate::ErrorKind::Config) for no host, or lists of different
/// lengths.
pub(crate) fn pair(
    hosts: Vec<Host>,
    addresses: &[Option<IpAddr>],
    ports: &[Option<u16>],
    default_port: u16,
) -> Result<Vec<Endpoint>, Error> {
    let count = hosts.len();
    let differ = |length: usize, noun| {
        let (hosts, others) = (counted(count, "host"), counted(length, noun));
        Err(Error::config(format!("{hosts} but {others}")))
    };
    if count == 0 {
        return Err(Error::config(
            "host is missing: set host=… or use a URL such as scheme://host/…",
        ));
    }
    if !addresses.is_empty() && addresses.len() != count {
        return differ(addresses.len(), "hostaddr");
    }
    if ports.len() > 1 && ports.len() != count {
        return differ(ports.len(), "port");
    }
    let endpoint = |(number, host)| {
        let port = ports.get(number).or(ports.first()).copied().flatten().unwrap_or(default_port);
        match host {
            Host::Socket(path) => Endpoint::Unix { path, port: Some(port) },
            Host::Name(host) => {
                let address = addresses.get(number).copied().flatten();
                Endpoint::Tcp { host, address, port }
            }
        }
    };
    Ok(hosts.into_iter().enumerate().map(endpoint).collect())
}

impl Settings {
    /// Returns the servers in their order.
    ///
    /// # Errors
    ///
    /// As [`pair`].
    pub(crate) fn endpoints(&self, default_port: u16) -> Result<Vec<Endpoint>, Error> {
        let addresses = list(self.text("hostaddr"));
        let ports: Vec<_> = list(self.text("port")).iter().map(|port| port.parse().ok()).collect();
        let hosts = match self.text("host") {
            // The address is the name as well.
            None => addresses.iter().map(|address| Host::Name((*address).to_owned())).collect(),
            hosts => list(hosts).into_iter().map(Host::of).collect(),
        };
        let addresses: Vec<_> = addresses.iter().map(|address| address.parse().ok()).collect();
        pair(hosts, &addresses, &ports, default_port)
    }
}

/// Returns `1 host`, `2 hosts`.
fn counted(count: usize, noun: &str) -> String {
    let plural = match (count, noun) {
        (1, _) => "",
        (_, "hostaddr") => " entries",
        _ => "s",
    };
    format!("{count} {noun}{plural}")
}

fn list(text: Option<&str>) -> Vec<&str> {
    text.map(|text| text.split(',').collect()).unwrap_or_default()
}
