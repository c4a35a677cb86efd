//! Connections are as secure as configured, and the pool reports how secure
//! they are.

mod faults;
mod identity;
mod modes;
mod prefer;
mod roots;
mod warnings;

use crate::variant::{My, Pg, Variant};
use mysql::prelude::Queryable;
use poolwarden::observe::Encryption;
use poolwarden::{FaultClass, Pool, SslMode, Tls};
use std::io;
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use support::certificates::{self, Certificate};
use support::script::{self, Script};
use support::{mariadb, postgres as pg};

/// Opens a connection with the driver crate alone, which verifies no certificate.
pub fn bare_postgres(text: &str) -> Result<postgres::Client, postgres::Error> {
    let mut builder = native_tls::TlsConnector::builder();
    builder.danger_accept_invalid_certs(true).danger_accept_invalid_hostnames(true);
    let connector = builder.build().expect("the system's TLS");
    let mut config: postgres::Config = text.parse().expect("a connection string");
    config.ssl_mode(postgres::config::SslMode::Require);
    config.connect(postgres_native_tls::MakeTlsConnector::new(connector))
}

/// Returns `true` if the servers and `openssl` are installed.
pub fn available() -> bool {
    pg::available() && pg::tls() && mariadb::available() && certificates::available()
}

/// A role for each kind of access rule; all others are trusted.
const RULES: [&str; 6] = [
    "hostssl all no_tls all reject",
    "hostnossl all must_tls all reject",
    "hostssl all certified all cert",
    "hostnossl all certified all reject",
    "host all scram all scram-sha-256",
    "host all all all trust",
];

/// The PostgreSQL with TLS that the tests here share, with roles for each rule.
pub fn tls_pg() -> &'static pg::Server {
    static SERVER: OnceLock<pg::Server> = OnceLock::new();
    SERVER.get_or_init(|| {
        let server = pg::Server::with(|conf| {
            conf.tls(Certificate::Valid);
            for rule in RULES {
                conf.hba(rule);
            }
        });
        let roles = "CREATE ROLE no_tls LOGIN; CREATE ROLE must_tls LOGIN; \
                     CREATE ROLE certified LOGIN; CREATE ROLE scram LOGIN PASSWORD 'right';";
        server.sql("postgres", roles);
        server
    })
}

/// The MariaDB with TLS that the tests here share.
pub fn tls_my() -> &'static mariadb::Server {
    static SERVER: OnceLock<mariadb::Server> = OnceLock::new();
    SERVER.get_or_init(|| {
        let server = mariadb::Server::with(|conf| {
            conf.tls(Certificate::Valid);
        });
        server.sql("CREATE USER must_tls@'%' IDENTIFIED BY 'app' REQUIRE SSL");
        server.sql("CREATE USER certified@'%' IDENTIFIED BY 'app' REQUIRE X509");
        server
    })
}

pub fn tls_pg_as(user: &str) -> Pg {
    Pg::new(tls_pg().url(user, "postgres"))
}

pub fn tls_my_as(user: &str) -> My {
    My::new(format!("mysql://{user}:app@127.0.0.1:{}/", tls_my().port()))
}

/// Verified in full against our authority.
pub fn full() -> Tls {
    Tls::new(SslMode::VerifyFull).root_certificate(certificates::authority())
}

/// Queries whether the connection is encrypted, as the server sees it.
trait ReportsTls: Variant {
    fn is_encrypted(connection: &mut Self::Connection) -> bool;
}

impl ReportsTls for Pg {
    fn is_encrypted(connection: &mut postgres::Client) -> bool {
        let text = "select ssl from pg_stat_ssl where pid = pg_backend_pid()";
        connection.query_one(text, &[]).expect("a row").get(0)
    }
}

impl ReportsTls for My {
    fn is_encrypted(connection: &mut mysql::Conn) -> bool {
        let row = connection.query_first("show session status like 'Ssl_cipher'");
        let (_, cipher): (String, String) = row.expect("no error").expect("a row");
        !cipher.is_empty()
    }
}

/// Opens a pool and returns the encryption of its connection; the server must agree.
fn outcome<F: ReportsTls>(variant: &F) -> Result<Encryption, (FaultClass, String)> {
    let pool = Pool::builder().max_size(1).build(variant.driver()).map_err(|error| {
        let fault = error.connect_error().expect("a failed connect").class();
        (fault, format!("{:?}", error.connect_error()))
    })?;
    let encrypted = F::is_encrypted(&mut pool.get().expect("a connection"));
    let reported = pool.snapshot().encryption.expect("it is known");
    assert_eq!(encrypted, reported != Encryption::Plain, "{}", pool.snapshot());
    Ok(reported)
}

fn fault_of<F: ReportsTls>(variant: &F) -> (FaultClass, String) {
    outcome(variant).expect_err("it is refused")
}

/// A proxy in front of a server. `intercept` gets each connection first, with its number
/// from 0 on; the connection that it returns is forwarded.
fn relay<H>(port: u16, intercept: H) -> Script
where
    H: Fn(usize, TcpStream) -> Option<TcpStream> + Send + Sync + 'static,
{
    let next = AtomicUsize::new(0);
    script::serve(move |client| {
        if let Some(client) = intercept(next.fetch_add(1, SeqCst), client) {
            let server = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("it listens");
            forward(&client, &server);
        }
    })
}

/// Forwards both ways until both have ended.
fn forward(client: &TcpStream, server: &TcpStream) {
    let one_way = |mut from: &TcpStream, mut to: &TcpStream| {
        let _ = io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Write);
    };
    std::thread::scope(|scope| {
        scope.spawn(|| one_way(client, server));
        one_way(server, client);
    });
}
