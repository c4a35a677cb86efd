//! Languages of a server's messages, and the locales that they need.
//!
//! A server translates its messages into the language of a system locale. Such a
//! locale is made in our temporary folder; nothing is installed.

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::account::Account;
use crate::{programs, scratch, skip};

/// Where Debian's package `locales`, and most others, have what locales are made of.
const SOURCES: &str = "/usr/share/i18n/locales";
/// Names the language of every PostgreSQL server that chooses none: `de_DE` or `ru_RU`.
const VARIABLE: &str = "POSTGRES_MESSAGES";
const CATEGORIES: [&str; 6] =
    ["LC_CTYPE", "LC_COLLATE", "LC_MONETARY", "LC_NUMERIC", "LC_TIME", "LC_MESSAGES"];

/// A language of a server's messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// German: `FEHLER` and `FATAL`.
    German,
    /// Russian: `ОШИБКА` and `ВАЖНО`, in letters beyond ASCII.
    Russian,
}

impl Language {
    /// All of them.
    pub const ALL: [Language; 2] = [Language::German, Language::Russian];

    /// Returns the language and country: `de_DE`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Language::German => "de_DE",
            Language::Russian => "ru_RU",
        }
    }

    fn named(name: &str) -> Option<Language> {
        Language::ALL.into_iter().find(|language| language.name() == name)
    }

    /// Returns the name of the system's locale: `de_DE.UTF-8`.
    pub(crate) fn locale(self) -> String {
        format!("{}.UTF-8", self.name())
    }
}

/// Returns the language that the environment names for all PostgreSQL servers.
///
/// # Panics
///
/// If it names none of ours.
pub(crate) fn of_all_servers() -> Option<Language> {
    let name = env::var(VARIABLE).ok().filter(|name| !name.is_empty())?;
    let known = Language::ALL.map(Language::name);
    let language = Language::named(&name);
    assert!(language.is_some(), "{VARIABLE}={name}: it must be one of {known:?}");
    language
}

/// Returns whether locales can be made here; if not, reports the test as skipped.
///
/// # Panics
///
/// When they cannot although the environment has `REQUIRE_SERVERS=1`.
pub(crate) fn available() -> bool {
    let source = |language: Language| Path::new(SOURCES).join(language.name()).is_file();
    let found = programs::find("localedef").is_some() && Language::ALL.into_iter().all(source);
    if !found {
        skip::missing("locale (Debian's package locales)");
    }
    found
}

static FOLDER: OnceLock<PathBuf> = OnceLock::new();

/// Returns the folder with our locales if a test needs one.
pub(crate) fn built() -> Option<&'static Path> {
    FOLDER.get().map(PathBuf::as_path)
}

/// Returns the folder with our locales, for the environment variable `LOCPATH`.
pub(crate) fn folder() -> &'static Path {
    FOLDER.get_or_init(|| {
        let folder = scratch::folder("locales", Account::current());
        Language::ALL.into_iter().for_each(|language| make(language, &folder));
        folder
    })
}

// Only the messages are of the language: all of a locale would take seconds.
fn make(language: Language, folder: &Path) {
    let mut text = String::new();
    for category in CATEGORIES {
        let from = if category == "LC_MESSAGES" { language.name() } else { "POSIX" };
        writeln!(text, "{category}\ncopy \"{from}\"\nEND {category}").expect("a string");
    }
    let source = folder.join(language.name());
    fs::write(&source, text).expect("the temporary folder is ours");
    let made = folder.join(language.locale());
    let mut define = Command::new("localedef");
    // It warns of each missing category, and fails without the option to continue.
    define.args(["-c", "--no-archive", "-f", "UTF-8", "-i"]).arg(&source).arg(&made);
    let output = define.output().expect("localedef starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(made.join("LC_MESSAGES/SYS_LC_MESSAGES").is_file(), "localedef failed: {errors}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_language_is_named_as_its_locale_begins() {
        assert_eq!(Language::named("de_DE"), Some(Language::German));
        assert_eq!(Language::named("ru_RU"), Some(Language::Russian));
        assert_eq!(Language::named("German"), None);
    }
}
