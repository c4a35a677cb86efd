//! Pools whose callers always wait compete for permits.

use super::{Clock, Conn, SimPool};
use crate::core::Ticket;
use crate::permit_group::{PermitGroup, Share};
use fastrand::Rng;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A step of the simulated time, in microseconds.
const STEP: u64 = 1_000;

/// How long a connect and a close take.
const CONNECT: Duration = Duration::from_millis(6);
const CLOSE: Duration = Duration::from_millis(2);

/// A pool with callers that ask for a connection again as soon as they have returned one.
struct Competitor {
    pool: Arc<SimPool>,
    callers: Vec<Caller>,
    /// When each attempt under way began, and each close; the oldest first.
    dials: Vec<Instant>,
    closes: Vec<Instant>,
    /// The most attempts at a time.
    most_dials: usize,
    /// The server answers no attempt.
    hangs: bool,
    /// Permits held, in microseconds.
    held_for: u64,
    served: u64,
    longest_wait: Duration,
}

enum Caller {
    Out,
    Waiting(Ticket, Instant),
    Holding(Conn, Instant),
}

impl Competitor {
    fn new(group: &Arc<PermitGroup>, clock: &Arc<Clock>, callers: usize, terms: Share) -> Self {
        Competitor {
            pool: SimPool::new(group, clock, 100, terms),
            callers: (0..callers).map(|_| Caller::Out).collect(),
            dials: Vec::new(),
            closes: Vec::new(),
            most_dials: 0,
            hangs: false,
            held_for: 0,
            served: 0,
            longest_wait: Duration::ZERO,
        }
    }

    fn step(&mut self, chance: &mut Rng) {
        let now = self.pool.clock.now();
        for index in 0..self.callers.len() {
            let caller = std::mem::replace(&mut self.callers[index], Caller::Out);
            self.callers[index] = self.act(caller, now, chance);
        }
        // What began since the last step.
        let count = self.pool.dials.lock().expect("not poisoned").len();
        self.dials.resize(count.max(self.dials.len()), now);
        self.most_dials = self.most_dials.max(count);
        while self.dials.first().is_some_and(|began| *began + CONNECT <= now) && !self.hangs {
            self.dials.remove(0);
            if let Some(order) = self.pool.a_dial(|_| 0) {
                self.pool.dial_succeeds(order);
            }
        }
        let count = self.pool.closing.lock().expect("not poisoned").len();
        self.closes.resize(count.max(self.closes.len()), now);
        while self.closes.first().is_some_and(|began| *began + CLOSE <= now) {
            self.closes.remove(0);
            self.pool.finish_closing();
        }
        self.held_for += u64::from(self.pool.permits.usage().used) * STEP;
    }

    fn act(&mut self, caller: Caller, now: Instant, chance: &mut Rng) -> Caller {
        match caller {
            Caller::Out => match self.pool.get() {
                (Some(conn), _) => self.hold(conn, now, chance),
                (None, Some(ticket)) => Caller::Waiting(ticket, now),
                (None, None) => Caller::Out,
            },
            Caller::Waiting(ticket, since) => match self.pool.look(&ticket) {
                Ok(Some(conn)) => {
                    self.longest_wait = self.longest_wait.max(now - since);
                    self.hold(conn, now, chance)
                }
                Ok(None) => Caller::Out,
                Err(()) => Caller::Waiting(ticket, since),
            },
            Caller::Holding(conn, until) if until <= now => {
                self.pool.check_in(conn);
                Caller::Out
            }
            Caller::Holding(..) => caller,
        }
    }

    fn hold(&mut self, conn: Conn, now: Instant, chance: &mut Rng) -> Caller {
        self.served += 1;
        Caller::Holding(conn, now + Duration::from_micros(chance.u64(500..5_000)))
    }
}

/// Lets pools of these weights compete for so many seconds; each has so many callers.
fn compete(limit: u32, weights: &[u32], callers: usize, seconds: u64) -> Vec<Competitor> {
    let (clock, group) = (Clock::new(), PermitGroup::new(limit));
    let terms = |weight: &u32| Share { min: 0, weight: *weight };
    let pools = weights.iter().map(|it| Competitor::new(&group, &clock, callers, terms(it)));
    let mut pools: Vec<Competitor> = pools.collect();
    run(&group, &mut pools, seconds);
    pools
}

fn run(group: &Arc<PermitGroup>, pools: &mut [Competitor], seconds: u64) {
    let mut chance = Rng::with_seed(crate::common::seed());
    for step in 0..seconds * 1_000_000 / STEP {
        // Nobody is always first.
        let offset = chance.usize(..pools.len());
        for index in 0..pools.len() {
            let index = (index + offset) % pools.len();
            pools[index].step(&mut chance);
        }
        assert!(group.usage().used <= group.usage().limit);
        if step % 10 == 0 {
            group.refresh();
            pools.iter().for_each(|competitor| competitor.pool.plan());
        }
        pools[0].pool.clock.pass(STEP);
    }
}

/// Asserts that what the pools held differs by less than a fifth, by their weights.
#[track_caller]
fn assert_fair(pools: &[Competitor], weights: &[u32]) {
    let per_weight = pools.iter().zip(weights);
    let shares: Vec<f64> =
        per_weight.map(|(pool, weight)| pool.held_for as f64 / f64::from(*weight)).collect();
    let most = shares.iter().copied().fold(0.0, f64::max);
    let least = shares.iter().copied().fold(f64::MAX, f64::min);
    assert!(most < 1.2 * least, "{shares:?}");
}

#[test]
fn pools_with_equal_demand_hold_permits_for_equal_times() {
    for (limit, count, callers) in [(5, 2, 4), (10, 3, 6), (1, 3, 2), (4, 12, 1)] {
        let weights = vec![1; count];
        let pools = compete(limit, &weights, callers, 8);
        assert_fair(&pools, &weights);
        let served: Vec<u64> = pools.iter().map(|pool| pool.served).collect();
        assert!(served.iter().all(|served| *served > 10), "{limit} for {count}: {served:?}");
    }
}

#[test]
fn pools_hold_permits_by_their_weights() {
    let weights = [1, 2, 5];
    for limit in [3, 8] {
        assert_fair(&compete(limit, &weights, limit as usize, 8), &weights);
    }
}

#[test]
fn no_pool_waits_for_ever_while_many_compete() {
    for pool in compete(2, &[1; 15], 1, 8) {
        assert!(pool.served > 0 && pool.longest_wait < Duration::from_secs(5));
    }
}

#[test]
fn a_pool_whose_server_hangs_has_its_share_of_attempts_and_at_least_one() {
    for (limit, share) in [(8, 2), (3, 1)] {
        let (clock, group) = (Clock::new(), PermitGroup::new(limit));
        let terms = Share { min: 0, weight: 1 };
        let pools = (0..4).map(|_| Competitor::new(&group, &clock, 4, terms));
        let mut pools: Vec<Competitor> = pools.collect();
        pools[0].hangs = true;
        run(&group, &mut pools, 5);
        assert_eq!(pools[0].most_dials, share);
        assert!(pools[1..].iter().all(|pool| pool.served > 100));
    }
}
