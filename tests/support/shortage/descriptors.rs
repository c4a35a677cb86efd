//! Too few descriptors.

use std::fs::{self, File};

use rustix::process::Resource;

use super::limit::{self, Lowered};

/// The descriptors that are occupied, and the limit above them.
#[derive(Debug)]
pub(super) struct Taken {
    // In this order: the limit holds until all of them are closed.
    _fillers: Vec<File>,
    _limit: Lowered,
}

/// Leaves `spare` descriptors.
///
/// The limit is one on a descriptor's number, not on how many are open: the gaps below it
/// are filled.
pub(super) fn leave(spare: usize) -> Taken {
    let filler = File::open("/dev/null").expect("a descriptor is free");
    let limit = limit::lower(Resource::Nofile, highest() + 1 + spare as u64);
    let mut fillers: Vec<File> = std::iter::from_fn(|| filler.try_clone().ok()).collect();
    fillers.push(filler);
    assert!(fillers.len() > spare, "only {} descriptors were free", fillers.len());
    fillers.truncate(fillers.len() - spare);
    if spare == 0 {
        occupy_closed(&mut fillers);
    }
    Taken { _fillers: fillers, _limit: limit }
}

/// Occupies what other threads have closed since.
fn occupy_closed(fillers: &mut Vec<File>) {
    for _ in 0..100 {
        match File::open("/dev/null") {
            Ok(file) => fillers.push(file),
            Err(_) => return,
        }
    }
    panic!("the limit on descriptors has no effect");
}

fn highest() -> u64 {
    let folder = fs::read_dir("/proc/self/fd").expect("/proc is mounted");
    let numbers = folder.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers.max().expect("the listing itself has one open")
}
