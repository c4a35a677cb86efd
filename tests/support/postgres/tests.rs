use super::*;
use crate::language::Language;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Child, Stdio};
use std::time::Instant;

const SOON: Duration = Duration::from_secs(10);

fn answer(server: &Server) -> String {
    server.sql("postgres", "SELECT 40 + 2")[0][0].clone()
}

/// Holds a backend open; its name is the `application_name`.
fn client(server: &Server, name: &str) -> Child {
    let mut psql = server.psql();
    psql.env("PGAPPNAME", name).args(["-XqAt", "-U", "postgres"]);
    let child = psql.stdin(Stdio::piped()).spawn().expect("psql starts");
    assert!(eventually(SOON, || server.backends(name).len() == 1));
    child
}

#[test]
fn rows_are_returned_unchanged() {
    crate::require!(postgres);
    let rows = shared().sql("postgres", "SELECT 'a|b', E'two\\nlines', NULL; SELECT 1; SELECT 2");
    assert_eq!(rows, [vec!["a|b", "two\nlines", ""], vec!["1"], vec!["2"]]);
}

#[test]
fn a_failed_statement_panics_with_the_servers_message() {
    crate::require!(postgres);
    let failed = catch_unwind(|| shared().sql("postgres", "SELECT nosuch"));
    let message = failed.expect_err("it must panic");
    let message = message.downcast_ref::<String>().expect("the message is formatted");
    assert!(message.contains("column \"nosuch\" does not exist"), "{message}");
}

#[test]
fn settings_and_access_rules_are_taken() {
    crate::require!(postgres);
    let server = Server::with(|conf| {
        conf.set("work_mem", "7MB").hba("local all locked reject");
    });
    assert_eq!(server.sql("postgres", "SHOW work_mem"), [["7MB"]]);
    server.sql("postgres", "CREATE ROLE locked LOGIN");
    let mut psql = server.psql();
    let output = psql.args(["-XU", "locked", "postgres"]).output().expect("psql starts");
    assert!(String::from_utf8_lossy(&output.stderr).contains("pg_hba.conf rejects"));
    assert!(server.log_text().contains("ready to accept connections"));
}

#[test]
fn after_every_kind_of_stop_the_server_restarts_with_its_data() {
    crate::require!(postgres);
    let server = Server::start();
    let port = server.port();
    server.sql("postgres", "CREATE TABLE kept (n int); INSERT INTO kept VALUES (7); CHECKPOINT");
    for stop in [Server::stop_fast, Server::stop_immediate, Server::kill9_postmaster] {
        stop(&server);
        assert!(server.wait_stopped(Duration::ZERO));
        assert!(!server.wait_ready(Duration::ZERO));
        server.start_again();
        assert!(server.wait_ready(SOON));
        assert_eq!(server.sql("postgres", "SELECT n FROM kept"), [["7"]]);
    }
    server.restart_fast();
    assert_eq!((answer(&server).as_str(), server.port()), ("42", port));
}

#[test]
fn a_smart_stop_waits_for_the_last_client() {
    crate::require!(postgres);
    let server = Server::start();
    let mut client = client(&server, "last");
    server.stop_smart();
    assert!(!server.wait_stopped(Duration::from_millis(200)));
    drop(client.stdin.take());
    client.wait().expect("psql is our child");
    assert!(server.wait_stopped(SOON));
}

#[test]
fn a_frozen_server_answers_no_client_until_thawed() {
    crate::require!(postgres);
    let server = Server::start();
    server.freeze();
    assert!(!server.wait_ready(Duration::ZERO));
    server.thaw();
    assert!(server.wait_ready(SOON));
    server.freeze_postmaster_only();
    assert!(!server.wait_ready(Duration::ZERO));
    // The drop must handle a frozen server too.
}

