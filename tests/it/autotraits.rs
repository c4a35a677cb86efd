//! The auto traits of the public types, checked at compile time.

use crate::common::fake::Fake;
use poolwarden::driver::Descriptor;
use poolwarden::observe::{Levels, ServerMessage};
use poolwarden::{
    Builder, CloseReason, ConnectError, Error, ErrorKind, FaultClass, Foreign, ManagedConnection,
    Manager, Pool, PooledConnection, Snapshot, Validation,
};
use std::panic::{RefUnwindSafe, UnwindSafe};

fn sends<T: Send + 'static>() {}
fn shares<T: Send + Sync + 'static>() {}
fn clones<T: Clone>() {}
fn is_error<T: std::error::Error + Send + Sync + 'static>() {}
fn unwinds<T: UnwindSafe + RefUnwindSafe>() {}

#[test]
fn pools_errors_and_snapshots_are_shared_between_threads_and_guards_are_sent() {
    shares::<Pool<Fake>>();
    shares::<Manager<Fake>>();
    shares::<Foreign<Manager<Fake>>>();
    sends::<PooledConnection<Fake>>();
    sends::<ManagedConnection<Fake>>();
    sends::<Builder<Fake>>();
    shares::<Error>();
    shares::<ConnectError>();
    shares::<Snapshot>();
    shares::<Levels>();
    shares::<ServerMessage>();
    shares::<Descriptor>();
    shares::<(CloseReason, FaultClass, ErrorKind, Validation)>();
}

#[test]
fn handles_and_values_are_cloned_and_errors_are_errors() {
    clones::<Pool<Fake>>();
    clones::<Snapshot>();
    clones::<ConnectError>();
    is_error::<Error>();
    is_error::<ConnectError>();
    unwinds::<Snapshot>();
}
