//! The operations of a borrower of a PostgreSQL connection.

use super::{Failure, Nonce, NonceVariant, Operation, Pool, Variant, panic_on_purpose, run};
use crate::variant::Pg;
use fastrand::Rng;
use parking_lot::Mutex;
use poolwarden::{Error, ErrorKind, PooledConnection, Postgres};
use postgres::fallible_iterator::FallibleIterator;
use postgres::{Client, NoTls, SimpleQueryMessage};
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;
use support::postgres as pg;

type Conn = PooledConnection<Postgres>;

#[derive(Clone)]
struct NonceServer {
    variant: Pg,
    /// Connected without the proxy.
    witness: Arc<Mutex<Client>>,
}

impl Variant for NonceServer {
    type Driver = Postgres;
    type Connection = Client;

    fn driver(&self) -> Postgres {
        self.variant.driver()
    }

    fn open(&self) -> Result<Client, String> {
        self.variant.open()
    }

    fn ask(connection: &mut Client) -> Result<(), String> {
        Pg::ask(connection)
    }
}

#[test]
fn no_borrower_of_postgres_reads_anothers_reply() {
    if pg::available() {
        run_against("PostgreSQL", &pg::Server::start(), |variant| variant);
    }
}

#[cfg(feature = "native-tls")]
#[test]
fn no_borrower_of_postgres_over_tls_reads_anothers_reply() {
    if !pg::available() || !pg::tls() || !support::certificates::available() {
        return;
    }
    let server = pg::Server::with(|conf| {
        conf.tls(support::certificates::Certificate::Valid);
    });
    let tls = poolwarden::Tls::new(poolwarden::SslMode::Require);
    run_against("PostgreSQL over TLS", &server, |variant| variant.with_tls(tls.clone()));
}

fn run_against(what: &str, server: &pg::Server, secure: impl Fn(Pg) -> Pg) {
    let database = server.fresh_database();
    database.sql("create table log (n bigint); grant all on log to public");
    let witness = Client::connect(&database.url(), NoTls).expect("the server accepts");
    let witness = Arc::new(Mutex::new(witness));
    run(what, server.port(), |port| NonceServer {
        variant: secure(Pg::new(database.url_via(port))),
        witness: Arc::clone(&witness),
    });
}

/// All sessions except for the witness's.
const OTHERS: &str = "from pg_stat_activity where datname = current_database() \
                      and pid <> pg_backend_pid()";

impl NonceVariant for NonceServer {
    const OPERATIONS: &'static [(&'static str, usize, Operation<NonceServer>)] = &[
        ("a query with a parameter", 30, parameter),
        ("a query of its own text", 30, own_text),
        ("a query of several rows", 30, several_rows),
        ("a change", 30, change),
        ("a batch", 30, batch),
        ("a transaction", 30, transaction),
        ("a transaction rolled back", 30, rolled_back),
        ("a transaction that panics", 2, panicking_transaction),
        ("an error", 30, error),
        ("too many rows", 2, too_many),
        ("a raw query", 30, raw),
        ("raw prepared statements", 30, raw_prepared),
        ("a raw simple query", 30, raw_simple),
        ("raw rows half read", 2, half_read),
        ("raw rows forgotten", 2, rows_forgotten),
        ("a raw transaction forgotten", 2, transaction_forgotten),
        ("a raw transaction left open", 30, left_open),
        ("a raw copy half read", 2, half_copied),
        ("a panic among raw rows", 2, panicking_rows),
        ("all statements deallocated", 2, deallocated),
        ("a cancelled statement", 2, cancelled),
        ("a discarded connection", 2, discarded),
    ];

    fn stray(number: u64, random: &mut Rng) -> Vec<u8> {
        let message = |kind: u8, body: &[u8]| {
            let length = u32::try_from(body.len() + 4).expect("a short body").to_be_bytes();
            [&[kind], &length[..], body].concat()
        };
        let value = number.cast_signed().to_be_bytes();
        let row = message(b'D', &[&[0, 1, 0, 0, 0, 8], &value[..]].concat());
        let end = [message(b'C', b"SELECT 1\0"), message(b'Z', b"I")].concat();
        match random.u8(..8) {
            0 => [message(b'2', b""), row, end].concat(),
            1 => [row, end].concat(),
            2 => message(b'Z', b"I"),
            3 => [message(b'I', b""), message(b'Z', b"I")].concat(),
            4 => message(b'A', b"\0\0\0\x01news\0\0"),
            5 => message(b'S', b"application_name\0x\0"),
            6 => message(b'N', b"SNOTICE\0VNOTICE\0C00000\0Mhello\0\0"),
            _ => (0..random.usize(1..40)).map(|_| random.u8(..)).collect(),
        }
    }

    fn disturb_session(&self, random: &mut Rng) {
        let how = if random.bool() { "pg_terminate_backend" } else { "pg_cancel_backend" };
        let one = format!("select {how}(pid) {OTHERS} order by random() limit 1");
        self.witness.lock().batch_execute(&one).expect("the server accepts");
    }

    fn sessions(&self) -> usize {
        let count = format!("select count(*) {OTHERS}");
        let row = self.witness.lock().query_one(&count, &[]).expect("the server accepts");
        usize::try_from(row.get::<_, i64>(0)).expect("a count")
    }
}

