//! What `poolwarden watch` shows of a pool under its load, on real servers.

#[path = "../../src/bin/poolwarden/watch/activity.rs"]
mod activity;
#[path = "../../src/bin/poolwarden/watch/load.rs"]
mod load;
#[path = "../../src/bin/poolwarden/watch/picture.rs"]
mod picture;
#[path = "../../src/bin/poolwarden/watch/plain.rs"]
mod plain;
#[path = "../../src/bin/poolwarden/watch/server.rs"]
mod server;

use activity::{Activity, Closes};
use load::Load;
use picture::Picture;
use poolwarden::{MySql, Pool, Postgres};
use server::Server;
use std::sync::Arc;
use std::time::Duration;
use support::wait::eventually;
use support::{mariadb, postgres as pg};

const LONG: Duration = Duration::from_secs(60);

/// The load works, its sessions are ended and replaced, and all of it is in the picture.
fn is_watched<D: Server>(driver: impl Fn() -> D) {
    let activity = Arc::new(Activity::new());
    let builder = Pool::builder().max_size(2).checkout_timeout(LONG);
    let pool = builder.observer(Closes(Arc::clone(&activity))).build(driver()).expect("it opens");
    let control = Pool::builder().max_size(1).build_lazy(driver()).expect("the options agree");
    let load = Load::start(&pool, control, &activity);
    assert!(eventually(LONG, || pool.snapshot().checkouts > 10));
    load.terminate_sessions();
    assert!(eventually(LONG, || pool.snapshot().closed() > 0));
    let seen = || activity.events().iter().any(|line| line.contains("closed: "));
    assert!(eventually(LONG, seen), "{:?}", activity.events());
    load.exhaust();
    assert!(eventually(LONG, || {
        let names = pool.connections().into_iter().map(|one| one.to_string());
        names.filter(|text| text.contains("thread \"taker\"")).count() > 0
    }));
    load.hold_too_long();
    let lines = Picture::of(&pool, &activity).lines("keys").join("\n");
    for part in
        ["max size 2", "longest waits ", "last closes and errors", "closed: ", "[..........]"]
    {
        assert!(lines.contains(part), "no {part:?} in:\n{lines}");
    }
    assert!(lines.ends_with("\nkeys"));
    let mut written = Vec::new();
    plain::write(&mut written, &Picture::of(&pool, &activity), &activity.new_events())
        .expect("written");
    let written = String::from_utf8(written).expect("text");
    assert!(written.contains("closed: ") && written.contains(", longest wait "), "{written}");
    assert!(written.ends_with('\n') && activity.new_events().is_empty());
    drop(load);
    assert!(eventually(LONG, || pool.snapshot().levels.in_use == 0));
}

#[test]
fn a_pool_on_postgres_is_watched_under_its_load() {
    if !pg::available() {
        return;
    }
    let database = pg::shared().fresh_database();
    is_watched(|| Postgres::new(&database.url()).expect("a URL"));
}

#[test]
fn a_pool_on_mariadb_is_watched_under_its_load() {
    if !mariadb::available() {
        return;
    }
    let database = mariadb::shared().fresh_database();
    is_watched(|| MySql::new(&database.url()).expect("a URL"));
}
