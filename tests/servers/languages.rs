//! A server that speaks another language is understood: the texts of its messages are
//! localized, their codes and one of the two severities are not.

use crate::patience::patient_web;
use crate::variant::{Pg, Variant};
use poolwarden::{CloseReason, ErrorKind, Pool, Postgres, RetrySafety, Usability};
use std::time::Duration;
use support::language::Language;
use support::postgres as pg;
use support::wait::eventually;

fn on_each(test: impl Fn(&Pool<Postgres>, &pg::Database<'_>)) {
    if !pg::available() || !pg::translated() {
        return;
    }
    for language in Language::ALL {
        let server = pg::Server::with(|conf| {
            conf.messages(language);
        });
        let database = server.fresh_database();
        let pool = Pool::builder().max_size(1).build(Pg::new(database.url()).driver());
        test(&pool.expect("a pool"), &database);
    }
}

#[test]
fn a_commit_that_the_server_refuses_is_a_rollback_in_every_language() {
    on_each(|pool, _| {
        pool.batch_execute("create table t (n int unique deferrable initially deferred)")
            .expect("a table");
        let twice = pool.transaction(|tx| {
            tx.execute("insert into t values (1)", &[])?;
            tx.execute("insert into t values (1)", &[])?;
            Ok(())
        });
        let error = twice.expect_err("the constraint is checked at the commit");
        assert_eq!(error.kind(), ErrorKind::Driver, "{error}");
        let fault = error.fault();
        assert_eq!(fault.retry_safety(), RetrySafety::Permanent, "{error}");
        assert_eq!(fault.connection(), Usability::Usable, "{error}");
        assert!(pool.query("select n from t", &[]).expect("rows").is_empty());
        assert_eq!(pool.snapshot().closed(), 0, "{}", pool.snapshot());
    });
}

#[test]
fn a_serialization_failure_at_the_commit_is_retried_in_every_language() {
    on_each(|pool, _| {
        pool.batch_execute(
            "create table t (n int); create sequence tries;
             create function fail_once() returns trigger language plpgsql as $$
             begin
               if nextval('tries') = 1 then
                 raise exception 'no' using errcode = 'serialization_failure';
               end if;
               return null;
             end $$;
             create constraint trigger c after insert on t deferrable initially deferred
               for each row execute function fail_once()",
        )
        .expect("a trigger");
        let attempts = pool.transaction_with(patient_web(), |tx, attempt| {
            tx.execute("insert into t values (1)", &[])?;
            Ok(attempt)
        });
        assert_eq!(attempts.expect("the second one commits"), 2);
        assert_eq!(pool.query("select n from t", &[]).expect("rows").len(), 1);
        assert_eq!(pool.snapshot().closed(), 0, "{}", pool.snapshot());
    });
}

#[test]
fn the_end_of_a_session_is_recognized_in_every_language() {
    on_each(|pool, database| {
        let mut client = pool.get().expect("a connection");
        let ended = client.batch_execute("select pg_terminate_backend(pg_backend_pid())");
        let error = ended.expect_err("the session has ended");
        drop(client);
        let fault = poolwarden::fault_of(&error);
        assert_eq!(fault.connection(), Usability::Broken, "{error:?}");
        let books = pool.snapshot();
        assert_eq!(books.closed_by(CloseReason::ServerShutdown), 1, "{books}");
        drop(pool.get().expect("another connection"));
        database.terminate_all();
        let is_gone = || database.backends().is_empty();
        assert!(eventually(Duration::from_secs(10), is_gone));
        pool.query("select 1", &[]).expect("on a third connection");
        let books = pool.snapshot();
        assert_eq!(books.closed_by(CloseReason::ServerShutdown), 2, "{books}");
    });
}
