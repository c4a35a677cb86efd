//! One binary for all tests: `mod` per subject, names are sentences.

mod common;

mod checkout;
mod deadline;
mod outage;
mod queue;
