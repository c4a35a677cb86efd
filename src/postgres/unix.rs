//! Unix sockets: the driver shows none, so theirs is found by looking which one
//! is new.
//!
//! One dial at a time for each server, under a lock, so that exactly one new
//! socket leads there afterwards. If other code connects to the same server at
//! the same moment there are two: then neither is claimed, and the connection is
//! pinged instead of peeked at.

use crate::driver::Attempt;
use crate::liveness::{self, Descriptor};
use parking_lot::Mutex;
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

/// How long a dial waits for its turn; it then goes on without being seen.
const TURN: Duration = Duration::from_millis(500);

/// One lock for each server; as many as there are socket paths in the program.
static TURNS: LazyLock<Mutex<HashMap<PathBuf, Arc<Mutex<()>>>>> = LazyLock::new(Mutex::default);

/// Runs `connect` so that the socket it makes can be told apart, and returns a
/// descriptor of our own for it, if exactly one appeared.
pub(super) fn watched<T, E>(
    path: &Path,
    attempt: &Attempt,
    connect: impl FnOnce() -> Result<T, E>,
) -> Result<(T, Option<Descriptor>), E> {
    let turn = Arc::clone(TURNS.lock().entry(path.to_path_buf()).or_default());
    let patience = attempt.deadline().min(Instant::now() + TURN);
    let Some(_turn) = turn.try_lock_until(patience) else {
        return connect().map(|connected| (connected, None));
    };
    let before: Arc<HashSet<u64>> = Arc::new(inodes(path));
    let (known, place) = (Arc::clone(&before), path.to_path_buf());
    attempt.search_with(Box::new(move || only_new(&place, &known)));
    let connected = connect()?;
    Ok((connected, only_new(path, &before)))
}

fn inodes(path: &Path) -> HashSet<u64> {
    liveness::find_unix(path).into_iter().map(|(inode, _)| inode).collect()
}

fn only_new(path: &Path, before: &HashSet<u64>) -> Option<Descriptor> {
    let found = liveness::find_unix(path);
    let mut new = found.into_iter().filter(|(inode, _)| !before.contains(inode));
    match (new.next(), new.next()) {
        (Some((_, socket)), None) => Some(socket),
        _ => None,
    }
}
