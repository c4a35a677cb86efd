//! Examines a database server as a pool sees it, and says what to set:
//! `cargo run --features postgres,mysql --example doctor -- <url> [instances]`
//!
//! `instances` is how many processes will share the server; default 1. The page
//! goes to stdout; if there is none, one paragraph on why goes to stderr.

#![cfg_attr(not(any(feature = "mysql", feature = "postgres")), allow(unused))]

mod advice;
mod databases;
mod page;
mod trouble;

use std::process::ExitCode;

const USAGE: &str = "usage: doctor <url> [instances]\n\nThe URL is \
    postgres://user:password@host:port/database or mysql://…; instances is how many processes \
    will share the server, 1 or more.";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let instances = arguments.get(1).map_or(Ok(1), |text| text.parse());
    let answer = match (&*arguments, instances) {
        ([url] | [url, _], Ok(instances)) if instances > 0 => examine(url, instances),
        _ => Err(USAGE.into()),
    };
    match &answer {
        Ok(page) => print!("{page}"),
        Err(paragraph) => eprintln!("{paragraph}"),
    }
    if answer.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Returns the page, or one paragraph on why there is none.
pub fn examine(url: &str, instances: u32) -> Result<String, String> {
    let page = match url.split_once("://").map_or("postgres", |(scheme, _)| scheme) {
        "postgres" | "postgresql" => databases::postgres(url, instances),
        "mysql" | "mariadb" => databases::mysql(url, instances),
        _ => Err("The URL begins with none of postgres://, mysql:// and mariadb://.".into()),
    }?;
    Ok(format!("poolwarden doctor: {}\n{page}", without_password(url)))
}

/// Shows of a URL what is no password for sure.
pub fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return "keys and values".into();
    };
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let (login, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    let port = host.rsplit_once(':').map_or("", |(_, port)| port.trim_end_matches(']'));
    if path.contains('@') || !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return format!("{scheme}://***");
    }
    let path = path.split(['?', '#']).next().unwrap_or_default();
    match login.split_once(':') {
        Some((user, _)) => format!("{scheme}://{user}:***@{host}{path}"),
        None if login.is_empty() => format!("{scheme}://{host}{path}"),
        None => format!("{scheme}://{login}@{host}{path}"),
    }
}
