//! The server, a database for each client, and a proxy in front of each.

use crate::bank::{SCHEMA, filling};
use crate::clients::{self, Client, PoolwardenClient};
use poolwarden::{MySql, Postgres};
use std::fmt;
use std::time::Duration;
use support::proxy::{Fault, Mode, Proxy};
use support::{mariadb, postgres};

/// The server under test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Postgres,
    MariaDb,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Postgres => "PostgreSQL",
            Kind::MariaDb => "MariaDB",
        })
    }
}

/// Returns the server that is installed, PostgreSQL first.
pub fn installed() -> Option<Kind> {
    if postgres::available() {
        return Some(Kind::Postgres);
    }
    mariadb::available().then_some(Kind::MariaDb)
}

/// The server's max_connections; both pools together use sixteen.
const SLOTS: &str = "30";

/// The names of the two clients, and of their databases.
pub const POOLWARDEN: &str = "poolwarden";
pub const R2D2: &str = "r2d2";

const OWN_URL: &str = "a valid URL";

enum Server {
    Postgres(postgres::Server),
    MariaDb(mariadb::Server),
}

/// A connection held outside of both pools.
enum HeldConnection {
    Postgres(#[expect(dead_code, reason = "it is held, not used")] Box<::postgres::Client>),
    MariaDb(#[expect(dead_code, reason = "it is held, not used")] mysql::Conn),
}

/// The server with its two databases, each behind a proxy of its own.
pub struct Testbed {
    server: Server,
    proxies: [(&'static str, Proxy); 2],
    held: std::cell::RefCell<Vec<HeldConnection>>,
}

impl Testbed {
    /// Starts the server and fills both databases.
    pub fn start(kind: Kind) -> Testbed {
        let server = match kind {
            Kind::Postgres => Server::Postgres(postgres::Server::with(|conf| {
                // The tests' servers may lose commits in a crash; this one must not.
                conf.set("max_connections", SLOTS).set("synchronous_commit", "on");
            })),
            Kind::MariaDb => Server::MariaDb(mariadb::Server::with(|conf| {
                conf.set("max_connections", SLOTS).set("innodb_flush_log_at_trx_commit", "1");
            })),
        };
        let proxies = [POOLWARDEN, R2D2].map(|name| (name, Proxy::to_port(server.port())));
        let testbed = Testbed { server, proxies, held: std::cell::RefCell::default() };
        for name in [POOLWARDEN, R2D2] {
            testbed.server.create(name);
            for statement in SCHEMA {
                testbed.sql(name, statement);
            }
            testbed.sql(name, &filling());
            testbed.server.grant(name);
        }
        testbed
    }

    /// Returns the poolwarden client.
    pub fn poolwarden(&self) -> Box<dyn Client> {
        let url = self.url(POOLWARDEN);
        match self.server {
            Server::Postgres(_) => {
                Box::new(PoolwardenClient::new(Postgres::new(&url).expect(OWN_URL)))
            }
            Server::MariaDb(_) => Box::new(PoolwardenClient::new(MySql::new(&url).expect(OWN_URL))),
        }
    }

    /// Returns the r2d2 client.
    pub fn r2d2(&self) -> Box<dyn Client> {
        let url = self.url(R2D2);
        match self.server {
            Server::Postgres(_) => Box::new(clients::R2d2OnPostgres::new(&url)),
            Server::MariaDb(_) => Box::new(clients::R2d2OnMySql::new(&url)),
        }
    }

    fn url(&self, name: &str) -> String {
        let (_, proxy) =
            self.proxies.iter().find(|(client, _)| *client == name).expect("one of two");
        self.server.url_via(proxy.port(), name)
    }

    /// Runs a statement as the server's own superuser.
    pub fn sql(&self, name: &str, text: &str) -> Vec<Vec<String>> {
        match &self.server {
            Server::Postgres(server) => server.sql(name, text),
            Server::MariaDb(server) => server.sql(&format!("use {name}; {text}")),
        }
    }

    /// Kills every session of both clients.
    pub fn kill_sessions(&self) {
        for name in [POOLWARDEN, R2D2] {
            match &self.server {
                Server::Postgres(server) => server
                    .sql(
                        "postgres",
                        &format!(
                            "select pg_terminate_backend(pid) from pg_stat_activity \
                         where datname = '{name}' and pid <> pg_backend_pid()"
                        ),
                    )
                    .len(),
                Server::MariaDb(server) => server.kill_all(name),
            };
        }
    }

    pub fn restart(&self) {
        match &self.server {
            Server::Postgres(server) => server.restart_fast(),
            Server::MariaDb(server) => server.restart(),
        }
    }

    /// Kills the server with SIGKILL, and restarts it.
    pub fn crash(&self) {
        match &self.server {
            Server::Postgres(server) => {
                server.kill9_postmaster();
                server.start_again();
            }
            Server::MariaDb(server) => {
                server.kill9();
                server.start_again();
            }
        }
    }

    /// Stops every process of the server with SIGSTOP.
    pub fn freeze(&self) {
        match &self.server {
            Server::Postgres(server) => server.freeze(),
            Server::MariaDb(server) => server.freeze(),
        }
    }

    pub fn thaw(&self) {
        match &self.server {
            Server::Postgres(server) => server.thaw(),
            Server::MariaDb(server) => server.thaw(),
        }
    }

    /// Applies a fault to every connection of both clients.
    pub fn apply(&self, fault: &Fault) {
        for (_, proxy) in &self.proxies {
            proxy.apply(fault);
        }
    }

    /// Sets how the proxies treat new connections of both clients.
    pub fn set_mode(&self, mode: &Mode) {
        for (_, proxy) in &self.proxies {
            proxy.set_mode(mode.clone());
        }
    }

    /// Takes every connection that the server allows, those of both clients too.
    pub fn take_all_connections(&self) {
        self.kill_sessions();
        let mut refused = 0;
        while refused < 20 {
            match self.server.hold_connection() {
                Some(held) => self.held.borrow_mut().push(held),
                None => {
                    refused += 1;
                    std::thread::sleep(Duration::from_millis(2));
                }
            }
        }
    }

    pub fn release_connections(&self) {
        self.held.borrow_mut().clear();
    }
}

impl Server {
    fn port(&self) -> u16 {
        match self {
            Server::Postgres(server) => server.port(),
            Server::MariaDb(server) => server.port(),
        }
    }

    fn url_via(&self, port: u16, name: &str) -> String {
        match self {
            Server::Postgres(server) => server.url_via(port, name, name),
            Server::MariaDb(server) => server.url_via(port, name),
        }
    }

    fn create(&self, name: &str) {
        match self {
            Server::Postgres(server) => {
                server.create_database(name);
                server.sql("postgres", &format!("create role {name} login"));
            }
            Server::MariaDb(server) => {
                server.sql(&format!("create database {name}"));
            }
        }
    }

    fn grant(&self, name: &str) {
        if let Server::Postgres(server) = self {
            server.sql(name, &format!("grant all on accounts, journal to {name}"));
        }
    }

    fn hold_connection(&self) -> Option<HeldConnection> {
        let url = self.url_via(self.port(), R2D2);
        match self {
            Server::Postgres(_) => ::postgres::Client::connect(&url, ::postgres::NoTls)
                .ok()
                .map(Box::new)
                .map(HeldConnection::Postgres),
            Server::MariaDb(_) => {
                let opts = mysql::Opts::from_url(&url).expect("a valid URL");
                mysql::Conn::new(opts).ok().map(HeldConnection::MariaDb)
            }
        }
    }
}
