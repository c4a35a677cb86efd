//! The crate's layers, read from its source: arrows point down only, code that
//! the compiler cannot check stays in one file, and files stay short.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// From top to bottom; between the modules of one row there are no arrows.
const ROWS: &[&[&str]] = &[
    &["lib"],
    &["tenants"],
    &["query"],
    &["r2d2", "builder", "pool", "guard"],
    &["engine"],
    &["keeper", "dial", "core"],
    &["managed"],
    &["closer"],
    &["watchdog"],
    &["postgres", "mysql", "sqlite"],
    &["route", "credentials"],
    &["resolve", "preference", "protection"],
    &["settings"],
    &["driver"],
    &["observe", "budget", "liveness"],
    &[
        "config", "cap", "limits", "reset", "lifetime", "retry", "rows", "error", "fence", "clock",
        "sync", "tcp", "tls", "secret", "role",
    ],
];

/// Except these.
const WITHIN_A_ROW: &[(&str, &str)] = &[
    // The user's handles know one another.
    ("r2d2", "builder"),
    ("builder", "r2d2"),
    ("builder", "pool"),
    ("pool", "builder"),
    ("pool", "guard"),
    // Pure policy that refuses by an error, and what it is about.
    ("config", "error"),
    ("config", "cap"),
    ("config", "reset"),
    ("config", "tcp"),
    ("config", "role"),
    ("cap", "limits"),
    ("retry", "error"),
    ("rows", "error"),
    ("tls", "error"),
    ("tls", "secret"),
];

/// The only file with code that the compiler cannot check.
const UNSAFE: &str = "liveness.rs";

/// Lines of a file, its unit tests not counted.
const LONGEST: usize = 500;

/// One file of the crate.
struct Source {
    path: PathBuf,
    /// What it says, without its comments and its unit tests.
    code: String,
}

impl Source {
    fn new(path: PathBuf, text: &str) -> Source {
        let lines = text.lines().take_while(|line| !line.starts_with("#[cfg(test)]"));
        let lines = lines.take_while(|line| !line.starts_with("#[cfg(all(test"));
        let code = lines.map(|line| without_comment(line).to_owned() + "\n").collect();
        Source { path, code }
    }

    /// The module at the top of the crate that this file belongs to.
    fn module(&self) -> String {
        let first = self.path.components().next().expect("a file has a name");
        let name = first.as_os_str().to_str().expect("our names are text");
        name.trim_end_matches(".rs").to_owned()
    }

    /// The modules that it names by `crate::`; a name that the crate's root passes
    /// on is `lib`.
    fn arrows(&self) -> BTreeSet<String> {
        let after = self.code.split("crate::").skip(1);
        after.flat_map(first_names).map(|name| module_of(&name)).collect()
    }
}

fn without_comment(line: &str) -> &str {
    line.split_once("//").map_or(line, |(code, _)| code)
}

/// The first name after `crate::`, or the first names of a list in braces.
fn first_names(after: &str) -> Vec<String> {
    let name = |text: &str| {
        let text = text.trim_start();
        let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
        text[..end].to_owned()
    };
    let Some(list) = after.strip_prefix('{') else { return vec![name(after)] };
    let mut names = vec![name(list)];
    let mut depth = 0;
    for (place, character) in list.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => names.push(name(&list[place + 1..])),
            _ => {}
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

fn module_of(name: &str) -> String {
    let is_item = name.starts_with(|first: char| first.is_uppercase());
    if is_item { "lib".into() } else { name.to_owned() }
}

fn row_of(module: &str) -> usize {
    let row = ROWS.iter().position(|row| row.contains(&module));
    row.unwrap_or_else(|| panic!("the module {module} has no layer: give it one here"))
}

fn is_allowed(from: &str, to: &str) -> bool {
    from == to || row_of(from) < row_of(to) || WITHIN_A_ROW.contains(&(from, to))
}

/// The arrows of a file that point up or sideways.
fn wrong_arrows(source: &Source) -> Vec<String> {
    let from = source.module();
    let wrong = source.arrows().into_iter().filter(|to| !is_allowed(&from, to));
    wrong.map(|to| format!("{} uses {to}", source.path.display())).collect()
}

fn package() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All `.rs` files below a folder, with their paths from there.
fn files(folder: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).expect("a folder of this repository").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("source is text");
                found.push((path.strip_prefix(folder).expect("below it").to_owned(), text));
            }
        }
    }
    found.sort();
    found
}

