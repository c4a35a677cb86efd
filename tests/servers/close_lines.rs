//! The log lines of closes that only a real server or kernel can cause; the others are in
//! `tests/it/log_texts.rs`.

use crate::variant::{Pg, Variant};
use poolwarden::{CloseReason, Pool, Postgres};
use std::time::Duration;
use support::logs::{self, Mark};
use support::postgres as pg;
use support::wait::eventually;

const SOON: Duration = Duration::from_secs(30);

/// Waits for the line of a pool's close for this reason; returns its level and text, without the
/// numbers that differ from run to run.
#[track_caller]
pub fn close_line(log: &Mark, pool: &str, reason: CloseReason) -> String {
    let find = || {
        let mut records = log.records_of("pool", pool).into_iter();
        records.find(|record| record.field("reason") == Some(reason.as_str()))
    };
    assert!(eventually(SOON, || find().is_some()), "no line of {reason}");
    let line = find().expect("it was just there");
    let (begin, end) = (format!("pool {pool}: lost connection "), " (age ");
    let text = line.message.strip_prefix(&begin).unwrap_or(&line.message);
    let text = text.trim_start_matches(|letter: char| letter.is_ascii_digit());
    let (text, rest) = text.split_once(end).unwrap_or((text, ""));
    let state = rest.rsplit_once(", ").map_or(rest, |(_, state)| state);
    let state = if state.starts_with("idle ") { "idle" } else { state.trim_end_matches(')') };
    format!("{}: {begin}<number>{text}{end}<time>, {state})", line.level)
}

fn expected(pool: &str, text: &str, state: &str) -> String {
    format!("WARN: pool {pool}: lost connection <number>: {text} (age <time>, {state})")
}

#[test]
fn a_query_over_a_limit_is_named_as_the_reason_of_the_close() {
    support::require!(postgres);
    let database = pg::shared().fresh_database();
    let log = logs::mark();
    let driver = || Pg::new(database.url()).driver();
    let rows = Pool::builder().max_size(1).row_limit(10).name("lines: rows").build(driver());
    let rows: Pool<Postgres> = rows.expect("a pool");
    let big = "select generate_series(1, 50000000)";
    rows.query(big, &[]).map(drop).expect_err("too many");
    let line = close_line(&log, rows.name(), CloseReason::RowLimit);
    assert_eq!(line, expected("lines: rows", "a query exceeded the row limit", "in use"));

    let bytes = Pool::builder().max_size(1).byte_limit(1_000).name("lines: bytes");
    let bytes: Pool<Postgres> = bytes.build(driver()).expect("a pool");
    bytes.query("select repeat('x', 1000000)", &[]).map(drop).expect_err("too large");
    let line = close_line(&log, bytes.name(), CloseReason::ByteLimit);
    assert_eq!(line, expected("lines: bytes", "a query exceeded the byte limit", "in use"));
}

#[test]
fn a_statement_that_no_cancel_has_ended_is_named_as_the_reason_of_the_close() {
    support::require!(postgres);
    let server = pg::Server::start();
    let log = logs::mark();
    let half = Duration::from_millis(500);
    let builder = Pool::builder().max_size(1).statement_timeout(half).cancel_timeout(half);
    let driver = Pg::new(server.url("postgres", "postgres")).driver();
    let pool: Pool<Postgres> = builder.name("lines: stopped").build(driver).expect("a pool");
    server.freeze();
    pool.query("select 1", &[]).map(drop).expect_err("the server is frozen");
    server.thaw();
    let line = close_line(&log, pool.name(), CloseReason::StatementTimeout);
    let text = "a statement kept running after its timeout, and was not cancelled";
    assert_eq!(line, expected("lines: stopped", text, "in use"));
}
