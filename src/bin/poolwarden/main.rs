//! The command-line tool of poolwarden: `cargo install poolwarden --features cli`.
//!
//! `poolwarden doctor` examines a server; `poolwarden watch` shows a pool at work on it.

mod doctor;
mod watch;

use std::process::ExitCode;
use std::time::Duration;

const USAGE: &str = "\
usage: poolwarden doctor <url> [instances] [--json]
       poolwarden watch <url> [--size N] [--seconds N]

doctor  examines a database server as a pool sees it, and recommends settings;
        instances is how many processes will share the server, default 1
watch   shows a pool under a small read-only load on that server; plain lines if the output is
        no terminal; --size is its max_size, default 4, at most 20

The URL is postgres://user:password@host:port/database or mysql://…
Exit codes: 0 done, 1 the server cannot be used, 2 wrong arguments.";

/// What the arguments ask for.
enum Command {
    Doctor { url: String, instances: u32, json: bool },
    Watch { url: String, size: u32, time: Option<Duration> },
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some(command) = parse(&arguments) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let done = match command {
        Command::Doctor { url, instances, json } => {
            doctor::examine(&url, instances).map(|report| match json {
                true => println!("{}", report.to_json()),
                false => print!("{report}"),
            })
        }
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

/// Returns `None` if the arguments are wrong.
fn parse(arguments: &[String]) -> Option<Command> {
    let (name, rest) = arguments.split_first()?;
    let mut plain = Vec::new();
    let (mut json, mut size, mut seconds) = (false, None, None);
    let mut rest = rest.iter();
    while let Some(argument) = rest.next() {
        match argument.as_str() {
            "--json" => json = true,
            "--size" => size = Some(rest.next()?.parse::<u32>().ok()?),
            "--seconds" => seconds = Some(rest.next()?.parse::<u64>().ok()?),
            flag if flag.starts_with('-') => return None,
            text => plain.push(text.to_owned()),
        }
    }
    match (name.as_str(), &*plain) {
        ("doctor", [url] | [url, _]) if size.is_none() && seconds.is_none() => {
            let instances = plain.get(1).map_or(Some(1), |text| text.parse().ok())?;
            (instances > 0).then(|| Command::Doctor { url: url.clone(), instances, json })
        }
        ("watch", [url]) if !json => {
            let size = size.unwrap_or(4);
            let time = seconds.map(Duration::from_secs);
            (1..=20).contains(&size).then(|| Command::Watch { url: url.clone(), size, time })
        }
        _ => None,
    }
}
