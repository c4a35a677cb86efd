//! The doctor's page on real servers.

#[path = "../../src/bin/poolwarden/doctor/mod.rs"]
mod program;

use crate::limits::{only_session_of_mariadb, only_session_of_postgres};
use crate::variant::{My, Pg, Variant};
use poolwarden::{Pool, SizePolicy};
use program::url::without_password;
use std::time::Duration;
use support::pgbouncer::{Bouncer, Mode};
use support::{mariadb, pgbouncer, port, postgres as pg, wait};

/// Examines a server, and checks that the page and the JSON say the same.
fn examine(url: &str, instances: u32) -> Result<String, String> {
    let report = program::examine(url, instances)?;
    let (page, json) = (report.to_string(), report.to_json());
    #[cfg(feature = "serde")]
    assert_same(&page, &serde_json::from_str(&json).expect("JSON"));
    assert!(page.ends_with('\n') && json.starts_with('{'), "{json}");
    Ok(page)
}

#[cfg(feature = "serde")]
fn assert_same(page: &str, json: &serde_json::Value) {
    let sections = json["sections"].as_array().expect("sections");
    assert_eq!(sections.len(), 6);
    for section in sections {
        assert!(page.contains(section["title"].as_str().expect("a title")));
        for row in section["rows"].as_array().expect("rows") {
            let parts = ["label", "text"].map(|key| row[key].as_str().expect("a text"));
            assert!(parts.iter().all(|part| page.contains(part)), "{row} in:\n{page}");
        }
    }
}

/// Examines the server within a time that a user would wait.
fn page(url: &str, instances: u32) -> String {
    let (page, _) = wait::within(Duration::from_secs(20), || examine(url, instances));
    page.unwrap_or_else(|text| panic!("{text}"))
}

/// Asserts that the page has these lines, with any blanks between the words.
#[track_caller]
fn assert_lines(page: &str, lines: &[&str]) {
    let reduce = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let squeezed: Vec<String> = page.lines().map(reduce).collect();
    for line in lines {
        assert!(squeezed.iter().any(|there| there.starts_with(line)), "no {line:?} in:\n{page}");
    }
}

/// Returns the effective max size of a pool with the policy that the page recommends.
fn own_cap<F: Variant>(variant: &F, instances: u32) -> u32 {
    let builder = Pool::builder().size_policy(SizePolicy::PerInstance { instances });
    builder.build(variant.driver()).expect("the server accepts").snapshot().levels.max_size
}

#[test]
fn the_doctors_page_is_right_on_a_default_postgres() {
    if !pg::available() {
        return;
    }
    let server = pg::Server::start();
    let database = server.fresh_database();
    let other = only_session_of_postgres(&server);
    let page = page(&database.url(), 4);
    assert_lines(
        &page,
        &[
            "product PostgreSQL 1",
            "TLS no",
            "behind a pooler no",
            "max_connections 100",
            "- reserved 3 not for this role",
            "- head room 10 for administrators",
            "- others 1 held now by other roles",
            "= left 86",
            "= for each 21 of 4 instances",
            "1 postgres, state not visible",
            &format!("1 {}, poolwarden doctor, active", database.user()),
            "idle session none known",
            "ping",
            "peek",
            "max_size 10, the default: 4 x 10 of 86.",
            "max_lifetime 30 min, the default",
            "idle_timeout 10 min, the default",
        ],
    );
    assert_eq!(own_cap(&Pg::new(database.url()), 4), 21);
    drop(other);
}

#[test]
fn the_doctors_recommendation_follows_role_limits_and_short_timeouts() {
    if !pg::available() {
        return;
    }
    let server = pg::Server::with(|conf| {
        conf.set("idle_session_timeout", "1min").set("max_connections", "50");
    });
    server.sql("postgres", "CREATE ROLE few LOGIN CONNECTION LIMIT 9");
    let url = server.url("few", "postgres");
    let some = page(&url, 3);
    assert_lines(
        &some,
        &[
            "limit of role 9",
            "= for each 3 of 3 instances",
            "idle session 1 min",
            "max_size 3: 3 x 3 of 9",
            "size_policy(SizePolicy::PerInstance { instances: 3 })",
            "max_lifetime 54 s: below the server's 1 min",
            "idle_timeout 54 s: below the server's 1 min",
        ],
    );
    assert_lines(&page(&url, 10), &["max_size 1, and 10 instances are more than the 9"]);
}

