use super::*;
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
fn rows_come_back_as_they_are() {
    crate::require!(postgres);
    let rows = shared().sql("postgres", "SELECT 'a|b', E'two\\nlines', NULL; SELECT 1; SELECT 2");
    assert_eq!(rows, [vec!["a|b", "two\nlines", ""], vec!["1"], vec!["2"]]);
}

#[test]
fn a_failed_statement_panics_with_the_servers_words() {
    crate::require!(postgres);
    let failed = std::panic::catch_unwind(|| shared().sql("postgres", "SELECT nosuch"));
    let words = failed.expect_err("it must panic");
    let words = words.downcast_ref::<String>().expect("the message is formatted");
    assert!(words.contains("column \"nosuch\" does not exist"), "{words}");
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
fn every_way_to_stop_lets_the_server_start_again_with_its_data() {
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
fn a_frozen_server_answers_nobody_until_thawed() {
    crate::require!(postgres);
    let server = Server::start();
    server.freeze();
    assert!(!server.wait_ready(Duration::ZERO));
    server.thaw();
    assert!(server.wait_ready(SOON));
    server.freeze_postmaster_only();
    assert!(!server.wait_ready(Duration::ZERO));
    // The drop must manage a frozen server too.
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

#[test]
fn a_dropped_server_leaves_no_process_folder_or_segment() {
    crate::require!(postgres);
    for end in [|_: &Server| (), Server::freeze, Server::kill9_postmaster] {
        let server = Server::start();
        let (folder, pid) = (server.folder.clone(), server.daemon.pid());
        let children = process::children_of(pid);
        let lock = fs::read_to_string(server.lock_file()).expect("the server wrote it");
        let segment = lock.lines().nth(6).expect("line 7").split_whitespace().nth(1);
        let segment = segment.expect("key and id").to_owned();
        end(&server);
        drop(server);
        assert!(process::vanished(pid));
        assert!(eventually(SOON, || children.iter().all(|child| process::ended(*child))));
        assert!(!folder.exists());
        let list = Command::new("ipcs").arg("-m").output().expect("ipcs starts");
        let list = String::from_utf8_lossy(&list.stdout).into_owned();
        assert!(!list.split_whitespace().any(|word| word == segment), "{list}");
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
fn how_long_a_start_takes() {
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
fn a_standby_follows_refuses_writes_and_takes_them_once_promoted() {
    crate::require!(postgres);
    let primary = Server::start();
    let standby = primary.standby();
    primary.sql("postgres", "CREATE TABLE t (n int); INSERT INTO t VALUES (7)");
    assert!(standby.catches_up(&primary, SOON));
    assert_eq!(standby.sql("postgres", "SELECT n FROM t"), [["7"]]);
    let written = || standby.sql("postgres", "INSERT INTO t VALUES (8) RETURNING n");
    let refused = std::panic::catch_unwind(std::panic::AssertUnwindSafe(written));
    let words = refused.expect_err("it must panic");
    let words = words.downcast_ref::<String>().expect("the message is formatted");
    assert!(words.contains("read-only transaction"), "{words}");
    primary.stop_immediate();
    standby.promote();
    assert_eq!(written(), [["8"]]);
    standby.restart_fast();
    assert_eq!(standby.sql("postgres", "SELECT n FROM t ORDER BY n"), [["7"], ["8"]]);
}
