//! Every fault that a real server can be brought to, and its classification.

mod mariadb;
mod postgres;

use poolwarden::driver::Driver;
use poolwarden::{Error, Fault, FaultClass, Pool, RetrySafety, Usability};
use std::time::Duration;

fn means(fault: Fault, class: FaultClass, connection: Usability, repeat: RetrySafety) {
    let said = (fault.class(), fault.connection(), fault.retry_safety());
    assert_eq!(said, (class, connection, repeat));
}

/// The server refuses the statement and undoes it; a retry may succeed.
fn is_rolled_back(fault: Fault, class: FaultClass) {
    means(fault, class, Usability::Usable, RetrySafety::RolledBack);
}

/// Returns the error of a check-out from a pool of one.
fn refused<D: Driver>(driver: D) -> Error {
    let pool = Pool::builder().max_size(1).build_lazy(driver).expect("options agree");
    pool.get_timeout(Duration::from_millis(1500)).map(drop).expect_err("refused")
}
