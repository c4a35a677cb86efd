//! Where the servers are: hosts, addresses and ports, paired as libpq pairs them.

use super::Settings;
use crate::error::Error;
use std::net::IpAddr;
use std::path::PathBuf;

/// One server to try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// A host by name, or by its address as text; the address spares the look-up.
    Tcp { host: String, address: Option<IpAddr>, port: u16 },
    /// A unix socket: for PostgreSQL its folder and port, for MySQL the socket
    /// itself.
    Unix { path: PathBuf, port: Option<u16> },
}

impl Place {
    /// Names the server for people.
    pub(crate) fn label(&self) -> String {
        match self {
            Place::Tcp { host, port, .. } if host.contains(':') => format!("[{host}]:{port}"),
            Place::Tcp { host, port, .. } => format!("{host}:{port}"),
            Place::Unix { path, port: Some(port) } => format!("{}:{port}", path.display()),
            Place::Unix { path, port: None } => path.display().to_string(),
        }
    }
}

impl Settings {
    /// Lists the servers in their order.
    ///
    /// PostgreSQL documentation, "Specifying Multiple Hosts": the lists must be of
    /// one length, except that one port is for all.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) for no host, or lists of
    /// different lengths.
    pub(crate) fn places(&self, default_port: u16) -> Result<Vec<Place>, Error> {
        let hosts = list(self.text("host"));
        let addresses = list(self.text("hostaddr"));
        let ports = list(self.text("port"));
        let count = hosts.len().max(addresses.len());
        if count == 0 {
            return Err(Error::config("no host is named: host=…, or scheme://host/…"));
        }
        if !hosts.is_empty() && !addresses.is_empty() && hosts.len() != addresses.len() {
            let (hosts, addresses) = (hosts.len(), addresses.len());
            return Err(Error::config(format!("{hosts} hosts but {addresses} hostaddr entries")));
        }
        if ports.len() > 1 && ports.len() != count {
            return Err(Error::config(format!("{count} hosts but {} port entries", ports.len())));
        }
        let place = |number: usize| {
            let port = ports.get(number).or(ports.first()).and_then(|port| port.parse().ok());
            let port = port.unwrap_or(default_port);
            let address = addresses.get(number).copied();
            match hosts.get(number).copied() {
                Some(path) if path.starts_with('/') => {
                    Place::Unix { path: path.into(), port: Some(port) }
                }
                host => Place::Tcp {
                    host: host.or(address).unwrap_or_default().to_owned(),
                    address: address.and_then(|address| address.parse().ok()),
                    port,
                },
            }
        };
        Ok((0..count).map(place).collect())
    }
}

fn list(text: Option<&str>) -> Vec<&str> {
    text.map(|text| text.split(',').collect()).unwrap_or_default()
}
