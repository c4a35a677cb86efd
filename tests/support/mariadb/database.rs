//! One test's own database.

use std::sync::atomic::{AtomicU32, Ordering};

use super::{Process, Product, Server, programs, sequence, tcp_url};

/// A database of one test, with a user of the same name who may use nothing else.
///
/// It stays until the server goes: a test need not wait for its connections' ends.
#[derive(Clone, Debug)]
pub struct Database<'s> {
    server: &'s Server,
    name: String,
}

impl<'s> Database<'s> {
    pub(super) fn create(server: &'s Server) -> Database<'s> {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let name = format!("test{}", NEXT.fetch_add(1, Ordering::Relaxed));
        server.sql(&format!(
            "CREATE DATABASE {name};
             CREATE USER {name}@'%' IDENTIFIED BY 'app', {name}@localhost IDENTIFIED BY 'app';
             GRANT ALL ON {name}.* TO {name}@'%', {name}@localhost;"
        ));
        if programs::product() == Product::MySql {
            server.sql(&sequence::views(&name));
        }
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

    /// Returns the name of its user, which the URLs contain; the password is `app`.
    pub fn user(&self) -> &str {
        &self.name
    }

    /// Returns its URL over TCP; see [`Server::url`].
    pub fn url(&self) -> String {
        self.url_via(self.server.port())
    }

    /// Returns its URL through another loopback port, such as a proxy's.
    pub fn url_via(&self, port: u16) -> String {
        tcp_url(&self.name, port, &self.name)
    }

    /// Returns its URL over the unix socket.
    pub fn unix_url(&self) -> String {
        self.server.unix_url_for(&self.name, &self.name)
    }

    /// Runs statements in it as `root`.
    #[track_caller]
    pub fn sql(&self, text: &str) -> Vec<Vec<String>> {
        self.server.sql(&format!("USE {};\n{text}", self.name))
    }

    /// Returns the connections of its user, oldest first.
    #[track_caller]
    pub fn processlist(&self) -> Vec<Process> {
        let mut processes = self.server.processlist();
        processes.retain(|process| process.user == self.name);
        processes
    }

    /// Kills all connections of its user and returns how many there were.
    #[track_caller]
    pub fn kill_all(&self) -> usize {
        self.server.kill_all(&self.name)
    }
}
