//! libpq's password file.
//!
//! PostgreSQL documentation, "The Password File": lines of
//! `hostname:port:database:username:password`, of which the first that fits counts. A
//! field of `*` fits everything; `:` and `\` are written with a `\` in front of them.
//! It is read at every connect, so that a password may be rotated in it.

use super::hosts::DEFAULT_PORT;
use crate::credentials::Credentials;
use crate::observe;
use crate::settings::Place;
use postgres::Config;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// The file of one driver, if it was given one.
#[derive(Default)]
pub(super) struct Passfile {
    path: Option<PathBuf>,
    /// Why it is of no use was logged.
    told: AtomicBool,
}

/// What a line of the file must fit.
struct Target<'a> {
    host: &'a str,
    port: u16,
    database: &'a str,
    user: &'a str,
}

impl Passfile {
    pub(super) fn at(path: Option<&str>) -> Passfile {
        Passfile { path: path.map(PathBuf::from), told: AtomicBool::new(false) }
    }

    /// The password for this server, if the configuration has none and the file has.
    ///
    /// A file that may not be used is warned of once, and is as if it were not there.
    pub(super) fn password(&self, place: &Place, config: &Config) -> Option<Credentials> {
        let path = self.path.as_deref().filter(|_| config.get_password().is_none())?;
        match read(path) {
            Ok(text) => find(&text, &target(place, config)).map(Credentials::new),
            Err(why) => {
                if !self.told.swap(true, Relaxed) {
                    let path = path.display();
                    observe::warn(&format!("the password file {path} is not used: {why}"));
                }
                None
            }
        }
    }
}

fn target<'a>(place: &'a Place, config: &'a Config) -> Target<'a> {
    let (host, port) = match place {
        Place::Tcp { host, port, .. } => (&**host, *port),
        Place::Unix { path, port } => {
            let folder = path.to_str().unwrap_or_default();
            // libpq's own default folders, of PostgreSQL's and of Debian's builds.
            let is_default = matches!(folder, "/tmp" | "/var/run/postgresql");
            (if is_default { "localhost" } else { folder }, port.unwrap_or(DEFAULT_PORT))
        }
    };
    let user = config.get_user().unwrap_or_default();
    Target { host, port, database: config.get_dbname().unwrap_or(user), user }
}

/// Reads the file if nobody but its owner may.
fn read(path: &Path) -> Result<String, String> {
    use std::os::unix::fs::PermissionsExt;
    let about = fs::metadata(path).map_err(|error| error.to_string())?;
    if !about.is_file() {
        return Err("it is not a plain file".to_owned());
    }
    if about.permissions().mode() & 0o077 != 0 {
        return Err("its group or everybody has access to it: chmod 0600".to_owned());
    }
    // The error of a text that is not UTF-8 shows none of it.
    fs::read_to_string(path).map_err(|error| error.to_string())
}

fn find(text: &str, target: &Target<'_>) -> Option<String> {
    let port = target.port.to_string();
    let wanted = [target.host, &port, target.database, target.user];
    let fitting = text.lines().filter(|line| !line.starts_with('#')).find_map(|line| {
        let mut rest = line;
        for value in wanted {
            let (field, is_any, behind) = field(rest);
            if !is_any && field != value {
                return None;
            }
            rest = behind?;
        }
        Some(field(rest).0)
    });
    fitting.filter(|password| !password.is_empty())
}

/// The first field of a line, whether it fits everything, and what comes after its
/// colon.
fn field(line: &str) -> (String, bool, Option<&str>) {
    let mut value = String::new();
    let mut characters = line.char_indices();
    while let Some((place, character)) = characters.next() {
        match character {
            ':' => return (value, &line[..place] == "*", Some(&line[place + 1..])),
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
        db:*:*:nobody:\n\
        db:*:*:*:others\n";

    fn found(host: &str, port: u16, database: &str, user: &str) -> Option<String> {
        find(FILE, &Target { host, port, database, user })
    }

    #[test]
    fn the_first_line_that_fits_counts() {
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
    fn a_socket_is_looked_for_by_its_folder_and_the_default_one_as_localhost() {
        let mut config = Config::new();
        config.user("app");
        for (folder, password) in
            [("/tmp", "here"), ("/var/run/postgresql", "here"), ("/run/pg", "folder")]
        {
            let place = Place::Unix { path: folder.into(), port: None };
            let target = target(&place, &config);
            assert_eq!((target.database, target.port), ("app", 5432));
            assert_eq!(find(FILE, &target).as_deref(), Some(password), "{folder}");
        }
    }
}
