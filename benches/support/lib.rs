//! How the figures are made: rounds of every contender in turn, so that a
//! computer that drifts drifts for all of them, and the median of the rounds.

use std::time::{Duration, Instant};

/// One contender: a name and a check-out with its check-in.
pub struct Contender<'a> {
    /// The name on its line.
    pub name: &'static str,
    /// Checks out and in so many times on the calling thread.
    pub cycle: Box<dyn Fn(u32) + Sync + 'a>,
}

impl<'a> Contender<'a> {
    /// Makes a contender of a closure that does one check-out and check-in.
    pub fn new(name: &'static str, once: impl Fn() + Sync + 'a) -> Contender<'a> {
        let cycle = Box::new(move |times| (0..times).for_each(|_| once()));
        Contender { name, cycle }
    }
}

/// How long one round of one contender takes at least.
const ROUND: Duration = Duration::from_millis(60);

/// Rounds of each contender; the median of them is its figure.
const ROUNDS: usize = 15;

/// Measures all contenders at so many threads: nanoseconds for one cycle, as wall
/// time over the operations of all threads.
pub fn measure(contenders: &[Contender<'_>], threads: u32) -> Vec<f64> {
    let cycles: Vec<u32> = contenders.iter().map(|one| calibrate(one, threads)).collect();
    let mut rounds = vec![Vec::with_capacity(ROUNDS); contenders.len()];
    for _ in 0..ROUNDS {
        for (place, contender) in contenders.iter().enumerate() {
            rounds[place].push(round(contender, threads, cycles[place]));
        }
    }
    rounds.iter_mut().map(|figures| median(figures)).collect()
}

/// Finds how many cycles a thread does in a round.
fn calibrate(contender: &Contender<'_>, threads: u32) -> u32 {
    let mut cycles = 4;
    loop {
        let start = Instant::now();
        round(contender, threads, cycles);
        if start.elapsed() >= ROUND || cycles > 100_000_000 {
            return cycles;
        }
        cycles *= 2;
    }
}

fn round(contender: &Contender<'_>, threads: u32, cycles: u32) -> f64 {
    let start = Instant::now();
    if threads == 1 {
        (contender.cycle)(cycles);
    } else {
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| (contender.cycle)(cycles));
            }
        });
    }
    start.elapsed().as_nanos() as f64 / (f64::from(cycles) * f64::from(threads))
}

fn median(figures: &mut [f64]) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// Prints one line for each contender: name, threads, median, ratio to the first.
pub fn print(contenders: &[Contender<'_>], threads: u32, figures: &[f64]) {
    for (contender, figure) in contenders.iter().zip(figures) {
        let ratio = figure / figures[0];
        println!("{:<28} {threads:>3} {figure:>12.1} {ratio:>9.2}", contender.name);
    }
}

/// Peeks at a socket, one system call.
pub fn peek(socket: &std::net::TcpStream) {
    let mut byte = [std::mem::MaybeUninit::uninit(); 1];
    // MSG_PEEK | MSG_DONTWAIT on Linux.
    let found = socket2::SockRef::from(socket).recv_with_flags(&mut byte, 0x2 | 0x40);
    assert!(found.is_err(), "the socket is quiet");
}
