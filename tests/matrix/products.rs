//! The two servers, each with a table of its own, and the callers' work on them.

use crate::cell::{Encryption, has_tls};
use mysql::prelude::Queryable;
use poolwarden::driver::Driver;
use poolwarden::{Error, MySql, Pool, Postgres, SslMode, Tls};
use std::sync::OnceLock;
use support::certificates::Certificate;
use support::{mariadb, postgres as pg};

/// The rows of the long result.
const ROWS: i64 = 1_000;

/// A server, and the callers' work on it.
pub trait Product: Sync {
    /// Our driver for it.
    type Driver: Driver;

    /// Its name in the table.
    const NAME: &'static str;
    /// The number of connections that `statement_timeout` reserves.
    const RESERVED: u32;
    /// Bytes that it never sends: no message, or a wrong one.
    const INVALID_MESSAGE: &'static [u8];
    /// The beginning of a message.
    const PARTIAL_MESSAGE: &'static [u8];

    /// The server's port.
    fn port(&self) -> u16;
    /// Returns our driver for its database, through a loopback port.
    fn driver(&self, port: u16, encryption: Encryption) -> Self::Driver;
    /// Queries a thousand rows; panics if a result without an error is wrong.
    fn read(pool: &Pool<Self::Driver>) -> Result<(), Error>;
    /// Writes one row, autocommitted.
    fn write(pool: &Pool<Self::Driver>, key: u32) -> Result<(), Error>;
    /// Writes two rows in one transaction; calls one closure before the second write and
    /// the other before COMMIT.
    fn transact(
        pool: &Pool<Self::Driver>,
        key: u32,
        between: &(dyn Fn() + Sync),
        before_commit: &(dyn Fn() + Sync),
    ) -> Result<(), Error>;
    /// Begins a transaction and writes a row in it.
    fn begin_and_insert(connection: &mut <Self::Driver as Driver>::Connection, key: u32);
    /// Returns the number of rows of this key on the server.
    fn rows(&self, key: u32) -> usize;
}

fn tls(encryption: Encryption) -> Tls {
    Tls::new(match encryption {
        Encryption::Plain => SslMode::Disable,
        Encryption::Tls => SslMode::Require,
    })
}

/// PostgreSQL.
pub struct PostgresProduct {
    database: pg::Database<'static>,
}

impl PostgresProduct {
    pub fn start() -> PostgresProduct {
        static SERVER: OnceLock<pg::Server> = OnceLock::new();
        let server = SERVER.get_or_init(|| {
            pg::Server::with(|conf| {
                conf.set("max_connections", "100");
                if has_tls() {
                    conf.tls(Certificate::Valid);
                }
            })
        });
        let database = server.fresh_database();
        let name = database.name();
        database.sql(&format!(
            "create table entry (key int, n int); alter table entry owner to {name}"
        ));
        PostgresProduct { database }
    }
}

impl Product for PostgresProduct {
    type Driver = Postgres;
    const NAME: &'static str = "PostgreSQL";
    const RESERVED: u32 = 0;
    // No message type, and a length that none can have.
    const INVALID_MESSAGE: &'static [u8] = &[0; 8];
    const PARTIAL_MESSAGE: &'static [u8] = &[b'T', 0, 0, 1, 0, 0, 1];

    fn port(&self) -> u16 {
        self.database.server().port()
    }

    fn driver(&self, port: u16, encryption: Encryption) -> Postgres {
        let driver = Postgres::new(&self.database.url_via(port)).expect("a driver");
        driver.with_tls(tls(encryption)).expect("the TLS settings are valid")
    }

    fn read(pool: &Pool<Postgres>) -> Result<(), Error> {
        let rows = pool.query("select * from generate_series(1::bigint, $1)", &[&ROWS])?;
        let rows: Vec<i64> = rows.iter().map(|row| row.get(0)).collect();
        assert_eq!(rows, Vec::from_iter(1..=ROWS), "a wrong result");
        Ok(())
    }

