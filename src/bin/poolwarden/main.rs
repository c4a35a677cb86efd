//! The command-line tool of poolwarden: `cargo install poolwarden --features cli`.
//!
//! `poolwarden doctor` examines a server; `poolwarden watch` shows a pool at work on it.

mod doctor;
mod watch;

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
Exit codes: 0 done, 1 the server cannot be used, 2 wrong arguments.";

/// What the arguments ask for.
enum Command {
    Doctor { url: String, instances: u32, haproxy: Option<String>, json: bool },
    Watch { url: String, size: u32, time: Option<Duration> },
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some(command) = parse(&arguments) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let done = match command {
        Command::Doctor { url, instances, haproxy, json } => read(haproxy).and_then(|proxy| {
            let report = doctor::examine(&url, instances, proxy.as_deref())?;
            match json {
                true => println!("{}", report.to_json()),
                false => print!("{report}"),
            }
            Ok(())
        }),
        Command::Watch { url, size, time } => watch::run(&url, size, time),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(paragraph) => {
            eprintln!("{paragraph}");
            ExitCode::FAILURE
        }
    }
}

/// Reads a file, if one is named.
fn read(path: Option<String>) -> Result<Option<String>, String> {
    let Some(path) = path else { return Ok(None) };
    let text = std::fs::read_to_string(&path);
    text.map(Some).map_err(|error| format!("{path} cannot be read: {error}"))
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
