//! The ways to reach a server, so that one test body serves them all.

use poolwarden::driver::Driver;
use poolwarden::{CloseReason, Manager, MySql, Pool, PooledConnection, Postgres, Tls};
use std::fmt::Display;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use support::{mariadb, postgres as pg};

/// One way to reach one server.
pub trait Variant: Clone + Send + Sync + 'static {
    /// Our driver for it.
    type Driver: Driver<Connection = Self::Connection>;
    /// The driver crate's own connection.
    type Connection: Send + 'static;

    /// Makes our driver.
    fn driver(&self) -> Self::Driver;
    /// Opens a connection with the driver crate alone.
    fn open(&self) -> Result<Self::Connection, String>;
    /// Prepares an idle connection for the coming event, without its pool's knowledge.
    fn prepare_idle(&self, _: &mut Self::Connection) {}
    /// Returns the close reason and code after the server had lost its client.
    fn lost_client(&self) -> (CloseReason, &'static str) {
        (CloseReason::ServerClosed, "")
    }
    /// Asks the server for the sum of 20 and 22.
    fn ask(connection: &mut Self::Connection) -> Result<(), String>;
}

fn text(error: impl Display) -> String {
    error.to_string()
}

fn sum(answer: Option<i64>) -> Result<(), String> {
    if answer == Some(42) { Ok(()) } else { Err(format!("a wrong answer: {answer:?}")) }
}

/// PostgreSQL, by a connection string.
#[derive(Clone)]
pub struct Pg {
    text: String,
    late: Option<&'static str>,
    tls: Option<Tls>,
}

impl Pg {
    /// The server that this connection string leads to.
    pub fn new(text: String) -> Pg {
        Pg { text, late: None, tls: None }
    }

    /// The same, with a statement that each idle connection runs before the event.
    pub fn with_late_statement(self, late: &'static str) -> Pg {
        Pg { late: Some(late), ..self }
    }

    /// The same, with this TLS.
    #[cfg_attr(not(feature = "native-tls"), expect(dead_code, reason = "there is no TLS"))]
    pub fn with_tls(self, tls: Tls) -> Pg {
        Pg { tls: Some(tls), ..self }
    }
}

impl Variant for Pg {
    type Driver = Postgres;
    type Connection = postgres::Client;

    fn driver(&self) -> Postgres {
        let driver = Postgres::new(&self.text).expect("a driver");
        match &self.tls {
            Some(tls) => driver.with_tls(tls.clone()).expect("the TLS settings are valid"),
            None => driver,
        }
    }

    fn prepare_idle(&self, connection: &mut postgres::Client) {
        if let Some(statement) = self.late {
            connection.batch_execute(statement).expect("a statement");
        }
    }

    fn open(&self) -> Result<postgres::Client, String> {
        #[cfg(feature = "native-tls")]
        if self.tls.is_some() {
            return crate::tls::bare_postgres(&self.text).map_err(text);
        }
        postgres::Client::connect(&self.text, postgres::NoTls).map_err(text)
    }

    fn ask(connection: &mut postgres::Client) -> Result<(), String> {
        let row = connection.query_one("select 20::bigint + 22", &[]).map_err(text)?;
        sum(row.get(0))
    }
}

/// MySQL or MariaDB, by a URL.
#[derive(Clone)]
pub struct My {
    url: String,
    late: Option<&'static str>,
    tls: Option<Tls>,
}

impl My {
    /// The server that this URL leads to.
    pub fn new(url: String) -> My {
        My { url, late: None, tls: None }
    }

    /// The same, with a statement that each idle connection runs before the event.
    pub fn with_late_statement(self, late: &'static str) -> My {
        My { late: Some(late), ..self }
    }

    /// The same, with this TLS.
    #[cfg_attr(not(feature = "native-tls"), expect(dead_code, reason = "there is no TLS"))]
    pub fn with_tls(self, tls: Tls) -> My {
        My { tls: Some(tls), ..self }
    }
}

impl Variant for My {
    type Driver = MySql;
    type Connection = mysql::Conn;

    fn driver(&self) -> MySql {
        let driver = MySql::new(&self.url).expect("a driver");
        match &self.tls {
            Some(tls) => driver.with_tls(tls.clone()).expect("the TLS settings are valid"),
            None => driver,
        }
    }

    fn prepare_idle(&self, connection: &mut mysql::Conn) {
        use mysql::prelude::Queryable;
        if let Some(statement) = self.late {
            connection.query_drop(statement).expect("a statement");
        }
    }

    fn open(&self) -> Result<mysql::Conn, String> {
        let opts = mysql::Opts::from_url(&self.url).map_err(text)?;
        let trusting = || {
            let opts = mysql::SslOpts::default().with_danger_accept_invalid_certs(true);
            opts.with_danger_skip_domain_validation(true)
        };
        let ssl = self.tls.is_some().then(trusting);
        let opts = mysql::OptsBuilder::from_opts(opts).prefer_socket(false).ssl_opts(ssl);
        mysql::Conn::new(opts).map_err(text)
    }

