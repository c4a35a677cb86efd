//! A forked child that uses an inherited connection all the same.

use crate::variant::{Pg, Variant};
use poolwarden::Pool;
use support::forked::succeeds_in_child;
use support::postgres as pg;
use support::shortage::in_child_with;

#[test]
fn a_child_that_uses_a_postgres_guard_gets_an_error_and_the_parents_session_goes_on() {
    support::require!(postgres);
    in_child_with(
        || pg::shared().fresh_database().url(),
        |_, url| {
            let pool = Pool::builder().max_size(1).build(Pg::new(url.into()).driver());
            let mut conn = pool.expect("the server is there").get().expect("a connection");
            conn.batch_execute("create temp table mine (n int); begin").expect("a transaction");
            let is_well = succeeds_in_child(|| {
                let outcome = conn.batch_execute("rollback; drop table mine");
                assert!(outcome.is_err(), "the session is the parent's");
            });
            assert!(is_well);
            conn.batch_execute("insert into mine values (1); commit").expect("as it was");
            let rows = conn.query("select n from mine", &[]).expect("rows");
            assert_eq!(rows.len(), 1);
        },
    );
}