/// A raw borrow, which must not begin inside a transaction.
fn borrow(pool: &Pool<Postgres>, nonce: &Nonce<'_>) -> Result<Conn, Failure> {
    let mut client = pool.get()?;
    let text = format!("select now() = statement_timestamp(), {}", nonce.sql());
    nonce.is(simple(&mut client, &text)?, vec!["t".into(), nonce.sql().to_string()]);
    Ok(client)
}

/// The fields of the first row.
fn simple(client: &mut Client, text: &str) -> Result<Vec<String>, Failure> {
    let messages = client.simple_query(text)?;
    let fields = messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => {
            Some((0..row.len()).map(|n| row.get(n).unwrap_or_default().to_owned()).collect())
        }
        _ => None,
    });
    Ok(fields.unwrap_or_default())
}

fn parameter(pool: &Pool<Postgres>, nonce: &Nonce<'_>) -> Result<(), Failure> {
    let row = pool.query_one("select $1::bigint", &[&nonce.sql()])?;
    nonce.is(row.get(0), nonce.sql());
    Ok(())
}

fn own_text(pool: &Pool<Postgres>, nonce: &Nonce<'_>) -> Result<(), Failure> {
    let row = pool.query_one(&format!("select {}::bigint", nonce.sql()), &[])?;
    nonce.is(row.get(0), nonce.sql());
    Ok(())
}

fn several_rows(pool: &Pool<Postgres>, nonce: &Nonce<'_>) -> Result<(), Failure> {
    let sql = "select $1::bigint, n from generate_series(1, 7) as n";
    let rows = pool.query(sql, &[&nonce.sql()])?;
    let read: Vec<(i64, i32)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    nonce.is(read, (1..=7).map(|n| (nonce.sql(), n)).collect());
    Ok(())
}

fn change(pool: &Pool<Postgres>, nonce: &Nonce<'_>) -> Result<(), Failure> {
    nonce.is(pool.execute("insert into log values ($1)", &[&nonce.sql()])?, 1);
    Ok(())
}

fn batch(pool: &Pool<Postgres>, nonce: &Nonce<'_>) -> Result<(), Failure> {
    let own = nonce.sql();
    Ok(pool
        .batch_execute(&format!("select {own}; delete from log where n < {own} - 99; select 1"))?)
}

fn transaction(pool: &Pool<Postgres>, nonce: &Nonce<'_>) -> Result<(), Failure> {
    let read = pool.transaction(|tx| {
        let one: i64 = tx.query_one("select $1::bigint", &[&nonce.sql()])?.get(0);
        let two: i64 = tx.query_one("select $1::bigint + 1", &[&nonce.sql()])?.get(0);
        Ok((one, two))
    });
    nonce.is(read?, (nonce.sql(), nonce.sql() + 1));
    Ok(())
}

fn rolled_back(pool: &Pool<Postgres>, nonce: &Nonce<'_>) -> Result<(), Failure> {
    let done = pool.transaction(|tx| -> Result<(), Error> {
        let one: i64 = tx.query_one("select $1::bigint", &[&nonce.sql()])?.get(0);
        nonce.is(one, nonce.sql());
        Err(Error::caller("enough"))
    });
    let error = done.expect_err("the closure's error");
    if error.kind() == ErrorKind::Caller { Ok(()) } else { Err(error.into()) }
}

fn panicking_transaction(pool: &Pool<Postgres>, nonce: &Nonce<'_>) -> Result<(), Failure> {
    pool.transaction(|tx| -> Result<(), Error> {
        let one: i64 = tx.query_one("select $1::bigint", &[&nonce.sql()])?.get(0);
        nonce.is(one, nonce.sql());
        panic_on_purpose()
    })?;
    Ok(())
}

fn error(pool: &Pool<Postgres>, nonce: &Nonce<'_>) -> Result<(), Failure> {
    let error = pool.query("select $1::bigint / 0", &[&nonce.sql()]).expect_err("it divides by 0");
    let text = error.to_string();
    if text.contains("22012") { Ok(()) } else { Err(Failure(text)) }
}

fn too_many(pool: &Pool<Postgres>, nonce: &Nonce<'_>) -> Result<(), Failure> {
    let sql = "select $1::bigint, n from generate_series(1, 20000) as n";
    let error = pool.query(sql, &[&nonce.sql()]).expect_err("there is a limit");
    if error.kind() == ErrorKind::RowLimit { Ok(()) } else { Err(error.into()) }
}

fn raw(pool: &Pool<Postgres>, nonce: &Nonce<'_>) -> Result<(), Failure> {
    let mut client = borrow(pool, nonce)?;
    nonce.is(client.query_one("select $1::bigint", &[&nonce.sql()])?.get(0), nonce.sql());
    Ok(())
}

