//! Too little address space.

use std::fs;

use rustix::param::page_size;
use rustix::process::Resource;

use super::limit::{self, Lowered};

/// More than the free memory that the allocator keeps.
const MUCH: u64 = 1 << 30;

/// Leaves `spare` bytes.
pub(super) fn leave(spare: u64) -> Lowered {
    let lowered = limit::lower(Resource::As, in_use() + spare);
    let huge = usize::try_from(spare + MUCH).expect("an address fits");
    let refused = Vec::<u8>::new().try_reserve_exact(huge).is_err();
    assert!(refused, "the limit on address space has no effect");
    lowered
}

// proc(5), /proc/pid/statm: the first number is the size in pages.
fn in_use() -> u64 {
    let text = fs::read_to_string("/proc/self/statm").expect("/proc is mounted");
    let pages = text.split_whitespace().next().and_then(|pages| pages.parse::<u64>().ok());
    pages.expect("a size in pages") * page_size() as u64
}
