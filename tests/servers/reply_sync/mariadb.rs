//! The operations of a borrower of a MariaDB connection.

use super::{Failure, Nonce, NonceVariant, Operation, Pool, Variant, panic_on_purpose, run};
use crate::variant::My;
use fastrand::Rng;
use mysql::prelude::Queryable;
use mysql::{Conn, TxOpts};
use parking_lot::Mutex;
use poolwarden::{Error, ErrorKind, MySql, PooledConnection};
use std::sync::Arc;
use std::time::Duration;
use support::mariadb::{self, Product};

#[derive(Clone)]
struct NonceServer {
    variant: My,
    /// Connected without the proxy.
    witness: Arc<Mutex<Conn>>,
}

impl Variant for NonceServer {
    type Driver = MySql;
    type Connection = Conn;

    fn driver(&self) -> MySql {
        self.variant.driver()
    }

    fn open(&self) -> Result<Conn, String> {
        self.variant.open()
    }

    fn ask(connection: &mut Conn) -> Result<(), String> {
        My::ask(connection)
    }
}

#[test]
fn no_borrower_of_mariadb_reads_anothers_reply() {
    if mariadb::available() {
        run_against("MariaDB", |_| (), |variant| variant);
    }
}

#[cfg(feature = "native-tls")]
#[test]
fn no_borrower_of_mariadb_over_tls_reads_anothers_reply() {
    use support::certificates::{Certificate, available};
    if !mariadb::available() || !available() {
        return;
    }
    let tls = poolwarden::Tls::new(poolwarden::SslMode::Require);
    let configure = |conf: &mut mariadb::Conf| {
        conf.tls(Certificate::Valid);
    };
    run_against("MariaDB over TLS", configure, |variant| variant.with_tls(tls.clone()));
}

fn run_against(what: &str, configure: impl FnOnce(&mut mariadb::Conf), secure: impl Fn(My) -> My) {
    let server = mariadb::Server::with(|conf| {
        configure(conf);
        // The server counts interrupted handshakes per host.
        conf.set("max_connect_errors", "4000000000");
    });
    let database = server.fresh_database();
    database.sql("create table log (n bigint) engine=innodb");
    let witness = My::new(database.url()).open().expect("the server accepts");
    let witness = Arc::new(Mutex::new(witness));
    run(what, server.port(), |port| NonceServer {
        variant: secure(My::new(database.url_via(port))),
        witness: Arc::clone(&witness),
    });
}

/// All sessions except for the witness's.
const OTHERS: &str = "from information_schema.processlist where user = \
                      substring_index(user(), '@', 1) and id <> connection_id()";

impl NonceVariant for NonceServer {
    const OPERATIONS: &'static [(&'static str, usize, Operation<NonceServer>)] = &[
        ("a text query", 30, text),
        ("a prepared query", 30, prepared),
        ("a query of several rows", 30, several_rows),
        ("several queries", 30, several),
        ("a change", 30, change),
        ("a transaction", 30, transaction),
        ("a transaction rolled back", 30, rolled_back),
        ("a transaction that panics", 2, panicking_transaction),
        ("an error", 30, error),
        ("too many rows", 2, too_many),
        ("a raw text query", 30, raw),
        ("raw prepared statements", 30, raw_prepared),
        ("raw rows half read", 2, half_read),
        ("raw rows forgotten", 2, rows_forgotten),
        ("raw prepared rows forgotten", 2, prepared_rows_forgotten),
        ("the first of raw results", 2, first_result),
        ("a raw transaction forgotten", 2, transaction_forgotten),
        ("a raw transaction left open", 30, left_open),
        ("a variable and a lock", 30, variable_and_lock),
        ("another database", 30, another_database),
        ("a panic among raw rows", 2, panicking_rows),
        ("a cancelled statement", 2, cancelled),
        ("a discarded connection", 2, discarded),
    ];

    fn stray(number: u64, random: &mut Rng) -> Vec<u8> {
        let packet = |sequence: u8, body: &[u8]| {
            let length = u32::try_from(body.len()).expect("a short body").to_le_bytes();
            [&length[..3], &[sequence], body].concat()
        };
        let value = number.to_string();
        let row = [&[u8::try_from(value.len()).expect("short")], value.as_bytes()].concat();
        let end = [0xfe, 0, 0, 2, 0];
        match random.u8(..4) {
            0 => packet(1, &[0, 0, 0, 2, 0, 0, 0]),
            1 => [packet(4, &row), packet(5, &end)].concat(),
            2 => packet(1, &[0xff, 0x48, 0x04, b'#', b'H', b'Y', b'0', b'0', b'0', b'x']),
            _ => (0..random.usize(1..40)).map(|_| random.u8(..)).collect(),
        }
    }

    fn disturb_session(&self, random: &mut Rng) {
        let mut witness = self.witness.lock();
        let one = format!("select id {OTHERS} order by rand() limit 1");
        let one: Option<u64> = witness.query_first(one).expect("the server accepts");
        let how = if random.bool() { "kill" } else { "kill query" };
        // It may have ended by itself.
        one.into_iter().for_each(|id| drop(witness.query_drop(format!("{how} {id}"))));
    }

    fn sessions(&self) -> usize {
        let count = self.witness.lock().query_first(format!("select count(*) {OTHERS}"));
        count.expect("the server accepts").expect("a row")
    }
}

