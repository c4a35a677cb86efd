//! libpq's password file.
//!
//! PostgreSQL documentation, "The Password File": lines of
//! `hostname:port:database:username:password`, of which the first that matches counts. A
//! field of `*` matches everything; `:` and `\` are escaped with a `\`. The file is read
//! at every connect, so that a password in it can be rotated.

use super::client_config::DEFAULT_PORT;
use crate::config::settings::{Endpoint, shown};
use crate::driver::connect::credentials::Credentials;
use crate::observe;
use postgres::Config;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// The password file of one driver, if one is configured.
#[derive(Default)]
pub(super) struct Passfile {
    path: Option<PathBuf>,
    /// The reason why the file cannot be used was logged.
    warned: AtomicBool,
}

/// What a line of the file must match.
struct Target<'a> {
    host: String,
    port: u16,
    database: &'a str,
    user: &'a str,
}

impl Passfile {
    pub(super) fn at(path: Option<&str>) -> Passfile {
        Passfile { path: path.map(PathBuf::from), warned: AtomicBool::new(false) }
    }

    /// Returns the password for this server, if the configuration has none and the file
    /// has one.
    ///
    /// A file that cannot be used is ignored, with one warning in the log.
    pub(super) fn password(&self, endpoint: &Endpoint, config: &Config) -> Option<Credentials> {
        let path = self.path.as_deref().filter(|_| config.get_password().is_none())?;
        match read(path) {
            Ok(text) => find(&text, &target(endpoint, config)).map(Credentials::new),
            Err(why) => {
                if !self.warned.swap(true, Relaxed) {
                    let path = path.display();
                    observe::warn(&format!("the password file {path} is not used: {why}"));
                }
                None
            }
        }
    }
}

fn target<'a>(endpoint: &'a Endpoint, config: &'a Config) -> Target<'a> {
    let (host, port) = match endpoint {
        Endpoint::Tcp { host, port, .. } => (host.clone(), *port),
        Endpoint::Unix { path, port } => {
            let folder = shown(path);
            // libpq's own default folders, of PostgreSQL's and of Debian's builds.
            let is_default = matches!(&*folder, "/tmp" | "/var/run/postgresql");
            let host = if is_default { "localhost".to_owned() } else { folder };
            (host, port.unwrap_or(DEFAULT_PORT))
        }
    };
    let user = config.get_user().unwrap_or_default();
    Target { host, port, database: config.get_dbname().unwrap_or(user), user }
}

/// Reads the file if only its owner has access to it.
fn read(path: &Path) -> Result<String, String> {
    use std::os::unix::fs::PermissionsExt;
    let about = fs::metadata(path).map_err(|error| error.to_string())?;
    if !about.is_file() {
        return Err("it is not a regular file".to_owned());
    }
    if about.permissions().mode() & 0o077 != 0 {
        return Err("its group or others have access to it; run chmod 0600".to_owned());
    }
    // The error for text that is not UTF-8 shows none of it.
    fs::read_to_string(path).map_err(|error| error.to_string())
}

fn find(text: &str, target: &Target<'_>) -> Option<String> {
    let port = target.port.to_string();
    let wanted = [&*target.host, &port, target.database, target.user];
    let matching = text.lines().filter(|line| !line.starts_with('#')).find_map(|line| {
        let mut rest = line;
        for value in wanted {
            let (field, is_any, after) = field(rest);
            if !is_any && field != value {
                return None;
            }
            rest = after?;
        }
        Some(field(rest).0)
    });
    matching.filter(|password| !password.is_empty())
}

/// Returns the first field of a line, whether it matches everything, and what follows its
/// colon.
fn field(line: &str) -> (String, bool, Option<&str>) {
    let mut value = String::new();
    let mut characters = line.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            ':' => return (value, &line[..at] == "*", Some(&line[at + 1..])),
            '\\' => value.push(characters.next().map_or('\\', |(_, escaped)| escaped)),
            other => value.push(other),
        }
    }
    (value, false, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# db:5432:orders:app:commented\n\
        db:5432:orders:app:first\r\n\
        db:5432:orders:app:second\n\
        \n\
        broken\n\
        ::1:1:a:b:not this way\n\
        \\:\\:1:5432:*:app:six\\:sevens\\\\\n\
        \\*:5432:*:star:literal\n\
        localhost:*:*:*:here\n\
        /run/pg:5432:*:*:folder\n\
        @pg:5432:*:*:name\n\
        db:*:*:nobody:\n\
        db:*:*:*:others\n";

    fn found(host: &str, port: u16, database: &str, user: &str) -> Option<String> {
        find(FILE, &Target { host: host.to_owned(), port, database, user })
    }

    #[test]
    fn the_first_matching_line_counts() {
        assert_eq!(found("db", 5432, "orders", "app").as_deref(), Some("first"));
        assert_eq!(found("db", 5433, "orders", "app").as_deref(), Some("others"));
        assert_eq!(found("db", 5432, "orders", "ap").as_deref(), Some("others"));
        assert_eq!(found("DB", 5432, "orders", "app"), None);
        assert_eq!(found("db", 1, "x", "nobody"), None, "an empty password is none");
    }

    #[test]
    fn colons_backslashes_and_stars_are_escaped() {
        assert_eq!(found("::1", 5432, "x", "app").as_deref(), Some("six:sevens\\"));
        assert_eq!(found("*", 5432, "x", "star").as_deref(), Some("literal"));
        assert_eq!(found("other", 5432, "x", "star"), None, "an escaped star is a star");
    }

    #[test]
    fn a_socket_is_matched_by_its_folder_and_the_default_one_as_localhost() {
        let mut config = Config::new();
        config.user("app");
        for (folder, password) in [
            ("/tmp", "here"),
            ("/var/run/postgresql", "here"),
            ("/run/pg", "folder"),
            ("\0pg", "name"),
        ] {
            let endpoint = Endpoint::Unix { path: folder.into(), port: None };
            let target = target(&endpoint, &config);
            assert_eq!((target.database, target.port), ("app", 5432));
            assert_eq!(find(FILE, &target).as_deref(), Some(password), "{folder}");
        }
    }
}
