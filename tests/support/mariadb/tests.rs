use super::*;
use crate::language::Language;
use crate::process;
use std::panic::AssertUnwindSafe;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

const SOON: Duration = Duration::from_secs(10);

/// Holds a connection open as this user.
fn client(server: &Server, user: &str) -> Child {
    let mut client = Command::new(programs::client());
    client.args(["--no-defaults", "--batch", "--password=app", "--user", user]);
    client.arg(format!("--socket={}", server.socket().display()));
    let child = client.stdin(Stdio::piped()).spawn().expect("mariadb starts");
    assert!(eventually(SOON, || server.processlist().iter().any(|process| process.user == user)));
    child
}

#[test]
fn rows_are_returned_unchanged() {
    crate::require!(mariadb);
    let rows = shared().sql("SELECT 'a\tb', 'two\\nlines', 'back\\\\slash', NULL; SELECT 1");
    assert_eq!(rows, [vec!["a\tb", "two\nlines", "back\\slash", "NULL"], vec!["1"]]);
}

#[test]
fn a_failed_statement_panics_with_the_servers_message() {
    crate::require!(mariadb);
    let failed = std::panic::catch_unwind(|| shared().sql("SELECT nosuch"));
    let message = failed.expect_err("it must panic");
    let message = message.downcast_ref::<String>().expect("the message is formatted");
    assert!(message.contains("Unknown column 'nosuch'"), "{message}");
}

#[test]
fn settings_are_taken_and_changed() {
    crate::require!(mariadb);
    let server = Server::with(|conf| {
        conf.set("wait-timeout", "77");
    });
    assert_eq!(server.sql("SELECT @@global.wait_timeout"), [["77"]]);
    server.set_global("wait_timeout", 78);
    assert_eq!(server.sql("SELECT @@global.wait_timeout"), [["78"]]);
    assert!(server.log_text().contains("ready for connections"));
}

#[test]
fn after_every_kind_of_stop_the_server_restarts_with_its_data() {
    crate::require!(mariadb);
    let server = Server::start();
    let port = server.port();
    server.sql("CREATE TABLE mysql.kept (n int); INSERT INTO mysql.kept VALUES (7)");
    // The log is written once a second, not at each commit.
    server.sql("FLUSH TABLES");
    for stop in [Server::stop, Server::kill9] {
        stop(&server);
        assert!(!server.wait_ready(Duration::ZERO));
        server.start_again();
        assert!(server.wait_ready(SOON));
        assert_eq!(server.sql("SELECT n FROM mysql.kept"), [["7"]]);
    }
    server.restart();
    assert_eq!(server.port(), port);
}

#[test]
fn a_frozen_server_answers_no_client_until_thawed() {
    crate::require!(mariadb);
    let server = Server::start();
    server.freeze();
    assert!(!server.wait_ready(Duration::ZERO));
    server.thaw();
    assert!(server.wait_ready(SOON));
    server.freeze();
    server.stop();
    server.start_again();
    server.freeze();
    // The drop must handle a frozen server too.
}

#[test]
fn connections_are_listed_and_killed() {
    crate::require!(mariadb);
    let server = Server::start();
    let db = server.fresh_database();
    let mut client = client(&server, db.user());
    let process = db.processlist().remove(0);
    assert_eq!((process.user.as_str(), process.command.as_str()), (db.user(), "Sleep"));
    assert!(process.time_ms < 10_000);
    assert_eq!(db.kill_all(), 1);
    assert!(db.processlist().is_empty());
    // It is no error if it has ended already.
    server.kill(process.id);
    drop(client.stdin.take());
    client.wait().expect("mariadb is our child");
}

#[test]
fn each_test_has_a_database_of_its_own() {
    crate::require!(mariadb);
    let (one, two) = (shared().fresh_database(), shared().fresh_database());
    one.sql("CREATE TABLE mine (n int)");
    let tables = "SELECT table_name FROM information_schema.tables
                  WHERE table_schema = database() AND table_type = 'BASE TABLE'";
    assert_eq!(one.sql(tables), [["mine"]]);
    assert!(two.sql(tables).is_empty());
}

#[test]
fn a_dropped_server_leaves_no_process_and_no_folder() {
    crate::require!(mariadb);
    for end in [|_: &Server| (), Server::freeze, Server::kill9] {
        let server = Server::start();
        let (folder, pid) = (server.folder.clone(), server.daemon.pid());
        end(&server);
        drop(server);
        assert!(process::vanished(pid));
        assert!(!folder.exists());
    }
}

