//! A random schedule: callers, dials that succeed or fail, closes, changed limits.

use super::{Clock, Conn, SimPool};
use crate::core::{Failure, Ticket};
use crate::permit_group::{PermitGroup, Share};
use fastrand::Rng;
use std::sync::Arc;

const SIMULATIONS: u64 = 40;
const STEPS: usize = 1_000;

/// So many rounds, of 10 ms each, serve every caller that is left in the end: attempts after a
/// failure are 100 ms apart, and pools take turns of about as long.
const ROUNDS: usize = 2_000;

struct World {
    chance: Rng,
    clock: Arc<Clock>,
    group: Arc<PermitGroup>,
    limit: u32,
    /// The most that may be held and reserved: more than the limit after that was lowered.
    allowed: u32,
    pools: Vec<Part>,
}

/// A pool and what its callers do.
struct Part {
    pool: Arc<SimPool>,
    held: Vec<Conn>,
    waiting: Vec<Ticket>,
}

impl Part {
    /// Returns how many connections the server sees, those being opened and closed included.
    fn seen(&self) -> u32 {
        let counts = self.pool.core.counts();
        let closing = self.pool.closing.lock().expect("not poisoned").len();
        let dials = self.pool.dials.lock().expect("not poisoned").len();
        counts.idle + counts.in_use + u32::try_from(closing + dials).expect("few")
    }
}

impl World {
    fn new(seed: u64) -> World {
        let mut chance = Rng::with_seed(seed);
        let (clock, limit) = (Clock::new(), chance.u32(1..8));
        let group = PermitGroup::new(limit);
        let (mut free, count) = (limit - 1, chance.usize(1..6));
        let pools = (0..count).map(|_| {
            let max = chance.u32(1..6);
            let min = chance.u32(..3).min(free).min(max);
            free -= min;
            let terms = Share { min, weight: chance.u32(1..4) };
            let pool = SimPool::new(&group, &clock, max, terms);
            Part { pool, held: Vec::new(), waiting: Vec::new() }
        });
        let pools = pools.collect();
        World { chance, clock, group, limit, allowed: limit, pools }
    }

    fn step(&mut self) {
        let part = self.chance.usize(..self.pools.len());
        let part = &mut self.pools[part];
        let pool = Arc::clone(&part.pool);
        match self.chance.u32(..100) {
            0..20 => {
                let (conn, ticket) = pool.get();
                part.held.extend(conn);
                part.waiting.extend(ticket);
            }
            20..38 => {
                if let Some(conn) = part.held.pop() {
                    pool.check_in(conn);
                }
            }
            38..41 => part.held.pop().into_iter().for_each(|conn| pool.discard(conn)),
            41..52 => pool.finish_closing(),
            52..66 => self.finish_dial(&pool),
            66..76 => part.look(self.chance.u8(..4) == 0),
            76..78 => part.waiting.pop().into_iter().for_each(|ticket| pool.leave(&ticket)),
            78..80 => {
                let retired = pool.core.retire_idle(0, |_| true, |_| false);
                pool.close(retired);
            }
            80..83 => {
                let order = pool.core.refill(2, self.clock.now());
                pool.start_dials(order.into_iter().collect());
            }
            83..85 => self.change_limits(&pool),
            85..92 => drop(self.group.refresh()),
            _ => self.clock.pass(self.chance.u64(..20_000)),
        }
        self.check();
    }

    fn finish_dial(&mut self, pool: &SimPool) {
        let chance = &mut self.chance;
        let Some(order) = pool.a_dial(|count| chance.usize(..count)) else { return };
        match chance.u8(..8) {
            0 => pool.dial_fails(order, Failure::Refused),
            1 => pool.dial_fails(order, Failure::Waits),
            _ => pool.dial_succeeds(order),
        }
    }

    fn change_limits(&mut self, pool: &SimPool) {
        if self.chance.bool() {
            pool.permits.set_limit(self.chance.u32(1..6));
            let orders = pool.core.permit_freed(self.clock.now());
            return pool.start_dials(orders);
        }
        let wanted = self.chance.u32(1..8);
        match self.group.set_limit(wanted) {
            Ok(()) => self.limit = wanted,
            Err(needed) => assert!(needed == self.needed() && wanted < needed),
        }
        self.group.settle();
    }

    fn needed(&self) -> u32 {
        let mins = self.pools.iter().map(|part| part.pool.terms.min);
        mins.clone().sum::<u32>() + u32::from(mins.min() == Some(0))
    }

    fn check(&mut self) {
        let usage = self.group.usage();
        let seen: u32 = self.pools.iter().map(Part::seen).sum();
        // Granted permits are kept for their pools until these have planned, which they have.
        assert_eq!(usage.used, seen, "{usage:?}");
        let missing = self.pools.iter().map(|it| it.pool.terms.min.saturating_sub(it.seen()));
        let kept = seen + missing.sum::<u32>();
        assert!(kept <= self.allowed.max(self.limit), "{kept} of {}", self.limit);
        self.allowed = kept.max(self.limit);
    }

    /// Lets everything finish: every caller is served, and nothing stays held.
    fn end(mut self) {
        let mut rounds = 0;
        while self.pools.iter().any(|part| !part.waiting.is_empty()) {
            rounds += 1;
            assert!(rounds < ROUNDS, "a caller is not served: {:?}", self.group.usage());
            self.settle_all();
        }
        self.settle_all();
        for part in &self.pools {
            let idle = part.pool.core.close();
            part.pool.close(idle);
            part.pool.permits.retire();
        }
        self.settle_all();
        self.settle_all();
        self.check();
        assert_eq!((self.group.usage().used, self.group.usage().wanted), (0, 0));
        self.pools.clear();
        assert_eq!(self.group.usage().pools, 0);
    }

    fn settle_all(&mut self) {
        for part in &mut self.pools {
            part.held.drain(..).for_each(|conn| part.pool.check_in(conn));
            while let Some(order) = part.pool.a_dial(|_| 0) {
                part.pool.dial_succeeds(order);
            }
            while !part.pool.closing.lock().expect("not poisoned").is_empty() {
                part.pool.finish_closing();
            }
            (0..part.waiting.len()).for_each(|_| part.look(true));
        }
        self.clock.pass(10_000);
        self.group.refresh();
    }
}

impl Part {
    /// A waiter wakes.
    fn look(&mut self, first: bool) {
        if self.waiting.is_empty() {
            return;
        }
        let ticket = if first { self.waiting.remove(0) } else { self.waiting.pop().expect("one") };
        match self.pool.look(&ticket) {
            Ok(conn) => self.held.extend(conn),
            Err(()) => {
                self.waiting.push(ticket);
                self.pool.plan();
            }
        }
    }
}

#[test]
fn pools_that_share_permits_keep_to_the_limit_and_serve_every_caller() {
    let seed = crate::common::seed();
    for number in 0..SIMULATIONS {
        let mut world = World::new(seed + number);
        (0..STEPS).for_each(|_| world.step());
        world.end();
    }
}
