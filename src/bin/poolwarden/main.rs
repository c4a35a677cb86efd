//! The command-line tool of poolwarden: `cargo install poolwarden --features cli`.
//!
//! `poolwarden doctor` examines a server; `poolwarden watch` shows a pool at work on it.

mod doctor;
mod watch;

use poolwarden::config::System;
use poolwarden::{MySql, Postgres, Settings};
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

const USAGE: &str = "\
usage: poolwarden doctor <url> [instances] [--haproxy FILE] [--json]
       poolwarden watch <url> [--size N] [--seconds N]

doctor  examines a database server as a pool sees it, and recommends settings;
        instances is how many processes will share the server, default 1; --haproxy is the
        configuration file of a haproxy in between; a pgbouncer's settings are asked for
watch   shows a pool under a small read-only load on that server; plain lines if the output is
        no terminal; --size is its max_size, default 4, at most 20

The URL is postgres://user:password@host:port/database or mysql://…
Exit codes: 0 done, also with warnings on the page; 1 the server cannot be used or the output
failed; 2 wrong arguments, of which a URL that cannot be read is one.";

/// What the arguments ask for.
enum Command {
    Print(&'static str),
    Doctor { url: String, instances: u32, haproxy: Option<String>, json: bool },
    Watch { url: String, size: u32, time: Option<Duration> },
}

/// Why the program ends without having done its work.
enum Failure {
    Arguments(String),
    /// Of the server, or of the output.
    Other(String),
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let parsed = parse(&arguments);
    let done = parsed.map_err(|reason| Failure::Arguments(format!("{reason}\n\n{USAGE}")));
    let done = done.and_then(run);
    let (code, text) = match done {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Failure::Other(text)) => (1, text),
        Err(Failure::Arguments(text)) => (2, text),
    };
    // Without a reader of its errors the program has its exit code.
    let _ = writeln!(io::stderr(), "{text}");
    ExitCode::from(code)
}

fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Print(text) => print(&format!("{text}\n")),
        Command::Doctor { url, instances, haproxy, json } => {
            check(&url)?;
            let proxy = haproxy.map(read).transpose()?;
            let report = doctor::examine(&url, instances, proxy.as_deref());
            let report = report.map_err(Failure::Other)?;
            let text = if json { report.to_json() + "\n" } else { report.to_string() };
            print(&text)
        }
        Command::Watch { url, size, time } => {
            check(&url)?;
            watch::run(&url, size, time).map_err(Failure::Other)
        }
    }
}

fn check(url: &str) -> Result<(), Failure> {
    let wrong = |error: poolwarden::Error| Failure::Arguments(error.to_string());
    match Settings::parse(url).map_err(wrong)?.system() {
        Some(System::MySql) => MySql::new(url).map(drop).map_err(wrong),
        Some(System::Sqlite) => Err(Failure::Arguments(
            "the connection URL is for SQLite, which has no server; the tool examines \
             PostgreSQL, MySQL and MariaDB"
                .into(),
        )),
        _ => Postgres::new(url).map(drop).map_err(wrong),
    }
}

fn read(path: String) -> Result<String, Failure> {
    let text = std::fs::read_to_string(&path);
    text.map_err(|error| Failure::Arguments(format!("{path} cannot be read: {error}")))
}

/// Prints the whole text, or as much as its reader wants, such as `head`.
fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::Other(format!("The output failed: {error}.")))
        }
        _ => Ok(()),
    }
}

/// Returns what is wrong with the arguments, without the URL, if they are.
fn parse(arguments: &[String]) -> Result<Command, String> {
    let Some((name, rest)) = arguments.split_first() else {
        return Err("a command is missing".into());
    };
    match name.as_str() {
        "help" | "--help" | "-h" => return Ok(Command::Print(USAGE)),
        "--version" | "-V" => {
            return Ok(Command::Print(concat!("poolwarden ", env!("CARGO_PKG_VERSION"))));
        }
        "doctor" | "watch" => {}
        other => return Err(format!("unknown command {other:?}")),
    }
    let is_doctor = name == "doctor";
    let mut plain = Vec::new();
    let (mut json, mut size, mut seconds, mut haproxy) = (false, None, None, None);
    let mut rest = rest.iter();
    while let Some(argument) = rest.next() {
        let mut value = || rest.next().ok_or_else(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "--help" | "-h" => return Ok(Command::Print(USAGE)),
            "--json" if is_doctor => json = true,
            "--haproxy" if is_doctor => haproxy = Some(value()?.clone()),
            "--size" if !is_doctor => size = Some(number(argument, value()?, 1, 20)?),
            "--seconds" if !is_doctor => seconds = Some(number(argument, value()?, 0, u64::MAX)?),
            flag if flag.starts_with('-') => {
                // What follows may be a password.
                let flag = flag.split('=').next().unwrap_or_default();
                return Err(format!("{name}: unknown option {flag}"));
            }
            text => plain.push(text.to_owned()),
        }
    }
    let mut plain = plain.into_iter();
    let url = plain.next().ok_or_else(|| format!("{name}: the URL is missing"))?;
    let instances = match plain.next() {
        Some(text) if is_doctor => number("instances", &text, 1, u64::from(u32::MAX))?,
        Some(_) => return Err("watch: more than one URL".into()),
        None => 1,
    };
    if plain.next().is_some() {
        return Err("doctor: more arguments than a URL and the number of instances".into());
    }
    let fits = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    Ok(if is_doctor {
        Command::Doctor { url, instances: fits(instances), haproxy, json }
    } else {
        let time = seconds.map(Duration::from_secs);
        Command::Watch { url, size: size.map_or(4, fits), time }
    })
}

fn number(name: &str, text: &str, least: u64, most: u64) -> Result<u64, String> {
    let number = text.parse().ok().filter(|number| (least..=most).contains(number));
    number.ok_or_else(|| match most {
        // The text may be a second URL, with its password.
        u64::MAX => format!("{name} must be a whole number"),
        _ => format!("{name} must be a whole number from {least} to {most}"),
    })
}
