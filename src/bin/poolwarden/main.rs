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
    let done = match parse(&arguments) {
        Some(command) => run(command),
        None => Err(Failure::Arguments(USAGE.into())),
    };
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
    let driver = Settings::parse(url).and_then(|settings| match settings.system() {
        Some(System::MySql) => MySql::new(url).map(drop),
        _ => Postgres::new(url).map(drop),
    });
    driver.map_err(|error| Failure::Arguments(error.to_string()))
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

/// Returns `None` if the arguments are wrong.
fn parse(arguments: &[String]) -> Option<Command> {
    let (name, rest) = arguments.split_first()?;
    let mut plain = Vec::new();
    let (mut json, mut size, mut seconds, mut haproxy) = (false, None, None, None);
    let mut rest = rest.iter();
    while let Some(argument) = rest.next() {
        match argument.as_str() {
            "--json" => json = true,
            "--haproxy" => haproxy = Some(rest.next()?.clone()),
            "--size" => size = Some(rest.next()?.parse::<u32>().ok()?),
            "--seconds" => seconds = Some(rest.next()?.parse::<u64>().ok()?),
            flag if flag.starts_with('-') => return None,
            text => plain.push(text.to_owned()),
        }
    }
    match (name.as_str(), &*plain) {
        ("doctor", [url] | [url, _]) if size.is_none() && seconds.is_none() => {
            let instances = plain.get(1).map_or(Some(1), |text| text.parse().ok())?;
            (instances > 0).then(|| Command::Doctor { url: url.clone(), instances, haproxy, json })
        }
        ("watch", [url]) if !json && haproxy.is_none() => {
            let size = size.unwrap_or(4);
            let time = seconds.map(Duration::from_secs);
            (1..=20).contains(&size).then(|| Command::Watch { url: url.clone(), size, time })
        }
        _ => None,
    }
}
