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
    examine_behind(url, instances, None)
}

fn examine_behind(url: &str, instances: u32, proxy: Option<&str>) -> Result<String, String> {
    let report = program::examine(url, instances, proxy)?;
    let (page, json) = (report.to_string(), report.to_json());
    #[cfg(feature = "serde")]
    assert_same(&page, &serde_json::from_str(&json).expect("JSON"));
    assert!(page.ends_with('\n') && json.starts_with('{'), "{json}");
    Ok(page)
}

#[cfg(feature = "serde")]
fn assert_same(page: &str, json: &serde_json::Value) {
    let sections = json["sections"].as_array().expect("sections");
    assert!((6..=7).contains(&sections.len()));
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

/// Examines until the page has this text: on a loaded computer the server, or pgbouncer's
/// console, may not answer in time for the page.
fn page_with(text: &str, url: &str, instances: u32) -> String {
    let has_text = |page: &String| {
        page.lines()
            .any(|line| line.split_whitespace().collect::<Vec<_>>().join(" ").contains(text))
    };
    let mut pages =
        (0..10).map(|_| examine(url, instances).unwrap_or_else(|text| panic!("{text}")));
    pages.find(has_text).unwrap_or_else(|| page(url, instances))
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
        let url = bouncer.url(database.user(), database.name());
        let page = page_with(shown, &url, 2);
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
        assert_lines(&page, &["not shown to this role: name it in pgbouncer's stats_users"]);
    }
}

#[test]
fn of_a_pgbouncer_that_answers_this_role_the_doctor_explains_the_settings() {
    if !pgbouncer::available() {
        return;
    }
    let bouncer = Bouncer::with(pg::shared(), Mode::Transaction, |conf| {
        conf.set("client_idle_timeout", "90").set("query_wait_timeout", "20");
        conf.set("server_lifetime", "1800").set("query_timeout", "0");
    });
    let page = page_with("pool_mode", &bouncer.url("postgres", "postgres"), 3);
    assert_lines(
        &page,
        &[
            "pool_mode transaction a session for each transaction",
            "max_client_conn",
            "client_idle_timeout 90 set proxy_idle_timeout to 90 s",
            "query_wait_timeout 20 a statement that gets no session for 20 s fails",
            "server_idle_timeout",
            "server_lifetime 1800 for sessions between two transactions: ends no connection",
        ],
    );
    assert!(page.contains("3 x max_size must fit in"), "{page}");
    assert!(!page.contains("query_timeout 0"), "{page}");
}

const HAPROXY: &str = "
global
    maxconn 1000
defaults
    mode tcp
    timeout client 50s
    timeout server 1m # of all
frontend web
    bind *:8080
    default_backend pages
frontend db
    bind 127.0.0.1:5432,[::1]:5433
    default_backend postgres
backend pages
    timeout server 5s
backend postgres
    timeout server 40000
listen tunnel
    bind :6432
    timeout tunnel 2h
listen none
    bind :7432
    timeout client 0
    timeout server 0
";

#[test]
fn the_timeouts_of_a_haproxy_are_read_from_its_file() {
    use program::haproxy::rows;
    let text = |port| -> Vec<String> {
        let rows = rows(HAPROXY, port).into_iter();
        rows.map(|(label, text)| format!("{label} {text}").trim().to_owned()).collect()
    };
    for port in [5432, 5433] {
        let expected = [
            "frontend db, port 5432, 5433",
            "timeout client 50 s",
            "timeout server 40 s",
            "proxy_idle_timeout 40 s: set it in the pool, or a keepalive_ping below it",
        ];
        assert_eq!(text(port), expected);
    }
    let last = |port| text(port).pop().expect("a row");
    assert!(last(6432).starts_with("proxy_idle_timeout 7200 s:"), "{:?}", text(6432));
    assert!(last(7432).starts_with("proxy_idle_timeout not needed"), "{:?}", text(7432));
    // None listens there: all are shown.
    assert_eq!(text(1).iter().filter(|row| row.contains(", port ")).count(), 4);
    assert_eq!(rows("global\n  maxconn 1\n", 1).len(), 1);
}

#[test]
fn the_doctors_page_has_the_timeouts_of_a_haproxy() {
    if !pg::available() {
        return;
    }
    let database = pg::shared().fresh_database();
    let text = format!("listen db\n  bind :{}\n  timeout client 30s\n", pg::shared().port());
    let page = examine_behind(&database.url(), 1, Some(&text)).expect("it answers");
    assert_lines(&page, &["haproxy", "proxy_idle_timeout 30 s"]);
}

#[test]
fn another_database_of_the_same_url_has_all_else_in_common() {
    use program::url::{port, with_database};
    let table = [
        ("postgres://u:p@h:6432/app?sslmode=require", "postgres://u:p@h:6432/x?sslmode=require"),
        ("postgres://h", "postgres://h/x"),
        ("postgres://h?a=b", "postgres://h/x?a=b"),
    ];
    for (url, expected) in table {
        assert_eq!(with_database(url, "x").as_deref(), Some(expected));
    }
    assert_eq!(with_database("host=h", "x"), None);
    assert_eq!([port("postgres://u:1@h:6432/d"), port("postgres://h/d")], [Some(6432), None]);
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
        let said = ["password authentication failed", "\"nosuch\" does not exist", "Access denied"];
        assert!(said.iter().all(|words| text.matches(words).count() <= 1), "{text}");
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
