//! libpq's password file, on a server that requires passwords.

use poolwarden::{Error, FaultClass, Pool, Postgres, Settings};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use support::{logs, postgres as pg};

fn write(file: &Path, text: &str, mode: u32) {
    fs::write(file, text).expect("a file");
    fs::set_permissions(file, Permissions::from_mode(mode)).expect("it is ours");
}

/// Opens one connection, with the file of the environment.
fn log_in(url: &str, file: &Path) -> Result<Pool<Postgres>, Error> {
    let variable = |name: &str| (name == "PGPASSFILE").then(|| file.into());
    let settings = Settings::parse(url)?.or(Settings::from_pg_lookup(variable)?);
    Pool::with_settings(&settings)
}

fn fault(outcome: Result<Pool<Postgres>, Error>) -> FaultClass {
    let error = outcome.map(drop).expect_err("no password, or a wrong one");
    assert!(!format!("{error:?} {error}").contains("hush"), "{error:?}");
    error.connect_error().expect("the attempt failed").class()
}

#[test]
fn the_password_file_is_used_without_a_configured_password_and_read_at_every_connect() {
    if !pg::available() {
        return;
    }
    let server = pg::Server::with(|conf| {
        conf.hba("host all filed 127.0.0.1/32 scram-sha-256");
    });
    server.sql("postgres", "CREATE ROLE filed LOGIN PASSWORD 'hush:first'");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("passwords");
    let port = server.port();
    let line = |password: &str| {
        format!("127.0.0.1:{port}:other:*:hushwrong\n127.0.0.1:{port}:postgres:filed:{password}\n")
    };
    let url = format!("postgres://filed@127.0.0.1:{port}/postgres?pool_max_size=2");
    write(&file, &line("hush\\:first"), 0o600);
    let pool = log_in(&url, &file).expect("the password of the file");
    let _held = pool.get().expect("a connection");
    server.sql("postgres", "ALTER ROLE filed PASSWORD 'hushsecond'");
    write(&file, &line("hushsecond"), 0o600);
    pool.retire_all();
    assert!(pool.get().is_ok(), "a new connection with the new password");

    let given = url.replace("filed@", "filed:hushwrong@");
    assert_eq!(
        fault(log_in(&given, &file)),
        FaultClass::Authentication,
        "the configured one takes precedence"
    );
    let by_key = format!("{url}&passfile={}", file.display());
    assert!(log_in(&by_key, Path::new("/nowhere")).is_ok(), "the URL's file takes precedence");
}

#[test]
fn a_password_file_that_others_may_read_is_not_used_and_warned_about_once() {
    if !pg::available() {
        return;
    }
    let server = pg::Server::with(|conf| {
        conf.hba("host all filed 127.0.0.1/32 scram-sha-256");
    });
    server.sql("postgres", "CREATE ROLE filed LOGIN PASSWORD 'hush'");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("open");
    let url = format!("postgres://filed@127.0.0.1:{}/postgres", server.port());
    for mode in [0o640, 0o604] {
        write(&file, "*:*:*:*:hush", mode);
        let log = logs::mark();
        assert!(matches!(
            fault(log_in(&url, &file)),
            FaultClass::Authentication | FaultClass::Configuration
        ));
        let name = file.display().to_string();
        let lines = log.records();
        let reported: Vec<_> = lines.iter().filter(|line| line.message.contains(&name)).collect();
        assert_eq!(reported.len(), 1, "{lines:#?}");
        assert!(
            reported[0].message.contains("chmod 0600") && !reported[0].message.contains("hush")
        );
    }
    write(&file, "*:*:*:*:hush", 0o600);
    assert!(log_in(&url, &file).is_ok());
}

#[test]
fn without_a_user_the_line_of_the_operating_systems_user_is_used() {
    support::require!(postgres);
    let user = nix::unistd::User::from_uid(nix::unistd::geteuid());
    let Some(user) = user.expect("the system's users can be read").map(|user| user.name) else {
        eprintln!("skipped: this process's user has no name");
        return;
    };
    let server = pg::Server::with(|conf| {
        conf.hba("host all all 127.0.0.1/32 scram-sha-256");
    });
    let by_socket = |statement: &str| {
        let folder = server.socket_dir().display().to_string();
        let text = format!("host={folder} port={} user=postgres dbname=postgres", server.port());
        let mut client = ::postgres::Client::connect(&text, ::postgres::NoTls).expect("a client");
        client.batch_execute(statement).expect("a statement");
    };
    by_socket(&format!("create role \"{user}\" login password 'hush'"));
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("passwords");
    write(&file, &format!("*:*:*:postgres:hushwrong\n*:*:*:{user}:hush\n"), 0o600);
    let url = format!("postgres://127.0.0.1:{}/postgres?pool_max_size=1", server.port());
    let pool = log_in(&url, &file).expect("the password of the file");
    let row = pool.query_one("select current_user::text", &[]).expect("an answer");
    assert_eq!(row.get::<_, String>(0), user);
}
