//! The crate's structure, read from its source: each folder is a layer, a folder uses
//! only folders below it, and no files form a cycle.

mod names;
mod public;
mod source;

use source::{Crate, Source};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The folders of `src/`, from top to bottom. The crate's root stands above them.
const LAYERS: &[&str] =
    &["tenants", "pool", "engine", "connection", "driver", "config", "observe", "error", "sys"];

/// The other entries that `src/` may have.
const BESIDE: &[&str] = &["lib.rs", "ARCHITECTURE.md", "guide", "bin"];

/// The only file with `unsafe` code.
const UNSAFE: &str = "sys/sockets.rs";

/// The maximum number of lines of a file, with its comments and unit tests.
const LONGEST: usize = 500;

fn layer(path: &Path) -> Option<usize> {
    let first = path.components().next()?.as_os_str().to_str()?;
    LAYERS.iter().position(|layer| *layer == first)
}

/// Returns the crate's uses that point upward. The root is above every layer.
fn upward(krate: &Crate) -> Vec<String> {
    let is_upward = |from: &Path, to: &Path| match (layer(from), layer(to)) {
        (Some(from), Some(to)) => to < from,
        (from, to) => from.is_some() && to.is_none(),
    };
    let arrows = krate.arrows().into_iter().filter(|(from, to)| is_upward(from, to));
    arrows.map(|(from, to)| format!("{} uses {}", from.display(), to.display())).collect()
}

/// Returns for each file the files that it reaches, directly or through others.
fn reachable(krate: &Crate) -> BTreeMap<PathBuf, BTreeSet<PathBuf>> {
    let mut uses: BTreeMap<PathBuf, BTreeSet<PathBuf>> = BTreeMap::new();
    for (from, to) in krate.arrows() {
        uses.entry(from).or_default().insert(to);
    }
    let direct = uses.clone();
    for reached in uses.values_mut() {
        let mut next: Vec<_> = reached.iter().cloned().collect();
        while let Some(file) = next.pop() {
            for to in direct.get(&file).into_iter().flatten() {
                if reached.insert(to.clone()) {
                    next.push(to.clone());
                }
            }
        }
    }
    uses
}

/// Returns the files of each cycle, as one text.
fn cycles(krate: &Crate) -> BTreeSet<String> {
    let reachable = reachable(krate);
    let leads = |from: &Path, to: &Path| reachable.get(from).is_some_and(|all| all.contains(to));
    let in_cycle = reachable.keys().filter(|file| leads(file, file));
    let of_file = |file: &PathBuf| {
        let others = reachable.keys().filter(|other| leads(file, other) && leads(other, file));
        others.map(|other| other.display().to_string()).collect::<Vec<_>>().join(", ")
    };
    in_cycle.map(of_file).collect()
}

#[test]
fn a_folder_uses_only_folders_below_it() {
    assert_eq!(upward(&Crate::read()), [""; 0]);
}

#[test]
fn no_files_form_a_cycle() {
    assert_eq!(cycles(&Crate::read()), BTreeSet::new());
}

#[test]
fn the_check_finds_upward_arrows_and_cycles_in_every_notation() {
    let written = [
        ("connection/permits.rs", "use crate::engine::Lease;"),
        ("connection/closer/close_job.rs", "let x = crate::pool::Pool::builder();"),
        ("driver/driver.rs", "use crate::{error::Error, connection::{Managed, Parts}};"),
        ("error/kind.rs", "fn f(pool: impl Into<crate::observe::Snapshot>) {}"),
        ("sys/clock.rs", "use super::super::driver::Driver;"),
        ("config/reset.rs", "use crate::Pool;"),
    ];
    for (path, code) in written {
        let found = upward(&Crate::read().with(path, code));
        assert!(!found.is_empty(), "{path}: {code}");
        assert!(found.iter().all(|arrow| arrow.starts_with(path)), "{found:?}");
    }
    let krate = Crate::read().with("sys/clock.rs", "use super::secret::Secret;");
    let krate = krate.with("sys/secret.rs", "pub(crate) struct Secret; use super::clock::after;");
    assert_eq!(cycles(&krate), BTreeSet::from(["sys/clock.rs, sys/secret.rs".to_owned()]));
}

#[test]
fn the_check_ignores_comments_and_unit_tests() {
    let text = "//! [`Pool`](crate::Pool)\nuse crate::sys::clock; // not crate::engine\n\
                #[cfg(test)]\nmod tests {\n    use crate::pool::Pool;\n}\n";
    let source = Source::new("connection/permits.rs".into(), text);
    assert_eq!(source.paths(), ["crate::sys::clock"]);
}

#[test]
fn the_root_of_the_source_shows_the_architecture() {
    let entries = source::entries();
    let unexpected: Vec<_> = entries
        .iter()
        .filter(|name| !LAYERS.contains(&name.as_str()) && !BESIDE.contains(&name.as_str()))
        .collect();
    assert_eq!(unexpected, [""; 0]);
    assert!(entries.len() <= 13, "{entries:?}");
}

#[test]
fn a_mod_file_contains_only_declarations() {
    let is_declaration = |line: &str| {
        let line = line.trim();
        let words = ["mod ", "pub", "use ", "#[", "}", "//"];
        line.is_empty() || line.ends_with(',') || words.iter().any(|word| line.starts_with(word))
    };
    for source in Crate::read().sources() {
        if source.path.ends_with("mod.rs") {
            let text = source.code.lines().find(|line| {
                let holds = ["fn ", "struct ", "enum ", "impl", "const ", "static ", "trait "];
                !is_declaration(line) || holds.iter().any(|word| line.contains(word))
            });
            assert_eq!(text, None, "{}", source.path.display());
        }
    }
}

#[test]
fn unsafe_code_is_in_one_file() {
    let has = |source: &&Source| {
        let mut words = source.code.split(|c: char| !c.is_alphanumeric() && c != '_');
        words.any(|word| word == "unsafe" || word == "unsafe_code")
    };
    let krate = Crate::read();
    let found: Vec<_> = krate.sources().filter(has).map(|source| source.path.as_path()).collect();
    assert_eq!(found, [Path::new(UNSAFE)]);
}

#[test]
fn no_file_is_longer_than_500_lines() {
    let root = source::package().join("..");
    let folders = ["src", "tests", "benches", "examples"].into_iter();
    let files = folders.flat_map(|folder| source::files(&root.join(folder)));
    let is_ours = |path: &Path| path.iter().all(|part| part != "target");
    let files = files.filter(|(path, _)| is_ours(path));
    let lines = files.map(|(path, text)| (text.lines().count(), path));
    let long: Vec<_> = lines.filter(|(lines, _)| *lines > LONGEST).collect();
    assert_eq!(long, []);
}

/// Returns the variants of an enum, as its file declares them.
fn variants(path: &str, pattern: impl Fn(&str) -> Option<&str>) -> Vec<String> {
    let text = source::text(path);
    let names = text.lines().filter_map(|line| pattern(line.strip_prefix("    ")?));
    names.filter(|name| name.chars().all(char::is_alphanumeric)).map(str::to_owned).collect()
}

/// Returns the variants of `kind` that no other file mentions.
fn unmentioned(kind: &str, own: &str, variants: &[String]) -> Vec<String> {
    let text = source::all_text_but(own);
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
    let path = "observe/close_reason.rs";
    let reasons = variants(path, |line| Some(line.split_once(" = \"")?.0));
    assert_eq!(reasons.len(), poolwarden::CloseReason::ALL.len());
    assert_eq!(unmentioned("CloseReason", path, &reasons), [""; 0]);
}
