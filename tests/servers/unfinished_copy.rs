//! A COPY that its borrower left unfinished affects no later borrower.

use crate::variant::{Pg, Variant, fresh_name};
use poolwarden::{CloseReason, Pool, Postgres, Reset};
use std::io::Write;
use std::mem;
use std::time::{Duration, Instant};
use support::postgres as pg;
use support::wait::{eventually, within};

/// The ways in which a borrower may leave a COPY unfinished.
type Leave = fn(&mut postgres::Client);

fn began(client: &mut postgres::Client) -> postgres::CopyInWriter<'_> {
    let mut writer = client.copy_in("copy t from stdin").expect("a copy");
    writer.write_all(b"5\n").expect("a row");
    writer
}

fn dropped(client: &mut postgres::Client) {
    drop(began(client));
}

fn dropped_with_much_sent(client: &mut postgres::Client) {
    let mut writer = began(client);
    writer.write_all(&b"6\n".repeat(100_000)).expect("rows");
    writer.flush().expect("they are sent");
}

fn refused_by_the_server(client: &mut postgres::Client) {
    let mut writer = client.copy_in("copy t from stdin").expect("a copy");
    writer.write_all(b"no number\n").expect("it is only sent");
    writer.flush().expect("it is sent");
}

fn forgotten(client: &mut postgres::Client) {
    mem::forget(began(client));
}

fn in_a_transaction(client: &mut postgres::Client) {
    let mut transaction = client.transaction().expect("it begins");
    transaction.execute("insert into t values (1)", &[]).expect("it runs");
    let mut writer = transaction.copy_in("copy t from stdin").expect("a copy");
    writer.write_all(b"5\n").expect("a row");
    mem::forget(writer);
    mem::forget(transaction);
}

fn begun_by_a_plain_query(client: &mut postgres::Client) {
    assert!(client.batch_execute("copy t from stdin").is_err());
}

fn begun_by_a_plain_query_of_several(client: &mut postgres::Client) {
    assert!(client.simple_query("begin; insert into t values (1); copy t from stdin").is_err());
}

const WAYS: [(&str, Leave); 7] = [
    ("dropped", dropped),
    ("dropped with much sent", dropped_with_much_sent),
    ("refused by the server", refused_by_the_server),
    ("forgotten", forgotten),
    ("in a transaction", in_a_transaction),
    ("begun by a plain query", begun_by_a_plain_query),
    ("begun by a plain query of several", begun_by_a_plain_query_of_several),
];

/// Asserts that another session sees no lock and no transaction of the pool.
fn assert_nothing_held(watcher: &mut postgres::Client, name: &str) {
    let sql = "select count(*) from pg_stat_activity a where a.application_name = $1
               and (a.state <> 'idle' or exists (select 1 from pg_locks l where l.pid = a.pid))";
    let free = || watcher.query_one(sql, &[&name]).expect("a row").get::<_, i64>(0) == 0;
    assert!(eventually(Duration::from_secs(30), free), "{name}: a session holds on");
}

struct Stage {
    database: pg::Database<'static>,
    watcher: postgres::Client,
}

impl Stage {
    fn new() -> Option<Stage> {
        if !pg::available() {
            return None;
        }
        let database = pg::shared().fresh_database();
        let mut watcher = Pg::new(database.url()).open().expect("the server accepts");
        watcher.batch_execute("create table t (n int)").expect("a table");
        Some(Stage { database, watcher })
    }

    /// Returns the URLs over TCP and over the unix socket, each with a name of its own.
    fn urls(&self) -> [(String, String); 2] {
        let urls = [self.database.url(), self.database.unix_url()];
        urls.map(|url| {
            let name = fresh_name("copying");
            let is_url = url.contains("://");
            let joint = if !is_url {
                ' '
            } else if url.contains('?') {
                '&'
            } else {
                '?'
            };
            (format!("{url}{joint}application_name={name}"), name)
        })
    }
}

