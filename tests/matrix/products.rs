//! The two servers, each with a table of its own, and the work that is done on them.

use crate::cell::{Security, has_tls};
use mysql::prelude::Queryable;
use poolwarden::{Driver, Error, MySql, Pool, Postgres, SslMode, Tls};
use std::sync::OnceLock;
use support::certificates::Certificate;
use support::{mariadb, postgres as pg};

/// Rows of the long answer.
const ROWS: i64 = 1_000;

/// A server, and what callers do on it.
pub trait Product: Sync {
    /// Our driver for it.
    type Driver: Driver;

    /// Its name in the table.
    const NAME: &'static str;
    /// How many connections `statement_timeout` keeps for itself.
    const RESERVED: u32;
    /// Bytes that it never sends in that place: no message, or the wrong one.
    const NONSENSE: &'static [u8];
    /// The begin of a message.
    const STUMP: &'static [u8];

    /// The server's port.
    fn port(&self) -> u16;
    /// Our driver for its database, through a loopback port.
    fn driver(&self, port: u16, security: Security) -> Self::Driver;
    /// Asks for a thousand rows; panics if an answer without an error is not right.
    fn read(pool: &Pool<Self::Driver>) -> Result<(), Error>;
    /// Writes one row, in no transaction.
    fn write(pool: &Pool<Self::Driver>, key: u32) -> Result<(), Error>;
    /// Writes two rows in one transaction, with something before the second and
    /// something before COMMIT.
    fn transact(
        pool: &Pool<Self::Driver>,
        key: u32,
        between: &(dyn Fn() + Sync),
        before_commit: &(dyn Fn() + Sync),
    ) -> Result<(), Error>;
    /// Begins a transaction and writes a row in it.
    fn soil(connection: &mut <Self::Driver as Driver>::Connection, key: u32);
    /// How many rows of this key there are, as the server says.
    fn rows(&self, key: u32) -> usize;
}

fn tls(security: Security) -> Tls {
    Tls::new(match security {
        Security::Plain => SslMode::Disable,
        Security::Tls => SslMode::Require,
    })
}

/// PostgreSQL.
pub struct Postgre {
    database: pg::Database<'static>,
}

impl Postgre {
    pub fn start() -> Postgre {
        static SERVER: OnceLock<pg::Server> = OnceLock::new();
        let server = SERVER.get_or_init(|| {
            pg::Server::with(|conf| {
                conf.set("max_connections", "100");
                if has_tls() {
                    conf.tls(Certificate::Right);
                }
            })
        });
        let database = server.fresh_database();
        let name = database.name();
        database.sql(&format!(
            "create table entry (key int, n int); alter table entry owner to {name}"
        ));
        Postgre { database }
    }
}

impl Product for Postgre {
    type Driver = Postgres;
    const NAME: &'static str = "PostgreSQL";
    const RESERVED: u32 = 0;
    // No message type, and a length that none can have.
    const NONSENSE: &'static [u8] = &[0; 8];
    const STUMP: &'static [u8] = &[b'T', 0, 0, 1, 0, 0, 1];

    fn port(&self) -> u16 {
        self.database.server().port()
    }

    fn driver(&self, port: u16, security: Security) -> Postgres {
        let driver = Postgres::new(&self.database.url_via(port)).expect("a driver");
        driver.with_tls(tls(security)).expect("such TLS can be had")
    }

    fn read(pool: &Pool<Postgres>) -> Result<(), Error> {
        let rows = pool.query("select * from generate_series(1::bigint, $1)", &[&ROWS])?;
        let rows: Vec<i64> = rows.iter().map(|row| row.get(0)).collect();
        assert_eq!(rows, Vec::from_iter(1..=ROWS), "a wrong answer");
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

    fn soil(connection: &mut postgres::Client, key: u32) {
        let text = format!("begin; insert into entry values ({key}, 1)");
        connection.batch_execute(&text).expect("nothing has struck yet");
    }

    fn rows(&self, key: u32) -> usize {
        let rows = self.database.sql(&format!("select count(*) from entry where key = {key}"));
        rows[0][0].parse().expect("a number")
    }
}

/// MariaDB.
pub struct Maria {
    database: mariadb::Database<'static>,
}

impl Maria {
    pub fn start() -> Maria {
        static SERVER: OnceLock<mariadb::Server> = OnceLock::new();
        let server = SERVER.get_or_init(|| {
            mariadb::Server::with(|conf| {
                // A handshake that is cut counts against the host.
                conf.set("max-connect-errors", "1000000");
                if has_tls() {
                    conf.tls(Certificate::Right);
                }
            })
        });
        let database = server.fresh_database();
        database.sql("create table entry (k int, n int) engine=innodb");
        Maria { database }
    }
}

impl Product for Maria {
    type Driver = MySql;
    const NAME: &'static str = "MariaDB";
    const RESERVED: u32 = 1;
    // A good OK packet, were its sequence number not that of none that is awaited.
    const NONSENSE: &'static [u8] = &[7, 0, 0, 0xaa, 0, 0, 0, 2, 0, 0, 0];
    const STUMP: &'static [u8] = &[40, 0, 0, 1, 0, 0];

    fn port(&self) -> u16 {
        self.database.server().port()
    }

    fn driver(&self, port: u16, security: Security) -> MySql {
        let driver = MySql::new(&self.database.url_via(port)).expect("a driver");
        driver.with_tls(tls(security)).expect("such TLS can be had")
    }

    fn read(pool: &Pool<MySql>) -> Result<(), Error> {
        let rows: Vec<i64> = pool.query(&format!("select seq from seq_1_to_{ROWS}"))?;
        assert_eq!(rows, Vec::from_iter(1..=ROWS), "a wrong answer");
        Ok(())
    }

    fn write(pool: &Pool<MySql>, key: u32) -> Result<(), Error> {
        pool.query_drop(&format!("insert into entry values ({key}, 1)"))
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

    fn soil(connection: &mut mysql::Conn, key: u32) {
        connection.query_drop("start transaction").expect("nothing has struck yet");
        let text = format!("insert into entry values ({key}, 1)");
        connection.query_drop(text).expect("nothing has struck yet");
    }

    fn rows(&self, key: u32) -> usize {
        let rows = self.database.sql(&format!("select count(*) from entry where k = {key}"));
        rows[0][0].parse().expect("a number")
    }
}
