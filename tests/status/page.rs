//! The status page as HTML.

use crate::text::{HOSTILE, sqlite};
use poolwarden::observe::status;
use poolwarden::{CloseReason, Pool, Postgres};
use std::thread;
use std::time::Duration;
use support::wait::eventually;

const READY: Duration = Duration::from_secs(20);

/// The part of the page about the pool of this name.
fn section(name: &str) -> String {
    let page = status::html();
    let heading = format!("<h2>{name}</h2>");
    let after = page.split(&heading).nth(1).unwrap_or_default();
    after.split("</section>").next().unwrap_or_default().to_owned()
}

#[track_caller]
fn shows(name: &str, text: &str) {
    let found = eventually(READY, || section(name).contains(text));
    assert!(found, "{text:?} is not shown: {}", section(name));
}

fn pool_on(database: &support::postgres::Database<'_>, name: &str) -> Pool<Postgres> {
    let driver = Postgres::new(&database.url()).expect("a driver");
    Pool::builder().name(name).max_size(2).build(driver).expect("a server")
}

#[test]
fn the_page_is_one_document_without_external_parts_and_readable_without_javascript() {
    let pool = sqlite("one document");
    let held = pool.get().expect("a connection");
    let page = status::html();
    assert!(page.starts_with("<!doctype html>"));
    for external in
        ["<link", "<img", "<script src", "<iframe", "url(", "@import", "http:", "https:"]
    {
        assert!(!page.contains(external), "{external}");
    }
    let own = section("one document");
    assert!(own.contains("<dt>in use</dt><dd>1</dd>"), "{own}");
    assert!(own.contains(&format!("{}:", file!())), "{own}");
    assert!(own.contains("serving"), "{own}");
    assert!(page.contains("prefers-color-scheme:dark"));
    drop(held);
}

#[test]
fn a_hostile_name_stays_text() {
    let pool = sqlite(HOSTILE);
    let page = status::html();
    assert!(!page.contains("<img"), "it became an element");
    assert!(page.contains("&lt;/script&gt;&lt;img src=x onerror=&quot;"), "{page}");
    drop(pool);
}

#[test]
fn a_killed_session_is_shown_with_the_servers_words() {
    if !support::postgres::available() {
        return;
    }
    let database = support::postgres::shared().fresh_database();
    let pool = pool_on(&database, "killed");
    database.terminate_all();
    shows("killed", "the server ended the session");
    shows("killed", "57P01");
    shows("killed", "max_connections");
    shows("killed", "Maximum size: ");
    drop(pool);
}

#[test]
fn an_exhausted_pool_is_shown_with_its_holders_and_those_who_wait() {
    if !support::postgres::available() {
        return;
    }
    let database = support::postgres::shared().fresh_database();
    let pool = pool_on(&database, "exhausted");
    let line = line!() + 1;
    let held = [(); 2].map(|()| pool.get().expect("a connection"));
    let sessions =
        database.backends().into_iter().map(|backend| format!("<td>{}</td>", backend.pid));
    sessions.for_each(|session| shows("exhausted", &session));
    thread::scope(|scope| {
        let waiting = scope.spawn(|| pool.get().map(drop));
        shows("exhausted", "saturated: 1 caller waits, the first for ");
        shows("exhausted", &format!("{}:{line}", file!()));
        drop(held);
        waiting.join().expect("no panic").expect("a connection");
    });
    shows("exhausted", "Longest wait in the last five minutes");
    shows("exhausted", "class=\"wait-bar\"");
}

#[test]
fn an_outage_is_shown_while_it_lasts_and_when_it_has_ended() {
    if !support::postgres::available() {
        return;
    }
    let server = support::postgres::Server::start();
    let pool = pool_on(&server.fresh_database(), "an outage");
    server.stop_fast();
    let fails = || pool.get_timeout(Duration::from_millis(100)).is_err();
    assert!(eventually(READY, fails));
    shows("an outage", "down: connecting has failed for ");
    shows("an outage", "connection refused");
    shows("an outage", "<td>now</td>");
    server.start_again();
    assert!(eventually(READY, || pool.get().is_ok()));
    shows("an outage", ">serving<");
    let now = section("an outage");
    assert!(now.contains("<h3>Outages</h3>") && !now.contains("<td>now</td>"), "{now}");
    assert!(pool.snapshot().closed_by(CloseReason::ServerShutdown) > 0);
}

#[test]
fn a_frozen_server_is_shown_by_those_who_wait_for_it() {
    if !support::postgres::available() {
        return;
    }
    let server = support::postgres::Server::start();
    let driver = Postgres::new(&server.fresh_database().url()).expect("a driver");
    let pool = Pool::builder().name("frozen").max_size(1).build(driver).expect("a server");
    let mut held = pool.get().expect("a connection");
    server.freeze();
    thread::scope(|scope| {
        let query = scope.spawn(move || held.batch_execute("select 1").is_ok());
        let waiting = scope.spawn(|| pool.get().is_ok());
        shows("frozen", "saturated: 1 caller waits, the first for ");
        shows("frozen", "in use for ");
        server.thaw();
        assert!(query.join().expect("no panic") && waiting.join().expect("no panic"));
    });
}
