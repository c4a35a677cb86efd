//! What the caller of a compiled program sees: its exit code and its output.

use std::io::{self, BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use support::wait::within;
use support::{mariadb, port, postgres as pg};

const TOOL: &str = env!("CARGO_BIN_EXE_tool");
const CRON_JOB: &str = env!("CARGO_BIN_EXE_cron_job");
const CLI_TOOL: &str = env!("CARGO_BIN_EXE_cli_tool");
const QUICKSTART: &str = env!("CARGO_BIN_EXE_quickstart");

const LONG: Duration = Duration::from_secs(120);

/// The end of a program.
#[derive(Debug)]
struct Ended {
    code: Option<i32>,
    out: String,
    err: String,
}

fn command(program: &str, arguments: &[&str], url: &str) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).env("DATABASE_URL", url);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn ended(child: Child) -> Ended {
    let (output, _) = within(LONG, || child.wait_with_output().expect("it ends"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let ended =
        Ended { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) };
    assert!(!ended.err.contains("panicked"), "{ended:?}");
    ended
}

fn run(program: &str, arguments: &[&str], url: &str) -> Ended {
    ended(command(program, arguments, url).spawn().expect("it starts"))
}

/// A pipe whose reader has gone.
fn unread() -> Stdio {
    io::pipe().expect("two descriptors").1.into()
}

/// Runs a program whose output is not read.
fn run_unread(program: &str, arguments: &[&str], url: &str) -> Ended {
    let mut command = command(program, arguments, url);
    ended(command.stdout(unread()).spawn().expect("it starts"))
}

/// Runs a program whose errors are not read; returns its exit code.
fn code_without_errors(program: &str, arguments: &[&str], url: &str) -> Option<i32> {
    let mut command = command(program, arguments, url);
    ended(command.stderr(unread()).spawn().expect("it starts")).code
}

fn away(scheme: &str) -> String {
    format!("{scheme}://u:hidden@127.0.0.1:{}/d?pool_connect_timeout=2s", port::unused())
}

#[test]
fn the_tool_refuses_wrong_arguments_with_exit_code_2() {
    let refused: [(&[&str], &str); 18] = [
        (&[], "usage: poolwarden"),
        (&["doctor"], "usage: poolwarden"),
        (&["nurse", "postgres://h/d"], "usage: poolwarden"),
        (&["doctor", "postgres://h/d", "--unknown"], "usage: poolwarden"),
        (&["watch", "postgres://h/d", "--json"], "usage: poolwarden"),
        (&["watch", "postgres://h/d", "--size", "many"], "usage: poolwarden"),
        (&[], "a command is missing"),
        (&["nurse"], "unknown command \"nurse\""),
        (&["doctor", "postgres://h/d", "--secret=hidden"], "doctor: unknown option --secret\n"),
        (&["doctor", "--json"], "doctor: the URL is missing"),
        (&["doctor", "postgres://h/d", "0"], "instances must be a whole number from 1 to"),
        (&["doctor", "postgres://h/d", "postgres://u:hidden@h/d"], "instances must be a whole"),
        (&["doctor", "postgres://h/d", "1", "2"], "more arguments than"),
        (&["doctor", "postgres://h/d", "--haproxy"], "--haproxy needs a value"),
        (
            &["watch", "postgres://h/d", "--size", "21"],
            "--size must be a whole number from 1 to 20",
        ),
        (&["doctor", "sqlite:/tmp/d"], "SQLite, which has no server"),
        (&["doctor", "oracle://u:hidden@h/d"], "scheme"),
        (
            &["doctor", "postgres://u:hidden@h/d", "--haproxy", "/no/such"],
            "/no/such cannot be read",
        ),
    ];
    for (arguments, part) in refused {
        let ended = run(TOOL, arguments, "");
        assert_eq!((ended.code, &*ended.out), (Some(2), ""), "{arguments:?}: {ended:?}");
        assert!(ended.err.contains(part) && !ended.err.contains("hidden"), "{ended:?}");
    }
    for command in ["doctor", "watch"] {
        let ended = run(TOOL, &[command, "mysql://u:hidden@h/d?sslmode=never"], "");
        assert_eq!(ended.code, Some(2), "{ended:?}");
        assert!(!ended.err.contains("hidden"), "{ended:?}");
    }
}

#[test]
fn the_tool_prints_its_usage_and_its_version_where_they_are_asked_for() {
    for argument in ["help", "--help", "-h"] {
        let ended = run(TOOL, &[argument], "");
        assert_eq!((ended.code, &*ended.err), (Some(0), ""), "{ended:?}");
        assert!(ended.out.starts_with("usage: poolwarden doctor <url>"), "{ended:?}");
    }
    let ended = run(TOOL, &["--version"], "");
    assert_eq!((ended.code, &*ended.err), (Some(0), ""), "{ended:?}");
    assert!(ended.out.starts_with("poolwarden ") && ended.out.len() > 12, "{ended:?}");
}

#[test]
fn the_tool_ends_with_exit_code_1_where_no_server_listens() {
    for (command, scheme) in [("doctor", "postgres"), ("doctor", "mysql"), ("watch", "postgres")] {
        let ended = run(TOOL, &[command, &away(scheme)], "");
        assert_eq!((ended.code, &*ended.out), (Some(1), ""), "{ended:?}");
        assert!(ended.err.contains("refused") && !ended.err.contains("hidden"), "{ended:?}");
    }
}

#[test]
fn the_tool_ends_with_exit_code_1_for_a_wrong_password() {
    support::require!(mariadb);
    let database = mariadb::shared().fresh_database();
    let url = database.url().replacen(":app@", ":hidden@", 1);
    assert!(url.contains(":hidden@"));
    for arguments in [&["doctor", &url][..], &["doctor", &url, "--json"], &["watch", &url]] {
        let ended = run(TOOL, arguments, "");
        assert_eq!((ended.code, &*ended.out), (Some(1), ""), "{ended:?}");
        assert!(ended.err.contains("1045") && !ended.err.contains("hidden"), "{ended:?}");
    }
}

#[test]
fn the_doctor_ends_with_exit_code_0_also_if_its_page_has_warnings() {
    support::require!(postgres);
    let database = pg::shared().fresh_database();
    for instances in ["1", "1000"] {
        let page = run(TOOL, &["doctor", &database.url(), instances], "");
        assert_eq!((page.code, &*page.err), (Some(0), ""), "{page:?}");
        assert!(page.out.len() > 100 && page.out.ends_with('\n'), "{page:?}");
        let json = run(TOOL, &["doctor", &database.url(), instances, "--json"], "");
        assert_eq!((json.code, &*json.err), (Some(0), ""), "{json:?}");
        assert!(json.out.starts_with('{') && json.out.ends_with("}\n"), "{json:?}");
    }
}

#[test]
fn a_program_whose_reader_has_gone_does_not_panic() {
    support::require!(postgres);
    let database = pg::shared().fresh_database();
    create_table(&database);
    let url = database.url();
    assert_eq!(run_unread(TOOL, &["doctor", &url], "").code, Some(0));
    assert_eq!(run_unread(TOOL, &["doctor", &url, "--json"], "").code, Some(0));
    // What it was told to do is done.
    assert_eq!(run_unread(CRON_JOB, &[], &url).code, Some(0));
    assert_eq!(run_unread(CLI_TOOL, &["tea"], &url).code, Some(1));
    assert_eq!(run_unread(QUICKSTART, &[], &url).code, Some(0));
}

#[test]
fn a_program_whose_errors_are_not_read_has_its_exit_code() {
    // Of a panic it would be 101.
    assert_eq!(code_without_errors(TOOL, &[], ""), Some(2));
    assert_eq!(code_without_errors(TOOL, &["doctor", &away("postgres")], ""), Some(1));
    assert_eq!(code_without_errors(CRON_JOB, &[], ""), Some(78));
    assert_eq!(code_without_errors(CLI_TOOL, &[], ""), Some(64));
    assert_eq!(code_without_errors(CLI_TOOL, &["tea"], "nonsense"), Some(1));
    assert_eq!(code_without_errors(QUICKSTART, &[], "oracle://h/d"), Some(1));
}

#[test]
fn watch_ends_when_its_reader_has_read_enough() {
    support::require!(postgres);
    let database = pg::shared().fresh_database();
    let mut child = command(TOOL, &["watch", &database.url()], "").spawn().expect("it starts");
    let mut line = String::new();
    let mut reader = BufReader::new(child.stdout.take().expect("piped"));
    reader.read_line(&mut line).expect("a line");
    drop(reader);
    let ended = ended(child);
    assert!(line.ends_with('\n') && ended.code == Some(0), "{line:?} {ended:?}");
}

const TABLE: &str = "create table orders (name text, made timestamptz default now());
    insert into orders values ('tea', now() - interval '2 years'), ('tea', now())";

/// As the programs' own user.
fn create_table(database: &pg::Database<'_>) {
    let owner = postgres::Client::connect(&database.url(), postgres::NoTls);
    owner.expect("the server accepts").batch_execute(TABLE).expect("done");
}

#[test]
fn the_examples_end_with_the_exit_codes_that_they_list() {
    support::require!(postgres);
    let database = pg::shared().fresh_database();
    let url = database.url();
    let code = |program, arguments: &[&str], url: &str| run(program, arguments, url).code;
    assert_eq!(code(CRON_JOB, &[], ""), Some(78));
    assert_eq!(code(CRON_JOB, &[], "postgres://h/d?pool_max_size=many"), Some(78));
    let (server, _) = url.rsplit_once('/').expect("a database");
    assert_eq!(code(CRON_JOB, &[], &format!("{server}/missing")), Some(78), "no such database");
    assert_eq!(code(CRON_JOB, &[], &url), Some(1), "there is no table");
    assert_eq!(code(CLI_TOOL, &["tea"], &url), Some(1));
    assert_eq!(code(CLI_TOOL, &[], &url), Some(64));
    assert_eq!(code(CLI_TOOL, &["tea"], &away("postgres")), Some(1));
    assert_eq!(code(CLI_TOOL, &["tea"], "nonsense"), Some(1));
    create_table(&database);
    let done = run(CRON_JOB, &[], &url);
    assert_eq!((done.code, &*done.out, &*done.err), (Some(0), "1 orders deleted\n", ""));
    let done = run(CLI_TOOL, &["tea"], &url);
    assert_eq!((done.code, &*done.out, &*done.err), (Some(0), "1\n", ""));
}