    // MySQL sends an error that its client cannot read; inside the TLS the pool cannot either.
    fn lost_client(&self) -> (CloseReason, &'static str) {
        match mariadb::product() {
            mariadb::Product::MySql if self.tls.is_none() => (CloseReason::ServerClosed, "1158"),
            _ => (CloseReason::ServerClosed, ""),
        }
    }

    fn ask(connection: &mut mysql::Conn) -> Result<(), String> {
        use mysql::prelude::Queryable;
        sum(connection.query_first("select 20 + 22").map_err(text)?)
    }
}

/// Returns a name that no other pool of this process has.
pub fn fresh_name(subject: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    format!("{subject}-{}", NEXT.fetch_add(1, SeqCst))
}

/// A pool under test.
pub trait Subject: Sync {
    /// Checks out, runs a query, checks in.
    fn work(&self) -> Result<(), String>;
}

/// Our pool over a variant.
pub struct Ours<F: Variant>(pub Pool<F::Driver>);

impl<F: Variant> Subject for Ours<F> {
    fn work(&self) -> Result<(), String> {
        let mut connection = self.0.get().map_err(text)?;
        F::ask(&mut connection)
    }
}

/// Our manager in a bare r2d2 pool.
pub struct Bare<F: Variant>(pub r2d2::Pool<Manager<F::Driver>>);

impl<F: Variant> Bare<F> {
    /// Applies a closure to each of its connections.
    pub fn for_all(&self, prepare_idle: impl Fn(&mut F::Connection)) {
        let all = (0..self.0.max_size()).map(|_| self.0.get().expect("a connection"));
        let mut all: Vec<_> = all.collect();
        all.iter_mut().for_each(|connection| prepare_idle(connection));
    }
}

impl<F: Variant> Subject for Bare<F> {
    fn work(&self) -> Result<(), String> {
        let mut connection = self.0.get().map_err(text)?;
        F::ask(&mut connection)
    }
}

/// The driver's bare connections in a bare r2d2 pool, never validated: the control.
pub struct Control<F: Variant>(pub r2d2::Pool<RawManager<F>>);

/// Opens bare connections and validates none.
pub struct RawManager<F>(F);

/// An error of the driver, as its text.
#[derive(Debug)]
pub struct Text(String);

impl Display for Text {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Text {}

impl<F: Variant> r2d2::ManageConnection for RawManager<F> {
    type Connection = F::Connection;
    type Error = Text;

    fn connect(&self) -> Result<F::Connection, Text> {
        self.0.open().map_err(Text)
    }

    fn is_valid(&self, _: &mut F::Connection) -> Result<(), Text> {
        Ok(())
    }

    fn has_broken(&self, _: &mut F::Connection) -> bool {
        false
    }
}

impl<F: Variant> Subject for Control<F> {
    fn work(&self) -> Result<(), String> {
        let mut connection = self.0.get().map_err(text)?;
        F::ask(&mut connection)
    }
}

impl<F: Variant> Control<F> {
    /// Opens this number of connections and leaves them idle.
    pub fn new(variant: &F, size: u32) -> Control<F> {
        let builder = r2d2::Pool::builder().max_size(size).test_on_check_out(false);
        Control(builder.build(RawManager(variant.clone())).expect("the server accepts"))
    }

    /// Applies a closure to each of its connections.
    pub fn for_all(&self, prepare_idle: impl Fn(&mut F::Connection)) {
        let all = (0..self.0.max_size()).map(|_| self.0.get().expect("a connection"));
        let mut all: Vec<_> = all.collect();
        all.iter_mut().for_each(|connection| prepare_idle(connection));
    }
}

/// Opens all connections of our pool and leaves them idle.
pub fn fill<D: Driver>(pool: &Pool<D>) {
    fill_and(pool, |_| ());
}

/// The same, and applies a closure to each of them.
pub fn fill_and<D: Driver>(pool: &Pool<D>, prepare_idle: impl Fn(&mut D::Connection)) {
    let size = pool.snapshot().levels.max_size;
    let all = (0..size).map(|_| pool.get().expect("the server accepts"));
    let mut all: Vec<PooledConnection<D>> = all.collect();
    all.iter_mut().for_each(|connection| prepare_idle(connection));
}

/// Runs this number of threads with this number of rounds each; returns their errors.
pub fn run_threads(subject: &impl Subject, threads: usize, rounds: usize) -> Vec<String> {
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| scope.spawn(|| (0..rounds).filter_map(|_| subject.work().err()).collect()))
            .collect();
        let errors =
            workers.into_iter().map(|one: std::thread::ScopedJoinHandle<'_, Vec<String>>| {
                one.join().expect("no panic")
            });
        errors.flatten().collect()
    })
}

/// A shared server's fresh database, for PostgreSQL over TCP.
pub fn shared_pg() -> Option<(Pg, pg::Database<'static>)> {
    pg::available().then(|| {
        let database = pg::shared().fresh_database();
        (Pg::new(database.url()), database)
    })
}

/// A shared server's fresh database, for MariaDB over TCP.
pub fn shared_my() -> Option<(My, mariadb::Database<'static>)> {
    mariadb::available().then(|| {
        let database = mariadb::shared().fresh_database();
        (My::new(database.url()), database)
    })
}
