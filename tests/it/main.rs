//! One binary for all tests: `mod` per subject, names are sentences.

mod common;

mod checkout;
mod deadline;
mod housekeeping;
mod lifetime;
mod outage;
mod queue;