fn raw_prepared(pool: &Pool<Postgres>, nonce: &Nonce<'_>) -> Result<(), Failure> {
    let mut client = pool.get()?;
    let one = client.prepare("select $1::bigint")?;
    let two = client.prepare("select $1::bigint + 1")?;
    for _ in 0..2 {
        nonce.is(client.query_one(&one, &[&nonce.sql()])?.get(0), nonce.sql());
        nonce.is(client.query_one(&two, &[&nonce.sql()])?.get(0), nonce.sql() + 1);
    }
    Ok(())
}

fn raw_simple(pool: &Pool<Postgres>, nonce: &Nonce<'_>) -> Result<(), Failure> {
    let mut client = pool.get()?;
    let read = simple(&mut client, &format!("select {0}, 'x{0}'; select 1", nonce.sql()))?;
    nonce.is(read, vec![nonce.sql().to_string(), format!("x{}", nonce.sql())]);
    Ok(())
}

/// Rows of which the borrower has read a few.
fn few_rows<'c>(
    client: &'c mut Client,
    nonce: &Nonce<'_>,
) -> Result<postgres::RowIter<'c>, Failure> {
    let sql = "select $1::bigint, n from generate_series(1, 3000) as n";
    let mut rows = client.query_raw(sql, [nonce.sql()])?;
    for _ in 0..3 {
        if let Some(row) = rows.next()? {
            nonce.is(row.get(0), nonce.sql());
        }
    }
    Ok(rows)
}

fn half_read(pool: &Pool<Postgres>, nonce: &Nonce<'_>) -> Result<(), Failure> {
    let mut client = borrow(pool, nonce)?;
    drop(few_rows(&mut client, nonce)?);
    // Sometimes the connection is used on; the driver reads the rest first.
    if nonce.number.is_multiple_of(2) {
        nonce.is(client.query_one("select $1::bigint", &[&nonce.sql()])?.get(0), nonce.sql());
    }
    Ok(())
}

fn rows_forgotten(pool: &Pool<Postgres>, nonce: &Nonce<'_>) -> Result<(), Failure> {
    let mut client = borrow(pool, nonce)?;
    std::mem::forget(few_rows(&mut client, nonce)?);
    Ok(())
}

fn transaction_forgotten(pool: &Pool<Postgres>, nonce: &Nonce<'_>) -> Result<(), Failure> {
    let mut client = borrow(pool, nonce)?;
    let mut transaction = client.transaction()?;
    nonce.is(transaction.query_one("select $1::bigint", &[&nonce.sql()])?.get(0), nonce.sql());
    std::mem::forget(transaction);
    Ok(())
}

fn left_open(pool: &Pool<Postgres>, nonce: &Nonce<'_>) -> Result<(), Failure> {
    let mut client = borrow(pool, nonce)?;
    client.batch_execute("begin; insert into log values (-1)")?;
    if nonce.number.is_multiple_of(2) {
        drop(client.batch_execute("select nonsense"));
    }
    Ok(())
}

fn half_copied(pool: &Pool<Postgres>, nonce: &Nonce<'_>) -> Result<(), Failure> {
    let mut client = borrow(pool, nonce)?;
    let own = nonce.sql().to_string() + "\n";
    let sql =
        format!("copy (select {}::bigint from generate_series(1, 3000)) to stdout", nonce.sql());
    let mut lines = vec![0; own.len()];
    client.copy_out(&sql)?.read_exact(&mut lines)?;
    nonce.is(lines, own.into_bytes());
    Ok(())
}

fn panicking_rows(pool: &Pool<Postgres>, nonce: &Nonce<'_>) -> Result<(), Failure> {
    let mut client = borrow(pool, nonce)?;
    let _rows = few_rows(&mut client, nonce)?;
    panic_on_purpose()
}

fn deallocated(pool: &Pool<Postgres>, nonce: &Nonce<'_>) -> Result<(), Failure> {
    let mut client = borrow(pool, nonce)?;
    client.batch_execute(if nonce.number.is_multiple_of(2) {
        "deallocate all"
    } else {
        "discard all"
    })?;
    drop(client);
    parameter(pool, nonce)
}

fn cancelled(pool: &Pool<Postgres>, nonce: &Nonce<'_>) -> Result<(), Failure> {
    let mut client = pool.get()?;
    let handle = PooledConnection::cancel_handle(&client);
    let pause = Duration::from_micros(nonce.number % 3_000);
    let read = std::thread::scope(|scope| {
        scope.spawn(move || {
            std::thread::sleep(pause);
            drop(handle.cancel());
        });
        client.query_one("select $1::bigint from pg_sleep(0.001)", &[&nonce.sql()])
    });
    match read {
        Ok(row) => nonce.is(row.get(0), nonce.sql()),
        Err(error) if error.code().is_some_and(|code| code.code() == "57014") => {}
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

fn discarded(pool: &Pool<Postgres>, nonce: &Nonce<'_>) -> Result<(), Failure> {
    let client = borrow(pool, nonce)?;
    if nonce.number.is_multiple_of(2) {
        PooledConnection::discard(client);
        return Ok(());
    }
    let mut client = PooledConnection::detach(client);
    nonce.is(client.query_one("select $1::bigint", &[&nonce.sql()])?.get(0), nonce.sql());
    Ok(())
}