fn sources() -> Vec<Source> {
    let all = files(&package().join("../src"));
    assert!(all.len() > 40, "the crate's source was found");
    all.into_iter().map(|(path, text)| Source::new(path, &text)).collect()
}

#[test]
fn arrows_between_modules_point_down_only() {
    let wrong: Vec<_> = sources().iter().flat_map(wrong_arrows).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn no_listed_exception_is_out_of_use() {
    let sources = sources();
    for (from, to) in WITHIN_A_ROW {
        let used = sources.iter().any(|s| s.module() == *from && s.arrows().contains(*to));
        assert!(used, "{from} does not use {to} any more: remove the exception");
    }
}

#[test]
fn an_upward_arrow_is_found_wherever_it_is_written() {
    let written = [
        ("budget.rs", "use crate::engine::Lease;"),
        ("closer/watch.rs", "let x = crate::pool::Pool::builder();"),
        ("driver.rs", "use crate::{error::Error, managed::{Look, Managed}};"),
        ("query/work.rs", "fn f(cause: impl Into<crate::BoxError>) {}"),
        ("postgres/driver.rs", "use crate::mysql::MySql;"),
    ];
    for (path, code) in written {
        let source = Source::new(path.into(), code);
        assert_eq!(wrong_arrows(&source).len(), 1, "{path}: {code}");
    }
}

#[test]
fn comments_and_unit_tests_are_not_read() {
    let text = "//! [`Pool`](crate::Pool)\nuse crate::sync::Mutex; // not crate::engine\n\
                #[cfg(test)]\nmod tests {\n    use crate::pool::Pool;\n}\n";
    let source = Source::new("budget.rs".into(), text);
    assert_eq!(source.arrows().into_iter().collect::<Vec<_>>(), ["sync"]);
}

#[test]
fn code_that_the_compiler_cannot_check_is_in_one_file() {
    let has = |source: &Source| {
        let mut words = source.code.split(|c: char| !c.is_alphanumeric() && c != '_');
        words.any(|word| word == "unsafe" || word == "unsafe_code")
    };
    let found: Vec<_> = sources().into_iter().filter(has).map(|source| source.path).collect();
    assert_eq!(found, [Path::new(UNSAFE)]);
}

#[test]
fn no_file_is_longer_than_a_reader_has_patience() {
    for source in sources() {
        let lines = source.code.lines().count();
        assert!(lines <= LONGEST, "{}: {lines} lines", source.path.display());
    }
}

/// The variants of an enum, as its file declares them.
fn variants(path: &str, pattern: impl Fn(&str) -> Option<&str>) -> Vec<String> {
    let text = fs::read_to_string(package().join("../src").join(path)).expect("it is there");
    let names = text.lines().filter_map(|line| pattern(line.strip_prefix("    ")?));
    names.filter(|name| name.chars().all(char::is_alphanumeric)).map(str::to_owned).collect()
}

/// The variants of `kind` that nothing outside their own file mentions.
fn unmentioned(kind: &str, own: &str, variants: &[String]) -> Vec<String> {
    let mut text = String::new();
    for folder in ["../src", "."] {
        let all = files(&package().join(folder)).into_iter();
        all.filter(|(path, _)| path != Path::new(own)).for_each(|(_, file)| text.push_str(&file));
    }
    let is_mentioned = |name: &String| {
        let path = format!("{kind}::{name}");
        let mut after = text.split(&path).skip(1);
        after.any(|rest| !rest.starts_with(char::is_alphanumeric))
    };
    variants.iter().filter(|name| !is_mentioned(name)).cloned().collect()
}

#[test]
fn every_kind_of_error_and_every_reason_is_used() {
    let kinds = variants("error/kind.rs", |line| line.strip_suffix(','));
    assert!(kinds.len() >= 10, "{kinds:?}");
    assert_eq!(unmentioned("ErrorKind", "error/kind.rs", &kinds), [""; 0]);
    let reasons = variants("observe/reason.rs", |line| Some(line.split_once(" = \"")?.0));
    assert_eq!(reasons.len(), poolwarden::CloseReason::ALL.len());
    assert_eq!(unmentioned("CloseReason", "observe/reason.rs", &reasons), [""; 0]);
}