    fn write(pool: &Pool<Postgres>, key: u32) -> Result<(), Error> {
        pool.execute("insert into entry values ($1, 1)", &[&(key as i32)]).map(drop)
    }

    fn transact(
        pool: &Pool<Postgres>,
        key: u32,
        between: &(dyn Fn() + Sync),
        before_commit: &(dyn Fn() + Sync),
    ) -> Result<(), Error> {
        pool.transaction(|tx| {
            tx.batch_execute(&format!("insert into entry values ({key}, 1)"))?;
            between();
            tx.batch_execute(&format!("insert into entry values ({key}, 2)"))?;
            before_commit();
            Ok(())
        })
    }

    fn begin_and_insert(connection: &mut postgres::Client, key: u32) {
        let text = format!("begin; insert into entry values ({key}, 1)");
        connection.batch_execute(&text).expect("no fault was applied yet");
    }

    fn rows(&self, key: u32) -> usize {
        let rows = self.database.sql(&format!("select count(*) from entry where key = {key}"));
        rows[0][0].parse().expect("a number")
    }
}

/// MariaDB.
pub struct MariaDbProduct {
    database: mariadb::Database<'static>,
}

impl MariaDbProduct {
    pub fn start() -> MariaDbProduct {
        static SERVER: OnceLock<mariadb::Server> = OnceLock::new();
        let server = SERVER.get_or_init(|| {
            mariadb::Server::with(|conf| {
                // The server counts interrupted handshakes per host.
                conf.set("max-connect-errors", "1000000");
                if has_tls() {
                    conf.tls(Certificate::Valid);
                }
            })
        });
        let database = server.fresh_database();
        database.sql("create table entry (k int, n int) engine=innodb");
        MariaDbProduct { database }
    }
}

impl Product for MariaDbProduct {
    type Driver = MySql;
    const NAME: &'static str = "MariaDB";
    const RESERVED: u32 = 1;
    // A valid OK packet, but with a sequence number that no request expects.
    const INVALID_MESSAGE: &'static [u8] = &[7, 0, 0, 0xaa, 0, 0, 0, 2, 0, 0, 0];
    const PARTIAL_MESSAGE: &'static [u8] = &[40, 0, 0, 1, 0, 0];

    fn port(&self) -> u16 {
        self.database.server().port()
    }

    fn driver(&self, port: u16, encryption: Encryption) -> MySql {
        let driver = MySql::new(&self.database.url_via(port)).expect("a driver");
        driver.with_tls(tls(encryption)).expect("the TLS settings are valid")
    }

    fn read(pool: &Pool<MySql>) -> Result<(), Error> {
        let rows: Vec<i64> = pool.query(&format!("select seq from seq_1_to_{ROWS}"))?;
        assert_eq!(rows, Vec::from_iter(1..=ROWS), "a wrong result");
        Ok(())
    }

    fn write(pool: &Pool<MySql>, key: u32) -> Result<(), Error> {
        pool.query_drop(&format!("insert into entry values ({key}, 1)")).map(drop)
    }

    fn transact(
        pool: &Pool<MySql>,
        key: u32,
        between: &(dyn Fn() + Sync),
        before_commit: &(dyn Fn() + Sync),
    ) -> Result<(), Error> {
        pool.transaction(|tx| {
            tx.query_drop(format!("insert into entry values ({key}, 1)"))?;
            between();
            tx.query_drop(format!("insert into entry values ({key}, 2)"))?;
            before_commit();
            Ok(())
        })
    }

    fn begin_and_insert(connection: &mut mysql::Conn, key: u32) {
        connection.query_drop("start transaction").expect("no fault was applied yet");
        let text = format!("insert into entry values ({key}, 1)");
        connection.query_drop(text).expect("no fault was applied yet");
    }

    fn rows(&self, key: u32) -> usize {
        let rows = self.database.sql(&format!("select count(*) from entry where k = {key}"));
        rows[0][0].parse().expect("a number")
    }
}