#[test]
fn a_path_is_encoded_for_a_url() {
    assert_eq!(percent_encode("/tmp/a b-c.s"), "%2Ftmp%2Fa%20b-c.s");
}

#[cfg(feature = "mysql")]
#[test]
fn the_driver_connects_by_tcp_and_by_unix_socket() {
    use ::mysql::prelude::Queryable;
    crate::require!(mariadb);
    let db = shared().fresh_database();
    let app = [shared().url(db.name()), shared().unix_url(db.name())].map(|url| (url, "app"));
    let own = [db.url(), db.unix_url()].map(|url| (url, db.user()));
    for (url, user) in app.into_iter().chain(own) {
        let by_socket = url.contains("socket=%2F");
        let opts = ::mysql::Opts::from_url(&url).expect("the URL is valid");
        let mut conn = ::mysql::Conn::new(opts).expect("it connects");
        let who: Option<String> = conn.query_first("SELECT user()").expect("it answers");
        let host = if by_socket { "localhost" } else { "127.0.0.1" };
        assert_eq!(who, Some(format!("{user}@{host}")));
        let id = u64::from(conn.connection_id());
        assert!(shared().processlist().iter().any(|p| p.id == id && p.db == db.name()));
        assert_eq!(shared().kill_all(user), 1);
        assert!(conn.ping().is_err());
    }
}

#[cfg(feature = "mysql")]
#[test]
fn the_driver_stays_behind_a_proxy() {
    crate::require!(mariadb);
    let db = shared().fresh_database();
    let proxy = crate::proxy::Proxy::to_port(shared().port());
    let opts = ::mysql::Opts::from_url(&db.url_via(proxy.port())).expect("the URL is valid");
    let mut conn = ::mysql::Conn::new(opts).expect("it connects");
    assert_eq!((proxy.live(), db.processlist().len()), (1, 1));
    proxy.apply(&crate::proxy::Fault::Rst);
    assert!(conn.ping().is_err());
    assert!(eventually(SOON, || db.processlist().is_empty()));
}

#[test]
#[ignore = "a measurement: run it alone, with --nocapture"]
fn print_how_long_a_start_takes() {
    crate::require!(mariadb);
    let timed = |what: &str, step: &mut dyn FnMut()| {
        let start = Instant::now();
        step();
        println!("mariadb {what}: {:?}", start.elapsed());
    };
    timed("template", &mut || assert!(template::folder().exists()));
    let mut server = None;
    for _ in 0..3 {
        timed("start", &mut || server = Some(Server::start()));
    }
    let server = server.expect("three were started");
    timed("restart", &mut || server.restart());
    timed("kill9", &mut || server.kill9());
    timed("start_again", &mut || server.start_again());
    timed("fresh_database", &mut || drop(server.fresh_database()));
    timed("sql", &mut || drop(server.sql("SELECT 1")));
    let mut server = Some(server);
    timed("drop", &mut || drop(server.take()));
}

#[test]
fn the_product_and_the_version_match_the_servers_answer() {
    crate::require!(mariadb);
    let words = &shared().sql("SELECT version()")[0][0];
    assert!(words.starts_with(programs::version()), "{words}");
    assert_eq!(words.contains("MariaDB"), product() == Product::MariaDb);
}

#[test]
fn a_server_reports_errors_in_german_or_russian_on_demand() {
    crate::require!(mariadb);
    for (language, words) in
        [(Language::German, "Unbekanntes Tabellenfeld"), (Language::Russian, "Неизвестный столбец")]
    {
        let server = Server::with(|conf| {
            conf.messages(language);
        });
        let failed = std::panic::catch_unwind(AssertUnwindSafe(|| server.sql("SELECT nosuch")));
        let said = failed.expect_err("it must panic");
        let said = said.downcast_ref::<String>().expect("the message is formatted");
        assert!(said.contains(words), "{language:?}: {said}");
    }
}

#[test]
fn a_database_has_tables_of_numbers() {
    crate::require!(mariadb);
    let db = shared().fresh_database();
    assert_eq!(db.sql("SELECT seq FROM seq_1_to_5"), [["1"], ["2"], ["3"], ["4"], ["5"]]);
    let all = "SELECT count(*), sum(seq) FROM seq_1_to_20000";
    assert_eq!(db.sql(all), [["20000", "200010000"]]);
    let large = "SELECT count(*) FROM (SELECT seq FROM seq_1_to_50000000 LIMIT 100000) t";
    assert_eq!(db.sql(large), [["100000"]]);
}
