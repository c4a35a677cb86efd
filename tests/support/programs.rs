//! Where the programs of servers and proxies are.

use std::env;
use std::path::{Path, PathBuf};

/// Folders of programs that are not user commands and often not in `PATH`.
const MORE_FOLDERS: [&str; 3] = ["/usr/sbin", "/usr/local/sbin", "/usr/libexec"];

/// Returns the path of a program, if it is installed.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let in_path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&in_path).chain(MORE_FOLDERS.map(PathBuf::from));
    folders.map(|folder| folder.join(name)).find(|path| path.is_file())
}

/// Returns the folder that the environment variable names for a product's programs.
///
/// # Panics
///
/// If it contains none of `sets` completely: each one is enough to run a server.
pub(crate) fn named_folder(variable: &str, sets: &[&[&str]]) -> Option<PathBuf> {
    let folder = PathBuf::from(env::var_os(variable).filter(|value| !value.is_empty())?);
    assert!(
        sets.iter().any(|set| holds(&folder, set)),
        "{}",
        missing_programs(variable, &folder, sets)
    );
    Some(folder)
}

/// Returns `true` if all of these programs are in `folder`.
pub(crate) fn holds(folder: &Path, names: &[&str]) -> bool {
    names.iter().all(|name| folder.join(name).is_file())
}

fn missing_programs(variable: &str, folder: &Path, sets: &[&[&str]]) -> String {
    let sets: Vec<String> = sets.iter().map(|set| set.join(", ")).collect();
    let wanted = sets.join("; or ");
    format!("{variable}={}: the folder must contain {wanted}", folder.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_about_a_folder_without_the_programs_names_its_variable() {
        let folder = Path::new("/nowhere");
        assert!(!holds(folder, &["a"]));
        assert!(holds(Path::new("/bin"), &["sh"]));
        let words = missing_programs("A_PROGRAMS", folder, &[&["a", "b"], &["c"]]);
        assert_eq!(words, "A_PROGRAMS=/nowhere: the folder must contain a, b; or c");
    }
}