#[test]
fn the_doctors_page_is_right_on_a_default_mariadb() {
    if !mariadb::available() {
        return;
    }
    let server = mariadb::Server::start();
    let database = server.fresh_database();
    let other = only_session_of_mariadb(&server);
    let page = page(&database.url(), 2);
    assert_lines(
        &page,
        &[
            &format!("product {}", mariadb::product()),
            "max_connections 151",
            "- reserved 0",
            "- head room 16",
            "- others 1",
            "= left 134",
            "= for each 67 of 2 instances",
            &format!("1 {0}, {0}, Query", database.user()),
            "1 not visible to this role",
            "idle session 8 h",
            "max_size 10, the default: 2 x 10 of 134.",
            "idle_timeout 10 min, the default: below the server's 8 h",
        ],
    );
    assert!(!page.contains("app@") && page.contains(":***@"), "{page}");
    // The page's own session may still be ending.
    let only = || server.processlist().len() == 1;
    assert!(wait::eventually(Duration::from_secs(10), only), "{:?}", server.processlist());
    assert_eq!(own_cap(&My::new(database.url()), 2), 67);
    drop(other);
}

#[test]
fn behind_a_pooler_the_doctor_reports_the_pooling_mode_and_the_unknown_limits() {
    if !pgbouncer::available() {
        return;
    }
    let database = pg::shared().fresh_database();
    for (mode, shown) in [
        (Mode::Session, "pooling mode session, probably"),
        (Mode::Transaction, "pooling mode transaction"),
    ] {
        let bouncer = Bouncer::start(pg::shared(), mode);
        let page = page(&bouncer.url(database.user(), database.name()), 2);
        assert_lines(
            &page,
            &[
                "behind a pooler yes",
                shown,
                "not known: the pooler's limits apply",
                "max_size 10, the default; 2 x max_size must fit into the pooler's max_client_conn",
                "proxy_idle_timeout pgbouncer's client_idle_timeout",
            ],
        );
        assert!(!page.contains("max_connections"), "{page}");
    }
}

#[test]
fn a_pooler_without_a_second_session_is_reported_without_a_wait() {
    if !pgbouncer::available() {
        return;
    }
    let database = pg::shared().fresh_database();
    let bouncer = Bouncer::with(pg::shared(), Mode::Session, |conf| {
        conf.set("default_pool_size", "1");
    });
    let page = page(&bouncer.url(database.user(), database.name()), 1);
    assert_lines(&page, &["pooling mode not known: a second client got no session"]);
}

#[test]
fn the_doctors_error_is_one_paragraph_of_advice_without_the_password() {
    if !pg::available() || !mariadb::available() {
        return;
    }
    let server = pg::Server::with(|conf| {
        conf.hba("host all picky 127.0.0.1/32 scram-sha-256");
    });
    server.sql("postgres", "CREATE ROLE picky LOGIN PASSWORD 'right'");
    let (pg_port, my_port) = (server.port(), mariadb::shared().port());
    let closed = port::unused();
    let cases = [
        (format!("postgres://u:hushhush@127.0.0.1:{closed}/d"), "Check that the server runs"),
        (format!("mysql://u:hushhush@127.0.0.1:{closed}/d"), "Check that the server runs"),
        (format!("postgres://picky:hushhush@127.0.0.1:{pg_port}/postgres"), "Check user and pass"),
        (format!("mysql://app:hushhush@127.0.0.1:{my_port}/mysql"), "Check user and password"),
        (format!("postgres://postgres@127.0.0.1:{pg_port}/nosuch"), "Check the database's name"),
        (format!("mysql://app:app@127.0.0.1:{my_port}/nosuch"), "Check the database's name"),
        ("postgres://u:hushhush@h/d?sslmode=allow".into(), "Check the URL"),
        ("oracle://u:hushhush@h/d".into(), "expected postgres://"),
    ];
    for (url, advice) in cases {
        let (answer, _) = wait::within(Duration::from_secs(20), || examine(&url, 1));
        let text = answer.expect_err("there is no such server");
        assert!(text.contains(advice), "{url}: {text}");
        assert!(!text.contains("hushhush") && text.lines().count() <= 2, "{text}");
    }
}

#[test]
fn a_url_is_shown_without_its_password() {
    let table = [
        ("postgres://app:secret@db:5432/app", "postgres://app:***@db:5432/app"),
        ("postgres://app:se@cret@db/app?sslmode=prefer", "postgres://app:***@db/app"),
        ("postgres://app@db", "postgres://app@db"),
        ("mysql://db:3306/app", "mysql://db:3306/app"),
        ("postgres://app:secret@[::1]:5432/app", "postgres://app:***@[::1]:5432/app"),
        ("postgres://app:se/cret@db/app", "postgres://***"),
        ("postgres://app:se?cret@db/app", "postgres://***"),
        ("postgres://app:secret", "postgres://***"),
        ("postgres://db/app?password=secret", "postgres://db/app"),
        ("postgres://db/app?password=sec@ret", "postgres://***"),
        ("host=db password=secret", "keys and values"),
    ];
    for (url, shown) in table {
        assert_eq!(without_password(url), shown);
    }
}
