//! The examination of one server, as a page and as JSON.

use super::section::Section;
use super::url::{port, without_password};
use super::{databases, haproxy, json};
use std::fmt;

/// What was found out about a server.
#[derive(Debug)]
pub struct Report {
    server: String,
    sections: Vec<Section>,
}

/// Examines a server that so many processes will share, with the text of the configuration file
/// of a haproxy in between, if there is one.
///
/// # Errors
///
/// A paragraph with the cause and what to check.
pub fn examine(url: &str, instances: u32, proxy: Option<&str>) -> Result<Report, String> {
    let mut sections = match url.split_once("://").map_or("postgres", |(scheme, _)| scheme) {
        "postgres" | "postgresql" => databases::postgres(url, instances),
        "mysql" | "mariadb" => databases::mysql(url, instances),
        _ => Err("Unknown scheme (expected postgres://, mysql:// or mariadb://).".into()),
    }?;
    if let Some(text) = proxy {
        let preset = if url.starts_with("postgres") { 5432 } else { 3306 };
        let rows = haproxy::rows(text, port(url).unwrap_or(preset));
        sections.push(Section { title: "haproxy", rows });
    }
    Ok(Report { server: without_password(url), sections })
}

impl Report {
    /// Returns the page as one JSON object: the server, and the rows of each section.
    pub fn to_json(&self) -> String {
        json::report(&self.server, &self.sections)
    }
}

/// The page; its last line ends with a newline.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "poolwarden doctor: {}", self.server)?;
        for section in &self.sections {
            writeln!(f, "\n{}", section.title)?;
            for (label, text) in &section.rows {
                writeln!(f, "  {label:<20}{text}")?;
            }
        }
        Ok(())
    }
}