#[test]
fn backends_are_listed_frozen_terminated_and_killed() {
    crate::require!(postgres);
    let server = Server::start();
    let mut one = client(&server, "one");
    let mut two = client(&server, "two");
    let backend = server.backends("one").remove(0);
    server.freeze_backend(backend.pid);
    assert_eq!(server.backends("one").len(), 1);
    assert!(backend.age_ms < 10_000);
    server.thaw();
    assert_eq!(server.terminate_all("one"), 1);
    assert!(server.backends("one").is_empty());
    server.kill9_backend(server.backends("two")[0].pid);
    assert!(server.wait_ready(SOON));
    assert!(server.backends("two").is_empty());
    for client in [&mut one, &mut two] {
        drop(client.stdin.take());
        client.wait().expect("psql is our child");
    }
}

#[test]
fn each_test_has_a_database_of_its_own() {
    crate::require!(postgres);
    let (one, two) = (shared().fresh_database(), shared().fresh_database());
    one.sql("CREATE TABLE mine ()");
    assert!(two.sql("SELECT 1 FROM pg_tables WHERE tablename = 'mine'").is_empty());
    assert!(one.backends().is_empty());
    shared().create_database("named \"so\"");
    assert_eq!(shared().sql("named \"so\"", "SELECT 1"), [["1"]]);
}

/// The key and the id of a segment of shared memory.
///
/// Both together: another server's segment may get one of them later on.
type Segment = (i32, i32);

/// Reads a key and an id, whether they were written with a sign or without.
fn segment_in(line: &str) -> Option<Segment> {
    let mut numbers = line.split_whitespace().map_while(|word| word.parse::<i128>().ok());
    Some((numbers.next()? as i32, numbers.next()? as i32))
}

fn segment_of(server: &Server) -> Segment {
    // PostgreSQL 15, miscadmin.h: line 7 of postmaster.pid.
    let lock = fs::read_to_string(server.lock_file()).expect("the server wrote it");
    lock.lines().nth(6).and_then(segment_in).expect("a key and an id")
}

fn segment_exists(segment: Segment) -> bool {
    // "sysvipc(5)": a line of headings, then a line for each segment.
    let list = fs::read_to_string("/proc/sysvipc/shm").expect("/proc is mounted");
    list.lines().filter_map(segment_in).any(|one| one == segment)
}

#[test]
fn a_dropped_server_leaves_no_process_folder_or_segment() {
    crate::require!(postgres);
    for end in [|_: &Server| (), Server::freeze, Server::kill9_postmaster] {
        let server = Server::start();
        let (folder, pid) = (server.folder.clone(), server.daemon.pid());
        let children = process::children_of(pid);
        let segment = segment_of(&server);
        assert!(segment_exists(segment), "{segment:?} of a running server");
        end(&server);
        drop(server);
        assert!(process::vanished(pid));
        assert!(eventually(SOON, || children.iter().all(|child| process::ended(*child))));
        assert!(!folder.exists());
        assert!(!segment_exists(segment), "{segment:?} was left behind");
    }
}

#[cfg(feature = "postgres")]
#[test]
fn the_driver_connects_by_tcp_and_by_unix_socket() {
    crate::require!(postgres);
    let db = shared().fresh_database();
    for url in [db.url(), db.unix_url(), db.url_via(shared().port())] {
        let mut client = ::postgres::Client::connect(&url, ::postgres::NoTls).expect("it connects");
        let row = client.query_one("SELECT current_user::text", &[]).expect("it answers");
        assert_eq!(row.get::<_, String>(0), db.user());
        assert_eq!(db.backends().len(), 1);
        assert_eq!(db.backends()[0].state, "idle");
        assert_eq!(db.terminate_all(), 1);
    }
}

