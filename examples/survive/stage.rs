//! The server, a database for each side, and a proxy in front of each.

use crate::bank::{SCHEMA, filling};
use crate::tellers::{self, Ours, Teller};
use poolwarden::{MySql, Postgres};
use std::fmt;
use std::time::Duration;
use support::proxy::{Fault, Mode, Proxy};
use support::{mariadb, postgres};

/// Which server is tortured.
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

/// Whatever is installed, PostgreSQL first.
pub fn installed() -> Option<Kind> {
    if postgres::available() {
        return Some(Kind::Postgres);
    }
    mariadb::available().then_some(Kind::MariaDb)
}

/// Connections that the server gives to users; both pools together want sixteen.
const SLOTS: &str = "30";

/// The names of the two sides, and of their databases.
pub const OURS: &str = "poolwarden";
pub const RIVAL: &str = "r2d2";

const LAW: &str = "a URL of our own";

enum Server {
    Postgres(postgres::Server),
    MariaDb(mariadb::Server),
}

/// A connection that somebody else holds.
enum Hog {
    Postgres(#[expect(dead_code, reason = "it is held, not used")] Box<::postgres::Client>),
    MariaDb(#[expect(dead_code, reason = "it is held, not used")] mysql::Conn),
}

/// The server with its two databases, each behind a proxy of its own.
pub struct Stage {
    server: Server,
    fronts: [(&'static str, Proxy); 2],
    hogs: std::cell::RefCell<Vec<Hog>>,
}

impl Stage {
    /// Starts the server and fills both banks.
    pub fn start(kind: Kind) -> Stage {
        let server = match kind {
            Kind::Postgres => Server::Postgres(postgres::Server::with(|conf| {
                // The tests' servers forget what they promised; a bank's must not.
                conf.set("max_connections", SLOTS).set("synchronous_commit", "on");
            })),
            Kind::MariaDb => Server::MariaDb(mariadb::Server::with(|conf| {
                conf.set("max_connections", SLOTS).set("innodb_flush_log_at_trx_commit", "1");
            })),
        };
        let fronts = [OURS, RIVAL].map(|name| (name, Proxy::to_port(server.port())));
        let stage = Stage { server, fronts, hogs: std::cell::RefCell::default() };
        for name in [OURS, RIVAL] {
            stage.server.create(name);
            for statement in SCHEMA {
                stage.sql(name, statement);
            }
            stage.sql(name, &filling());
            stage.server.give_away(name);
        }
        stage
    }

    /// Our side, through the pool.
    pub fn ours(&self) -> Box<dyn Teller> {
        let url = self.url(OURS);
        match self.server {
            Server::Postgres(_) => Box::new(Ours::new(Postgres::new(&url).expect(LAW))),
            Server::MariaDb(_) => Box::new(Ours::new(MySql::new(&url).expect(LAW))),
        }
    }

    /// The other side, as it comes.
    pub fn rival(&self) -> Box<dyn Teller> {
        let url = self.url(RIVAL);
        match self.server {
            Server::Postgres(_) => Box::new(tellers::RivalOnPostgres::new(&url)),
            Server::MariaDb(_) => Box::new(tellers::RivalOnMySql::new(&url)),
        }
    }

    fn url(&self, name: &str) -> String {
        let (_, proxy) = self.fronts.iter().find(|(side, _)| *side == name).expect("one of two");
        self.server.url_via(proxy.port(), name)
    }

    /// Runs a statement as the server's own superuser.
    pub fn sql(&self, name: &str, text: &str) -> Vec<Vec<String>> {
        match &self.server {
            Server::Postgres(server) => server.sql(name, text),
            Server::MariaDb(server) => server.sql(&format!("use {name}; {text}")),
        }
    }

    /// Kills every session of both sides.
    pub fn kill_sessions(&self) {
        for name in [OURS, RIVAL] {
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

    /// Kills the server without a word, and starts it again.
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

    /// Stops every process of the server by SIGSTOP.
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

    /// Applies a fault to every connection of both sides.
    pub fn apply(&self, fault: &Fault) {
        for (_, proxy) in &self.fronts {
            proxy.apply(fault);
        }
    }

    /// Decides what new connections of both sides meet.
    pub fn set_mode(&self, mode: &Mode) {
        for (_, proxy) in &self.fronts {
            proxy.set_mode(mode.clone());
        }
    }

    /// Takes every slot that the server has to give, those of both sides too.
    pub fn hog(&self) {
        self.kill_sessions();
        let mut refused = 0;
        while refused < 20 {
            match self.server.hog() {
                Some(hog) => self.hogs.borrow_mut().push(hog),
                None => {
                    refused += 1;
                    std::thread::sleep(Duration::from_millis(2));
                }
            }
        }
    }

    pub fn release_hogs(&self) {
        self.hogs.borrow_mut().clear();
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

    fn give_away(&self, name: &str) {
        if let Server::Postgres(server) = self {
            server.sql(name, &format!("grant all on accounts, journal to {name}"));
        }
    }

    fn hog(&self) -> Option<Hog> {
        let url = self.url_via(self.port(), RIVAL);
        match self {
            Server::Postgres(_) => ::postgres::Client::connect(&url, ::postgres::NoTls)
                .ok()
                .map(Box::new)
                .map(Hog::Postgres),
            Server::MariaDb(_) => {
                let opts = mysql::Opts::from_url(&url).expect("a URL of our own");
                mysql::Conn::new(opts).ok().map(Hog::MariaDb)
            }
        }
    }
}