#[test]
fn an_unfinished_copy_leaves_no_lock_behind_and_the_next_borrower_is_served() {
    let Some(mut stage) = Stage::new() else { return };
    for reset in [Reset::Auto, Reset::Full] {
        for ((url, name), (way, leave)) in
            stage.urls().into_iter().flat_map(|url| WAYS.map(|way| (url.clone(), way)))
        {
            let builder = Pool::builder().max_size(1).reset(reset).name(fresh_name("copying"));
            let pool = builder.build(Pg::new(url).driver()).expect("the server accepts");
            let began = Instant::now();
            let mut client = pool.get().expect("a connection");
            leave(&mut client);
            drop(client);
            assert_nothing_held(&mut stage.watcher, &name);
            assert_served(&pool, way);
            assert!(began.elapsed() < Duration::from_secs(15), "{way}: {:?}", began.elapsed());
        }
    }
}

/// Asserts that the next borrowers, and the pool's own queries, get their own replies.
fn assert_served(pool: &Pool<Postgres>, way: &str) {
    let ask = || pool.query_one("select 7", &[]).expect("an answer").get::<_, i32>(0);
    assert_eq!(within(Duration::from_secs(30), ask).0, 7, "{way}");
    let mut client = pool.get().expect("a connection");
    let row = client.query_one("select count(*) from t", &[]).expect("a row");
    assert_eq!(row.get::<_, i64>(0), 0, "{way}: rows of an unfinished copy stand");
}

#[test]
fn a_copy_that_was_dropped_is_rolled_back_and_its_connection_kept() {
    let Some(stage) = Stage::new() else { return };
    for (url, _) in stage.urls() {
        let builder = Pool::builder().max_size(1).name(fresh_name("copying"));
        let pool = builder.build(Pg::new(url).driver()).expect("the server accepts");
        for _ in 0..3 {
            dropped(&mut pool.get().expect("a connection"));
        }
        let mut client = pool.get().expect("the same connection");
        let mut writer = began(&mut client);
        writer.write_all(b"6\n").expect("a row");
        assert_eq!(writer.finish().expect("the end"), 2);
        client.batch_execute("truncate t").expect("it runs");
        drop(client);
        assert_eq!((pool.snapshot().opened, pool.snapshot().closed()), (1, 0));
    }
}

#[test]
fn an_unfinished_copy_that_cannot_be_ended_closes_its_connection_as_dirty() {
    let Some(stage) = Stage::new() else { return };
    for (url, _) in stage.urls() {
        for leave in [forgotten as Leave, in_a_transaction] {
            let builder = Pool::builder().max_size(1).name(fresh_name("copying"));
            let pool = builder.build(Pg::new(url.clone()).driver()).expect("the server accepts");
            leave(&mut pool.get().expect("a connection"));
            assert_eq!(pool.snapshot().closed_by(CloseReason::Dirty), 1, "{}", pool.snapshot());
        }
    }
}

#[test]
fn an_unfinished_copy_reaches_no_other_borrower_without_a_reset_either() {
    let Some(mut stage) = Stage::new() else { return };
    for (url, name) in stage.urls() {
        for (way, leave) in WAYS.into_iter().filter(|(way, _)| !way.ends_with("of several")) {
            let builder = Pool::builder().max_size(1).reset(Reset::None);
            let pool = builder.build(Pg::new(url.clone()).driver()).expect("the server accepts");
            leave(&mut pool.get().expect("a connection"));
            assert_nothing_held(&mut stage.watcher, &name);
            assert_served(&pool, way);
        }
    }
}

#[test]
fn an_unfinished_copy_in_a_bare_r2d2_pool_leaves_no_lock_behind() {
    let Some(mut stage) = Stage::new() else { return };
    for ((url, name), (way, leave)) in
        stage.urls().into_iter().flat_map(|url| WAYS.map(|way| (url.clone(), way)))
    {
        let manager = Pool::builder().max_size(1).manager(Pg::new(url).driver()).expect("options");
        let pool = manager.builder().build(manager).expect("the server accepts");
        leave(&mut pool.get().expect("a connection"));
        assert_nothing_held(&mut stage.watcher, &name);
        let ask = || {
            let mut client = pool.get().expect("a connection");
            client.query_one("select 7", &[]).expect("an answer").get::<_, i32>(0)
        };
        assert_eq!(within(Duration::from_secs(30), ask).0, 7, "{way}");
    }
}