#[cfg(feature = "postgres")]
#[test]
fn the_driver_stays_behind_a_proxy() {
    crate::require!(postgres);
    let db = shared().fresh_database();
    let proxy = crate::proxy::Proxy::to_port(shared().port());
    let url = db.url_via(proxy.port());
    let mut client = ::postgres::Client::connect(&url, ::postgres::NoTls).expect("it connects");
    assert_eq!((proxy.live(), db.backends().len()), (1, 1));
    proxy.apply(&crate::proxy::Fault::Rst);
    assert!(client.simple_query("").is_err());
    assert!(eventually(SOON, || db.backends().is_empty()));
}

#[test]
#[ignore = "a measurement: run it alone, with --nocapture"]
fn print_how_long_a_start_takes() {
    crate::require!(postgres);
    let timed = |what: &str, step: &mut dyn FnMut()| {
        let start = Instant::now();
        step();
        println!("postgres {what}: {:?}", start.elapsed());
    };
    timed("template", &mut || assert!(template::folder().exists()));
    let mut server = None;
    for _ in 0..3 {
        timed("start", &mut || server = Some(Server::start()));
    }
    let server = server.expect("three were started");
    timed("restart_fast", &mut || server.restart_fast());
    timed("kill9_postmaster", &mut || server.kill9_postmaster());
    timed("start_again", &mut || server.start_again());
    timed("fresh_database", &mut || drop(server.fresh_database()));
    timed("sql", &mut || drop(server.sql("postgres", "SELECT 1")));
    let mut server = Some(server);
    timed("drop", &mut || drop(server.take()));
}

#[test]
fn a_standby_replicates_refuses_writes_and_accepts_them_once_promoted() {
    crate::require!(postgres);
    let primary = Server::start();
    let standby = primary.standby();
    primary.sql("postgres", "CREATE TABLE t (n int); INSERT INTO t VALUES (7)");
    assert!(standby.catches_up(&primary, SOON));
    assert_eq!(standby.sql("postgres", "SELECT n FROM t"), [["7"]]);
    let written = || standby.sql("postgres", "INSERT INTO t VALUES (8) RETURNING n");
    let refused = catch_unwind(AssertUnwindSafe(written));
    let message = refused.expect_err("it must panic");
    let message = message.downcast_ref::<String>().expect("the message is formatted");
    assert!(message.contains("read-only transaction"), "{message}");
    primary.stop_immediate();
    standby.promote();
    assert_eq!(written(), [["8"]]);
    standby.restart_fast();
    assert_eq!(standby.sql("postgres", "SELECT n FROM t ORDER BY n"), [["7"], ["8"]]);
}

#[test]
fn the_version_and_its_tls_match_the_servers_answer() {
    crate::require!(postgres);
    let number = &shared().sql("postgres", "SHOW server_version_num")[0][0];
    assert_eq!(number.parse::<u32>().map(|number| number / 10_000), Ok(version()));
    let start = || {
        Server::with(|conf| {
            conf.tls(Certificate::Valid);
        })
    };
    let started = catch_unwind(start);
    let on = started.map(|server| server.sql("postgres", "SHOW ssl"));
    assert_eq!(on.is_ok_and(|on| on == [["on"]]), programs::built_with_tls());
}

#[test]
fn a_server_with_german_or_russian_messages_is_still_managed() {
    crate::require!(postgres, translated);
    for (language, words) in [
        (Language::German, "FEHLER:  Spalte »nosuch« existiert nicht"),
        (Language::Russian, "ОШИБКА:  столбец \"nosuch\" не существует"),
    ] {
        let server = Server::with(|conf| {
            conf.messages(language);
        });
        let ask = || server.sql("postgres", "SELECT nosuch");
        let failed = catch_unwind(AssertUnwindSafe(ask));
        let said = failed.expect_err("it must panic");
        let said = said.downcast_ref::<String>().expect("the message is formatted");
        assert!(said.contains(words), "{language:?}: {said}");
        assert!(server.log_text().contains(words), "its log is in that language too");
        server.stop_smart();
        assert!(server.wait_stopped(SOON));
        server.start_again();
    }
}
