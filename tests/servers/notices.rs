//! The server's notices reach the callback, and a panic in it affects no other caller.

use poolwarden::{Pool, Postgres};
use std::sync::mpsc;
use support::{logs, postgres as pg};

const RAISE: &str = "do $$ begin raise notice 'the tide is high'; end $$";

#[test]
fn notices_reach_the_callback_over_tcp_and_over_a_unix_socket() {
    if !pg::available() {
        return;
    }
    let database = pg::shared().fresh_database();
    for url in [database.url(), database.unix_url()] {
        let (heard, notices) = mpsc::channel();
        let driver = Postgres::new(&url).expect("a URL").with_notice_callback(move |notice| {
            let said = (notice.severity().to_owned(), notice.message().to_owned());
            let _ = heard.send(said);
        });
        let pool = Pool::builder().max_size(1).build(driver).expect("a server");
        pool.batch_execute(RAISE).expect("it runs");
        let said = notices.try_iter().collect::<Vec<_>>();
        assert_eq!(said, [("NOTICE".to_owned(), "the tide is high".to_owned())]);
    }
}

#[test]
fn a_notice_callback_that_panics_loses_only_that_notice() {
    if !pg::available() {
        return;
    }
    let database = pg::shared().fresh_database();
    let log = logs::mark();
    let driver = Postgres::new(&database.url()).expect("a URL");
    let driver = driver.with_notice_callback(|_| panic!("at a notice"));
    let pool = Pool::builder().max_size(1).build(driver).expect("a server");
    for _ in 0..3 {
        pool.batch_execute(RAISE).expect("it runs");
        pool.get().expect("a connection").batch_execute(RAISE).expect("it runs");
    }
    let books = pool.snapshot();
    assert_eq!((books.opened, books.closed()), (1, 0), "{books}");
    let lines = log.records();
    let reported = lines.iter().filter(|line| line.message.contains("notice callback")).count();
    assert_eq!(reported, 1, "{lines:#?}");
}
