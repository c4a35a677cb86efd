//! The programs of `examples` that need a server: what a job and a tool return, by exit code.

#[expect(dead_code, reason = "only its main function uses the rest")]
#[path = "../../examples/cli_tool.rs"]
mod cli_tool;
#[expect(dead_code, reason = "only its main function uses the rest")]
#[path = "../../examples/cron_job.rs"]
mod cron_job;

use std::thread;
use std::time::Duration;
use support::wait::within;
use support::{port, postgres as pg};

const LONG: Duration = Duration::from_secs(60);

/// The servers of the tests do not write a commit immediately, unless told to: an immediate
/// stop would lose the table.
const ORDERS: &str = "begin;
    set local synchronous_commit = on;
    create table orders (name text, made timestamptz default now());
    insert into orders values ('tea', now() - interval '2 years'), ('tea', now()), ('bread', now());
    commit";

/// Runs a text as the job's own user.
fn create(database: &pg::Database<'_>, sql: &str) {
    let owner = postgres::Client::connect(&database.url(), postgres::NoTls);
    owner.expect("the server accepts").batch_execute(sql).expect("done");
}

/// What cron's caller sees: 0 with the number of orders, or the exit code of the error.
fn run(url: &str, patience: Duration) -> Result<u64, u8> {
    cron_job::delete_old_orders(url, patience).map_err(|error| cron_job::exit_code(&error))
}

#[test]
fn the_job_does_its_work_once_and_says_so() {
    support::require!(postgres);
    let database = pg::shared().fresh_database();
    create(&database, ORDERS);
    assert_eq!(run(&database.url(), LONG), Ok(1));
    assert_eq!(run(&database.url(), LONG), Ok(0));
}

#[test]
fn the_job_waits_through_a_restart_of_the_server() {
    support::require!(postgres);
    let server = pg::Server::start();
    let database = server.fresh_database();
    create(&database, ORDERS);
    server.stop_immediate();
    let deleted = thread::scope(|scope| {
        let job = scope.spawn(|| run(&database.url(), LONG));
        // It has been refused by then, or it begins while the server starts: both are right.
        thread::sleep(Duration::from_millis(300));
        server.start_again();
        assert!(server.wait_ready(LONG));
        job.join().expect("no panic")
    });
    assert_eq!(deleted, Ok(1));
}

#[test]
fn the_job_has_an_exit_code_for_each_kind_of_end() {
    support::require!(postgres);
    let database = pg::shared().fresh_database();
    let short = Duration::from_millis(300);
    assert_eq!(run("postgres://h/d?pool_max_size=many", short), Err(78));
    assert_eq!(run("mysql://h/d", short), Err(78));
    let away = format!("postgres://u@127.0.0.1:{}/d", port::unused());
    assert_eq!(run(&away, short), Err(75));
    // There is no table.
    assert_eq!(run(&database.url(), LONG), Err(1));
}

/// Ends the session in the middle of the commit of a delete.
const ENDS_IN_COMMIT: &str = "
    create function ends() returns trigger language plpgsql as
        'begin perform pg_terminate_backend(pg_backend_pid()); perform pg_sleep(60); end';
    create constraint trigger ends after delete on orders deferrable initially deferred
        for each row execute function ends()";

#[test]
fn a_job_that_is_cut_off_in_its_commit_says_that_it_may_have_been_done() {
    support::require!(postgres);
    let database = pg::shared().fresh_database();
    create(&database, ORDERS);
    create(&database, ENDS_IN_COMMIT);
    assert_eq!(run(&database.url(), LONG), Err(70));
}

#[test]
fn the_tool_answers_and_its_error_names_what_to_change() {
    support::require!(postgres);
    let database = pg::shared().fresh_database();
    create(&database, ORDERS);
    assert_eq!(cli_tool::orders(&database.url(), "tea").expect("it answers"), 2);
    let wrong = "postgres://u:hushhush@h/d?sslmode=hushhush";
    let error = cli_tool::orders(wrong, "tea").expect_err("it is wrong").to_string();
    assert!(error.contains("sslmode") && !error.contains("hushhush"), "{error}");
    let away = format!("postgres://u:hushhush@127.0.0.1:{}/d", port::unused());
    let (error, _) = within(LONG, || cli_tool::orders(&away, "tea"));
    let error = error.expect_err("nobody listens").to_string();
    assert!(error.contains("refused") && !error.contains("hushhush"), "{error}");
}
