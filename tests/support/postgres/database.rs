//! One test's own database.

use std::sync::atomic::{AtomicU32, Ordering};

use super::control::{identifier, literal};
use super::{Backend, Server};

/// A database of one test, with an owner of the same name who is no superuser.
///
/// It stays until the server is removed: a test need not wait for its connections to end.
#[derive(Clone, Debug)]
pub struct Database<'s> {
    server: &'s Server,
    name: String,
}

impl<'s> Database<'s> {
    pub(super) fn create(server: &'s Server) -> Database<'s> {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let name = format!("test{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let quoted = identifier(&name);
        let text = format!("CREATE ROLE {quoted} LOGIN; CREATE DATABASE {quoted} OWNER {quoted};");
        server.sql("postgres", &text);
        Database { server, name }
    }

    /// Returns the server that it is on.
    pub fn server(&self) -> &'s Server {
        self.server
    }

    /// Returns the name of the database.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the name of its owner, which the URLs contain.
    pub fn user(&self) -> &str {
        &self.name
    }

    /// Returns its URL over TCP.
    pub fn url(&self) -> String {
        self.server.url(&self.name, &self.name)
    }

    /// Returns its URL through another loopback port, such as a proxy's.
    pub fn url_via(&self, port: u16) -> String {
        self.server.url_via(port, &self.name, &self.name)
    }

    /// Returns its key-value connection string over the unix socket.
    pub fn unix_url(&self) -> String {
        self.server.unix_url(&self.name, &self.name)
    }

    /// Runs statements in it as superuser.
    #[track_caller]
    pub fn sql(&self, text: &str) -> Vec<Vec<String>> {
        self.server.sql(&self.name, text)
    }

    /// Returns the client backends in it, oldest first.
    #[track_caller]
    pub fn backends(&self) -> Vec<Backend> {
        self.server.backends_where(&format!("datname = {}", literal(&self.name)))
    }

    /// Terminates all its backends and returns how many there were.
    #[track_caller]
    pub fn terminate_all(&self) -> usize {
        self.server.terminate_all(&self.name)
    }
}