type Guard = PooledConnection<MySql>;

/// Checks out for raw use; no state of the last borrower may be left.
fn borrow(pool: &Pool<MySql>, nonce: &Nonce<'_>) -> Result<Guard, Failure> {
    let mut conn = pool.get()?;
    let in_transaction = match mariadb::product() {
        Product::MariaDb => "@@in_transaction",
        Product::MySql => {
            if is_refused_in_a_transaction(&mut conn)? {
                "1"
            } else {
                "0"
            }
        }
    };
    let name = conn.query_first::<(i64, i64, Option<i64>, String), _>(format!(
        "select {}, {in_transaction}, @left_behind, substring_index(user(), '@', 1) = database()",
        nonce.sql()
    ))?;
    nonce.is(name, Some((nonce.sql(), 0, None, "1".into())));
    Ok(conn)
}

/// MySQL has no variable for this: inside a transaction it answers with error 1568.
fn is_refused_in_a_transaction(conn: &mut Conn) -> Result<bool, mysql::Error> {
    match conn.query_drop("set transaction read write") {
        Err(mysql::Error::MySqlError(error)) if error.code == 1568 => Ok(true),
        done => done.map(|()| false),
    }
}

fn select(nonce: &Nonce<'_>) -> String {
    format!("select {}", nonce.sql())
}

fn text(pool: &Pool<MySql>, nonce: &Nonce<'_>) -> Result<(), Failure> {
    nonce.is(pool.query_first(&select(nonce))?, Some(nonce.sql()));
    Ok(())
}

fn prepared(pool: &Pool<MySql>, nonce: &Nonce<'_>) -> Result<(), Failure> {
    nonce.is(pool.exec_first("select ?", (nonce.sql(),))?, Some(nonce.sql()));
    Ok(())
}

fn several_rows(pool: &Pool<MySql>, nonce: &Nonce<'_>) -> Result<(), Failure> {
    let rows: Vec<(i64, i64)> = pool.query(&(select(nonce) + ", seq from seq_1_to_7"))?;
    nonce.is(rows, (1..=7).map(|n| (nonce.sql(), n)).collect());
    Ok(())
}

fn several(pool: &Pool<MySql>, nonce: &Nonce<'_>) -> Result<(), Failure> {
    let rows: Vec<i64> = pool.query(&format!("select {0}; select {0} + 1; do 1", nonce.sql()))?;
    nonce.is(rows, vec![nonce.sql()]);
    Ok(())
}

fn change(pool: &Pool<MySql>, nonce: &Nonce<'_>) -> Result<(), Failure> {
    pool.exec_drop("insert into log values (?)", (nonce.sql(),))?;
    Ok(())
}

