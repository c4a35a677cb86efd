//! The crate's source as files with the paths that they name.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// One file of the crate.
pub(super) struct Source {
    pub(super) path: PathBuf,
    /// Its text without comments and unit tests.
    pub(super) code: String,
}

impl Source {
    pub(super) fn new(path: PathBuf, text: &str) -> Source {
        let lines: Vec<&str> = text.lines().collect();
        let is_test =
            |line: &str| line.starts_with("#[cfg(test)]") || line.starts_with("#[cfg(all(test");
        let end = lines.iter().enumerate().position(|(number, line)| {
            is_test(line)
                && lines.get(number + 1).is_some_and(|next| next.starts_with("mod "))
                && lines.get(number + 1).is_some_and(|next| next.ends_with('{'))
        });
        let lines = &lines[..end.unwrap_or(lines.len())];
        let code = lines.iter().map(|line| without_comment(line).to_owned() + "\n").collect();
        Source { path, code }
    }

    /// The module that the file is, from the crate's root: `["driver", "mysql"]`.
    fn module(&self) -> Vec<String> {
        let parts = self.path.iter().map(|part| part.to_string_lossy().replace(".rs", ""));
        parts.filter(|part| part != "mod" && part != "lib").collect()
    }

    /// All paths that it names by `crate::` or `super::`, lists in braces resolved.
    pub(super) fn paths(&self) -> Vec<String> {
        let mut found = Vec::new();
        for root in ["crate::", "super::"] {
            for (place, _) in self.code.match_indices(root) {
                let before = self.code[..place].chars().next_back();
                if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':' || c == '$') {
                    continue;
                }
                expand(&self.code[place..], "", &mut found);
            }
        }
        found
    }
}

fn without_comment(line: &str) -> &str {
    line.split_once("//").map_or(line, |(code, _)| code)
}

/// Reads one path, or each path of a list in braces; returns how much of the text it took.
fn expand(text: &str, before: &str, found: &mut Vec<String>) -> usize {
    let start = text.len() - text.trim_start().len();
    let rest = &text[start..];
    if let Some(list) = rest.strip_prefix('{') {
        let mut taken = start + 1;
        let mut list = list;
        loop {
            let one = expand(list, before, found);
            let after = list[one..].trim_start();
            taken += list.len() - after.len();
            match after.chars().next() {
                Some(',') => (list, taken) = (&after[1..], taken + 1),
                Some('}') => return taken + 1,
                _ => return taken,
            }
        }
    }
    let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
    let path = format!("{before}{}", &rest[..end]);
    if let Some(after) = rest[end..].strip_prefix("::")
        && !after.starts_with('<')
    {
        return start + end + 2 + expand(after, &format!("{path}::"), found);
    }
    if end > 0 {
        found.push(path);
    }
    start + end
}

/// All files of the crate.
pub(super) struct Crate {
    files: BTreeMap<Vec<String>, Source>,
}

impl Crate {
    pub(super) fn read() -> Crate {
        let all = files(&package().join("../src"));
        assert!(all.len() > 80, "the crate's source was found");
        let sources = all.into_iter().map(|(path, text)| Source::new(path, &text));
        Crate { files: sources.map(|source| (source.module(), source)).collect() }
    }

    /// The same with another text in one file.
    pub(super) fn with(mut self, path: &str, text: &str) -> Crate {
        let source = Source::new(path.into(), text);
        let before = self.files.insert(source.module(), source);
        assert!(before.is_some(), "there is a file {path}");
        self
    }

    pub(super) fn sources(&self) -> impl Iterator<Item = &Source> {
        self.files.values()
    }

    /// Which file uses which: a name that a `mod.rs` passes on belongs to the file
    /// that it comes from.
    pub(super) fn arrows(&self) -> BTreeSet<(PathBuf, PathBuf)> {
        let mut arrows = BTreeSet::new();
        for (module, source) in &self.files {
            if source.path.ends_with("mod.rs") || source.path.ends_with("lib.rs") {
                continue;
            }
            for path in source.paths() {
                if let Some(target) = self.resolve(module, &path)
                    && target != source.path
                {
                    arrows.insert((source.path.clone(), target));
                }
            }
        }
        arrows
    }

    fn resolve(&self, from: &[String], path: &str) -> Option<PathBuf> {
        let mut here: Vec<String> = Vec::new();
        let mut parts = path.split("::").peekable();
        if parts.peek() == Some(&"super") {
            here = from.to_vec();
        }
        for part in parts {
            match part {
                "crate" | "self" => {}
                "super" => drop(here.pop()),
                part => {
                    let mut below = here.clone();
                    below.push(part.to_owned());
                    if self.files.contains_key(&below) {
                        here = below;
                        continue;
                    }
                    let file = self.files.get(&here)?;
                    return match passed_on(&file.code, part) {
                        Some(by) => self.resolve(&here, &format!("self::{}", inside(&here, &by))),
                        None => Some(file.path.clone()),
                    };
                }
            }
        }
        Some(self.files.get(&here)?.path.clone())
    }
}

/// A path below a module, from the crate's root.
fn inside(module: &[String], path: &str) -> String {
    let path = path.strip_prefix("crate::").map_or_else(
        || module.iter().map(String::as_str).chain([path]).collect::<Vec<_>>().join("::"),
        str::to_owned,
    );
    path.replace("self::", "")
}

/// Where a module takes a name from that it passes on.
fn passed_on(code: &str, name: &str) -> Option<String> {
    let mut found = Vec::new();
    for (place, _) in code.match_indices("use ") {
        expand(&code[place + 4..], "", &mut found);
    }
    found.into_iter().find(|path| path.ends_with(&format!("::{name}")))
}

/// The paths of all names that a file passes on to everybody, but for what is only for fuzzing.
pub(super) fn passed_on_by(text: &str) -> Vec<String> {
    let code: String = text.lines().map(|line| without_comment(line).to_owned() + "\n").collect();
    let mut found = Vec::new();
    for (place, _) in code.match_indices("\npub use ") {
        expand(code[place + "\npub use ".len()..].trim_start_matches("::"), "", &mut found);
    }
    found
}

pub(super) fn package() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The names of what stands in `src/`.
pub(super) fn entries() -> Vec<String> {
    let entries = fs::read_dir(package().join("../src")).expect("the crate has a source");
    let mut names: Vec<_> =
        entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// The text of one file of the crate.
pub(super) fn text(path: &str) -> String {
    fs::read_to_string(package().join("../src").join(path)).expect("it is there")
}

/// The texts of the crate and of its tests, but for one file of the crate.
pub(super) fn all_text_but(own: &str) -> String {
    let mut text = String::new();
    for folder in ["../src", "."] {
        let all = files(&package().join(folder)).into_iter();
        all.filter(|(path, _)| path != Path::new(own)).for_each(|(_, file)| text.push_str(&file));
    }
    text
}

/// All `.rs` files below a folder, with their paths from there.
pub(super) fn files(folder: &Path) -> Vec<(PathBuf, String)> {
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
