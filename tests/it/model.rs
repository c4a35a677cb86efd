//! Half a million random steps of the core in a world of one thread, with a
//! clock that passes when the world says so.
//!
//! The core and its permits are the crate's own files. Who waits here only says
//! so, and wakes when it was signalled or its time is over: a signal too few is
//! found as a sleeper who should have been awake. After every step the world's
//! own books, kept by simpler means, must agree with the core's.

pub(crate) mod sync;
mod world;

use world::World;

/// How many worlds, of how many steps each.
const WORLDS: u64 = 500;
const STEPS: usize = 1_000;

#[test]
fn the_core_keeps_its_laws_in_half_a_million_random_steps() {
    let seed = crate::common::seed();
    for number in 0..WORLDS {
        let mut world = World::new(seed + number);
        (0..STEPS).for_each(|_| world.step());
        world.end();
    }
}
