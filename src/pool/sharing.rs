//! What a builder was told of shared permits.

use crate::config::Config;
use crate::connection::permit_group::Member;
use crate::connection::{SharedPermits, join};
use crate::error::Error;

/// The largest weight: more would be no share for anybody else.
const MAX_WEIGHT: u32 = 1_000;

/// What was chosen of shared permits.
#[derive(Default)]
pub(super) struct Sharing {
    pub(super) permits: Option<SharedPermits>,
    pub(super) min: Option<u32>,
    pub(super) weight: Option<u32>,
}

impl Sharing {
    /// Makes the pool one of those that share the permits, if it is to.
    pub(super) fn join(&self, config: &Config) -> Result<Option<Member>, Error> {
        let (min, weight) = (self.min.unwrap_or(0), self.weight.unwrap_or(1));
        let Some(permits) = &self.permits else {
            return match (self.min, self.weight) {
                (None, None) => Ok(None),
                (Some(_), _) => Err(Error::config("min_permits is set without permits")),
                (None, Some(_)) => Err(Error::config("permit_weight is set without permits")),
            };
        };
        if !(1..=MAX_WEIGHT).contains(&weight) {
            let text = format!("permit_weight {weight}: must be 1 to {MAX_WEIGHT}");
            return Err(Error::config(text));
        }
        if config.size_policy.is_none() && min > config.max_size {
            let text = format!("min_permits {min} exceeds max_size {}", config.max_size);
            return Err(Error::config(text));
        }
        join(permits, min, weight).map(Some)
    }
}
