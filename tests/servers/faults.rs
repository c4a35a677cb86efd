//! Every fault that a real server can be brought to, and what it is said to mean.

mod mariadb;
mod postgres;

use poolwarden::{Driver, Error, Fault, FaultClass, Pool, Repeat, Usability};
use std::time::Duration;

fn means(fault: Fault, class: FaultClass, connection: Usability, repeat: Repeat) {
    let said = (fault.class(), fault.connection(), fault.repeat());
    assert_eq!(said, (class, connection, repeat));
}

/// The server refuses the statement and undoes it; another try may succeed.
fn may_be_tried_again(fault: Fault, class: FaultClass) {
    means(fault, class, Usability::Usable, Repeat::RolledBack);
}

/// A pool that holds what it opened, one at a time.
fn refused<D: Driver>(driver: D) -> Error {
    let pool = Pool::builder().max_size(1).build_lazy(driver).expect("knobs agree");
    pool.get_timeout(Duration::from_millis(1500)).map(drop).expect_err("refused")
}
