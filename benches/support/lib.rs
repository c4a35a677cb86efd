//! Measurement: the candidates take turns, one round each, so that a change in the speed of
//! the computer affects all of them equally. The result is the median of the rounds.

use std::fmt;
use std::time::{Duration, Instant};

/// What is measured: a name and an operation, such as a check-out with its check-in.
pub struct Candidate<'a> {
    /// The name on its line of the output.
    pub name: &'static str,
    /// Runs the operation this many times on the calling thread.
    pub cycle: Box<dyn Fn(u32) + Sync + 'a>,
}

impl fmt::Debug for Candidate<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Candidate").field("name", &self.name).finish_non_exhaustive()
    }
}

impl<'a> Candidate<'a> {
    /// Creates a candidate from a closure that runs the operation once.
    pub fn new(name: &'static str, once: impl Fn() + Sync + 'a) -> Candidate<'a> {
        let cycle = Box::new(move |times| (0..times).for_each(|_| once()));
        Candidate { name, cycle }
    }
}

/// The minimum duration of one round of one candidate.
const MIN_ROUND: Duration = Duration::from_millis(60);

/// Rounds of each candidate; the result is their median.
const ROUND_COUNT: usize = 15;

/// Measures all candidates with this many threads. Returns the nanoseconds per operation:
/// wall-clock time divided by the number of operations of all threads.
pub fn measure(candidates: &[Candidate<'_>], threads: u32) -> Vec<f64> {
    let cycles: Vec<u32> = candidates.iter().map(|one| calibrate(one, threads)).collect();
    let mut rounds = vec![Vec::with_capacity(ROUND_COUNT); candidates.len()];
    for _ in 0..ROUND_COUNT {
        for (index, candidate) in candidates.iter().enumerate() {
            rounds[index].push(round(candidate, threads, cycles[index]));
        }
    }
    rounds.iter_mut().map(|figures| median(figures)).collect()
}

/// Returns how often each thread runs the operation in one round.
fn calibrate(candidate: &Candidate<'_>, threads: u32) -> u32 {
    let mut cycles = 4;
    loop {
        let start = Instant::now();
        round(candidate, threads, cycles);
        if start.elapsed() >= MIN_ROUND || cycles > 100_000_000 {
            return cycles;
        }
        cycles *= 2;
    }
}

fn round(candidate: &Candidate<'_>, threads: u32, cycles: u32) -> f64 {
    let start = Instant::now();
    if threads == 1 {
        (candidate.cycle)(cycles);
    } else {
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| (candidate.cycle)(cycles));
            }
        });
    }
    start.elapsed().as_nanos() as f64 / (f64::from(cycles) * f64::from(threads))
}

fn median(figures: &mut [f64]) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// Prints one line per candidate: name, threads, median, and the ratio to the first one.
pub fn print(candidates: &[Candidate<'_>], threads: u32, figures: &[f64]) {
    for (candidate, figure) in candidates.iter().zip(figures) {
        let ratio = figure / figures[0];
        println!("{:<28} {threads:>3} {figure:>12.1} {ratio:>9.2}", candidate.name);
    }
}

/// Peeks at a socket with one system call.
pub fn peek(socket: &std::net::TcpStream) {
    let mut byte = [std::mem::MaybeUninit::uninit(); 1];
    // MSG_PEEK | MSG_DONTWAIT on Linux.
    let found = socket2::SockRef::from(socket).recv_with_flags(&mut byte, 0x2 | 0x40);
    assert!(found.is_err(), "the socket has no pending data");
}
