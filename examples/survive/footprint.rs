//! The resources of the process: memory, threads, descriptors. None may grow.

use std::fmt;
use std::fs;
use std::time::{Duration, Instant};

/// The resources at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Footprint {
    memory_kib: u64,
    threads: u64,
    descriptors: u64,
}

/// Memory may grow by this much: the allocator keeps freed memory.
const SLACK_KIB: u64 = 48 * 1024;

/// One more descriptor: the pipe by which the servers end with this process.
const SLACK_DESCRIPTORS: u64 = 1;

impl Footprint {
    pub fn now() -> Footprint {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let number = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("0");
            line.split_whitespace().find_map(|word| word.parse().ok()).unwrap_or(0)
        };
        let descriptors = fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
        Footprint {
            memory_kib: number("VmRSS:"),
            threads: number("Threads:"),
            descriptors: descriptors as u64,
        }
    }

    /// Waits for threads and descriptors that are still being closed; returns the resources then.
    pub fn settled(before: &Footprint) -> Footprint {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let now = Footprint::now();
            if before.compare(&now).is_fine() || Instant::now() >= deadline {
                return now;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    pub fn compare(self, after: &Footprint) -> Growth {
        Growth { before: self, after: *after }
    }
}

/// The resources before and after.
pub struct Growth {
    before: Footprint,
    after: Footprint,
}

impl Growth {
    /// Returns `true` if no resource was leaked.
    pub fn is_fine(&self) -> bool {
        self.after.threads <= self.before.threads
            && self.after.descriptors <= self.before.descriptors + SLACK_DESCRIPTORS
            && self.after.memory_kib <= self.before.memory_kib + SLACK_KIB
    }
}

impl fmt::Display for Growth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (before, after) = (self.before, self.after);
        write!(
            f,
            "this process before and after: memory {} and {} MiB, threads {} and {}, \
             descriptors {} and {}",
            before.memory_kib / 1024,
            after.memory_kib / 1024,
            before.threads,
            after.threads,
            before.descriptors,
            after.descriptors
        )
    }
}