fn transaction(pool: &Pool<MySql>, nonce: &Nonce<'_>) -> Result<(), Failure> {
    let read = pool.transaction(|tx| {
        let one: Option<i64> = tx.query_first(select(nonce))?;
        let two: Option<i64> = tx.exec_first("select ? + 1", (nonce.sql(),))?;
        Ok((one, two))
    });
    nonce.is(read?, (Some(nonce.sql()), Some(nonce.sql() + 1)));
    Ok(())
}

fn rolled_back(pool: &Pool<MySql>, nonce: &Nonce<'_>) -> Result<(), Failure> {
    let done = pool.transaction(|tx| -> Result<(), Error> {
        nonce.is(tx.query_first(select(nonce))?, Some(nonce.sql()));
        Err(Error::caller("enough"))
    });
    let error = done.expect_err("the closure's error");
    if error.kind() == ErrorKind::Caller { Ok(()) } else { Err(error.into()) }
}

fn panicking_transaction(pool: &Pool<MySql>, nonce: &Nonce<'_>) -> Result<(), Failure> {
    pool.transaction(|tx| -> Result<(), Error> {
        nonce.is(tx.query_first(select(nonce))?, Some(nonce.sql()));
        panic_on_purpose()
    })?;
    Ok(())
}

fn error(pool: &Pool<MySql>, nonce: &Nonce<'_>) -> Result<(), Failure> {
    let sql = format!("select {} from nosuch", nonce.sql());
    let error = pool.query_drop(&sql).expect_err("there is none");
    let text = error.to_string();
    if text.contains("1146") { Ok(()) } else { Err(Failure(text)) }
}

fn too_many(pool: &Pool<MySql>, nonce: &Nonce<'_>) -> Result<(), Failure> {
    let rows = pool.query::<(i64, i64)>(&(select(nonce) + ", seq from seq_1_to_20000"));
    let error = rows.expect_err("there is a limit");
    if error.kind() == ErrorKind::RowLimit { Ok(()) } else { Err(error.into()) }
}

fn raw(pool: &Pool<MySql>, nonce: &Nonce<'_>) -> Result<(), Failure> {
    let mut conn = borrow(pool, nonce)?;
    nonce.is(conn.query_first(select(nonce))?, Some(nonce.sql()));
    Ok(())
}

fn raw_prepared(pool: &Pool<MySql>, nonce: &Nonce<'_>) -> Result<(), Failure> {
    let mut conn = pool.get()?;
    let (one, two) = (conn.prep("select ?")?, conn.prep("select ? + 1")?);
    for _ in 0..2 {
        nonce.is(conn.exec_first(&one, (nonce.sql(),))?, Some(nonce.sql()));
        nonce.is(conn.exec_first(&two, (nonce.sql(),))?, Some(nonce.sql() + 1));
    }
    Ok(())
}

const MANY: &str = ", seq from seq_1_to_3000";

fn half_read(pool: &Pool<MySql>, nonce: &Nonce<'_>) -> Result<(), Failure> {
    let mut conn = borrow(pool, nonce)?;
    let mut rows = conn.query_iter(select(nonce) + MANY)?;
    for row in rows.by_ref().take(3) {
        nonce.is(mysql::from_row::<(i64, i64)>(row?).0, nonce.sql());
    }
    drop(rows);
    if nonce.number.is_multiple_of(2) {
        nonce.is(conn.query_first(select(nonce))?, Some(nonce.sql()));
    }
    Ok(())
}

fn rows_forgotten(pool: &Pool<MySql>, nonce: &Nonce<'_>) -> Result<(), Failure> {
    let mut conn = borrow(pool, nonce)?;
    let mut rows = conn.query_iter(select(nonce) + MANY)?;
    for row in rows.by_ref().take(3) {
        nonce.is(mysql::from_row::<(i64, i64)>(row?).0, nonce.sql());
    }
    std::mem::forget(rows);
    Ok(())
}

