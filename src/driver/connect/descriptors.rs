//! The descriptors that a driver opens during a dial: if the process lacks them, the dial
//! fails before it begins, whatever the driver would make of that.

use crate::error::{ConnectError, FaultClass};
use crate::sys::descriptors::{self, Claim};
use std::time::Instant;

/// Claims the descriptors for one dial to this server.
pub(crate) fn claim(count: usize, server: &str, deadline: Instant) -> Result<Claim, ConnectError> {
    descriptors::claim(count, deadline)
        .map_err(|error| ConnectError::new(FaultClass::LocalResource, server).with_source(error))
}
