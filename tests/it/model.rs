//! Half a million random steps of the core in a simulation with one thread and a
//! simulated clock.
//!
//! The core and its permits are the crate's own files. A simulated waiter only
//! records that it waits, and wakes when it was signalled or its deadline passed: a
//! missing signal shows as a waiter that should have been awake. After every step
//! the simulation's own counts, kept by simpler means, must agree with the core's.

mod dials;
mod sharing;
mod simulation;
pub(crate) mod sync;

use simulation::Simulation;

/// How many worlds, of how many steps each.
const SIMULATIONS: u64 = 500;
const STEPS: usize = 1_000;

#[test]
fn the_core_keeps_its_invariants_in_half_a_million_random_steps() {
    let seed = crate::common::seed();
    for number in 0..SIMULATIONS {
        let mut simulation = Simulation::new(seed + number);
        (0..STEPS).for_each(|_| simulation.step());
        simulation.end();
    }
}
