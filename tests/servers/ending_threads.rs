//! Calls on a thread that is ending: from the destructor of a thread-local.

use crate::variant::{Variant, shared_my, shared_pg};
use poolwarden::driver::Driver;
use poolwarden::{Error, ErrorKind, MySql, Pool, Postgres};
use std::cell::RefCell;
use std::thread;

struct AtEnd(Option<Box<dyn FnOnce()>>);

impl Drop for AtEnd {
    fn drop(&mut self) {
        self.0.take().into_iter().for_each(|call| call());
    }
}

thread_local! {
    static AT_END: RefCell<AtEnd> = const { RefCell::new(AtEnd(None)) };
}

/// Calls this where the thread-locals that the thread used later are destroyed: destructors
/// run in the reverse order of the first uses.
fn on_an_ending_thread<D: Driver, T: Send + 'static>(
    pool: &Pool<D>,
    before: impl FnOnce(&Pool<D>) + Send + 'static,
    call: impl FnOnce(&Pool<D>) -> T + Send + 'static,
) -> T {
    let (sender, receiver) = std::sync::mpsc::channel();
    let pool = pool.clone();
    let thread = thread::spawn(move || {
        let own = pool.clone();
        let at_end = move || sender.send(call(&own)).expect("the test waits");
        AT_END.with(|cell| cell.borrow_mut().0 = Some(Box::new(at_end)));
        before(&pool);
    });
    thread.join().expect("no panic");
    receiver.recv().expect("it was called")
}

fn assert_refused(error: &Error) {
    assert_eq!(error.kind(), ErrorKind::AsyncContext, "{error}");
    assert!(error.to_string().contains("cannot be used on a thread that is ending"), "{error}");
}

#[test]
fn postgres_refuses_a_thread_that_is_ending_instead_of_a_panic() {
    let Some((variant, _database)) = shared_pg() else { return };
    let pool = Pool::builder().max_size(1).build(variant.driver()).expect("a pool");
    let ask = |pool: &Pool<Postgres>| drop(pool.query("select 1", &[]).expect("an answer"));
    let query = |pool: &Pool<Postgres>| pool.query("select 1", &[]).map(drop);
    assert_refused(&on_an_ending_thread(&pool, ask, query).expect_err("the driver would panic"));
    let get = |pool: &Pool<Postgres>| pool.get().map(drop);
    assert_refused(&on_an_ending_thread(&pool, ask, get).expect_err("the driver would panic"));
    assert!(on_an_ending_thread(&pool, ask, |pool| pool.try_get().is_none()));
    ask(&pool);
    assert_eq!(pool.snapshot().panics, 0);
    assert_eq!(pool.snapshot().closed(), 0, "{}", pool.snapshot());
}

#[test]
fn a_guard_that_is_dropped_on_a_thread_that_is_ending_is_reset_elsewhere() {
    let Some((variant, _database)) = shared_pg() else { return };
    let pool = Pool::builder().max_size(1).build(variant.driver()).expect("a pool");
    let mut guard = pool.get().expect("it opens");
    guard.batch_execute("begin; set application_name to 'left'").expect("a transaction");
    let use_runtime = |_: &Pool<Postgres>| {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {});
    };
    on_an_ending_thread(&pool, use_runtime, move |_| drop(guard));
    let row = pool.query_one("show application_name", &[]).expect("a row");
    assert_ne!(row.get::<_, String>(0), "left");
    assert_eq!(pool.snapshot().panics, 0);
}

#[test]
fn mysql_serves_a_thread_that_is_ending() {
    let Some((variant, _database)) = shared_my() else { return };
    let pool = Pool::builder().max_size(1).build(variant.driver()).expect("a pool");
    let ask = |pool: &Pool<MySql>| drop(pool.query::<u8>("select 1").expect("an answer"));
    let query = |pool: &Pool<MySql>| pool.query::<u8>("select 1");
    assert_eq!(on_an_ending_thread(&pool, ask, query).expect("an answer"), [1]);
}