fn prepared_rows_forgotten(pool: &Pool<MySql>, nonce: &Nonce<'_>) -> Result<(), Failure> {
    let mut conn = borrow(pool, nonce)?;
    let mut rows = conn.exec_iter("select ?, seq from seq_1_to_5", (nonce.sql(),))?;
    if let Some(row) = rows.next() {
        nonce.is(mysql::from_row::<(i64, i64)>(row?).0, nonce.sql());
    }
    std::mem::forget(rows);
    Ok(())
}

fn first_result(pool: &Pool<MySql>, nonce: &Nonce<'_>) -> Result<(), Failure> {
    let mut conn = borrow(pool, nonce)?;
    let mut results = conn.query_iter(format!("select {0}; select {0} + 1", nonce.sql()))?;
    let first = results.iter().and_then(|mut set| set.next()).transpose()?;
    nonce.is(first.map(mysql::from_row::<i64>), Some(nonce.sql()));
    if nonce.number.is_multiple_of(2) {
        std::mem::forget(results);
    }
    Ok(())
}

fn transaction_forgotten(pool: &Pool<MySql>, nonce: &Nonce<'_>) -> Result<(), Failure> {
    let mut conn = borrow(pool, nonce)?;
    let mut transaction = conn.start_transaction(TxOpts::default())?;
    nonce.is(transaction.query_first(select(nonce))?, Some(nonce.sql()));
    std::mem::forget(transaction);
    Ok(())
}

fn left_open(pool: &Pool<MySql>, nonce: &Nonce<'_>) -> Result<(), Failure> {
    let mut conn = borrow(pool, nonce)?;
    conn.query_drop("begin")?;
    conn.query_drop("insert into log values (-1)")?;
    Ok(())
}

fn variable_and_lock(pool: &Pool<MySql>, nonce: &Nonce<'_>) -> Result<(), Failure> {
    let mut conn = borrow(pool, nonce)?;
    let own = nonce.sql();
    conn.query_drop(format!("set @left_behind = {own}"))?;
    let read = conn.query_first(format!("select @left_behind, get_lock('l{own}', 0)"))?;
    nonce.is(read, Some((own, 1)));
    Ok(())
}

fn another_database(pool: &Pool<MySql>, nonce: &Nonce<'_>) -> Result<(), Failure> {
    let mut conn = borrow(pool, nonce)?;
    conn.query_drop("use information_schema")?;
    nonce.is(conn.query_first("select database()")?, Some("information_schema".to_owned()));
    Ok(())
}

fn panicking_rows(pool: &Pool<MySql>, nonce: &Nonce<'_>) -> Result<(), Failure> {
    let mut conn = borrow(pool, nonce)?;
    let mut rows = conn.query_iter(select(nonce) + MANY)?;
    if let Some(row) = rows.next() {
        nonce.is(mysql::from_row::<(i64, i64)>(row?).0, nonce.sql());
    }
    panic_on_purpose()
}

fn cancelled(pool: &Pool<MySql>, nonce: &Nonce<'_>) -> Result<(), Failure> {
    let mut conn = pool.get()?;
    let handle = PooledConnection::cancel_handle(&conn);
    let pause = Duration::from_micros(nonce.number % 3_000);
    let read = std::thread::scope(|scope| {
        scope.spawn(move || {
            std::thread::sleep(pause);
            drop(handle.cancel());
        });
        conn.query_first(format!("select {}, sleep(0.001)", nonce.sql()))
    });
    match read {
        Ok(Some((read, _slept))) => {
            let _: i64 = _slept;
            nonce.is(read, nonce.sql());
        }
        Ok(None) => nonce.is(None, Some(nonce.sql())),
        Err(mysql::Error::MySqlError(error)) if matches!(error.code, 1317 | 1969) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

fn discarded(pool: &Pool<MySql>, nonce: &Nonce<'_>) -> Result<(), Failure> {
    let conn = borrow(pool, nonce)?;
    if nonce.number.is_multiple_of(2) {
        PooledConnection::discard(conn);
        return Ok(());
    }
    let mut conn = PooledConnection::detach(conn);
    nonce.is(conn.query_first(select(nonce))?, Some(nonce.sql()));
    Ok(())
}
