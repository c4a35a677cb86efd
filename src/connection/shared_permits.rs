//! The handle on permits that several pools share, and what keeps them moving with time.

use super::permit_group::{GroupUsage, Member, PermitGroup, Share};
use super::permits::Permits;
use crate::error::{Error, ErrorKind};
use crate::sys::housekeeper::{self, Maintain};
use crate::sys::process;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often the housekeeper looks for connections that may be taken over, while a pool
/// waits for a permit.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// A maximum number of connections that any number of pools have together, of any drivers:
/// one cap over what is open, being opened and being closed.
///
/// Cheap to clone; all clones are the same permits. Pools join by
/// [`Builder::permits`](crate::Builder::permits), and each keeps its own `max_size` as well.
///
/// # How the permits are divided
///
/// - A free permit goes to the first pool that needs it. If none is free, a pool whose callers
///   wait takes over the permit of the connection that has been idle longest in another pool:
///   that connection is closed first, and the new one is opened when the server has confirmed
///   it. A connection that was used less than 5 ms ago is left to a pool that has no more than
///   its share.
/// - If no connection is idle, a pool that has more than its share closes connections when they
///   are checked in. While pools compete, their shares of the time for which permits are held
///   follow their weights ([`Builder::permit_weight`](crate::Builder::permit_weight)). If there
///   are more pools than permits, they take turns of about a tenth of a second. No pool waits
///   for ever, as long as callers give connections back.
/// - Each pool can have permits reserved for it
///   ([`Builder::min_permits`](crate::Builder::min_permits)).
/// - A pool may have its share of the permits, by weight among all pools, in connections that
///   are being opened, and at least one. A server that hangs or refuses costs the other pools
///   no more than that.
///
/// A connection whose close the server does not confirm keeps its permit for `close_grace`, as
/// in a pool of its own.
///
/// In a child made by `fork` all counts are 0, and no pool can join; see
/// [`Pool`](crate::Pool#fork).
///
/// # Examples
///
/// ```
/// # #[cfg(feature = "sqlite")] {
/// use poolwarden::{Pool, SharedPermits, Sqlite};
///
/// let permits = SharedPermits::new(4)?;
/// let orders = Pool::builder().permits(&permits).build(Sqlite::memory())?;
/// let stock = Pool::builder().permits(&permits).max_size(2).build(Sqlite::memory())?;
/// let held = (orders.get()?, stock.get()?);
/// assert_eq!((permits.used(), permits.limit()), (2, 4));
/// # drop(held);
/// # }
/// # Ok::<(), poolwarden::Error>(())
/// ```
#[derive(Clone)]
pub struct SharedPermits {
    group: Arc<PermitGroup>,
    /// The process that created them: another must not use the lock.
    generation: usize,
}

impl SharedPermits {
    /// Creates permits for this many connections.
    ///
    /// # Errors
    ///
    /// [`Config`](crate::ErrorKind::Config) for 0.
    pub fn new(limit: u32) -> Result<SharedPermits, Error> {
        if limit == 0 {
            return Err(Error::config("shared permits: the limit must be at least 1, not 0"));
        }
        Ok(SharedPermits { group: PermitGroup::new(limit), generation: process::generation() })
    }

    /// Returns the counts; zeros in another process than the one that created the permits.
    fn usage(&self) -> GroupUsage {
        if self.is_forked() {
            return GroupUsage { limit: 0, pools: 0, used: 0, wanted: 0 };
        }
        self.group.usage()
    }

    fn is_forked(&self) -> bool {
        self.generation != process::generation()
    }

    /// Returns how many connections the pools may have together.
    ///
    /// # Blocking
    ///
    /// Does not block.
    pub fn limit(&self) -> u32 {
        self.usage().limit
    }

    /// Changes how many connections the pools may have together.
    ///
    /// A higher number serves waiting callers immediately. With a lower one, surplus idle
    /// connections are closed soon, and busy ones when they are checked in.
    ///
    /// # Blocking
    ///
    /// Does not block.
    ///
    /// # Errors
    ///
    /// [`Config`](crate::ErrorKind::Config) for 0, or less than what is reserved by
    /// [`Builder::min_permits`](crate::Builder::min_permits), one for the pools that nothing is
    /// reserved for, and one for `KILL QUERY`. [`Forked`](crate::ErrorKind::Forked) in a child made
    /// by `fork`.
    pub fn set_limit(&self, limit: u32) -> Result<(), Error> {
        if limit == 0 {
            return Err(Error::config("shared permits: the limit must be at least 1, not 0"));
        }
        if self.is_forked() {
            let text = "shared permits: this process was forked from the one that created them, and \
                        no pool works here";
            return Err(Error::new(ErrorKind::Forked, text));
        }
        self.group.set_limit(limit).map_err(|needed| {
            Error::config(format!(
                "shared permits: a limit of {limit} is less than {needed}: what min_permits of the \
                 pools reserves, one for the pools without min_permits, and one for KILL QUERY if \
                 statement_timeout is set on MySQL"
            ))
        })?;
        settle_group(&self.group);
        if self.group.is_pressed() && self.group.begin_timing() {
            housekeeper::call(&self.group);
        }
        Ok(())
    }

    /// Returns how many connections the pools have at the moment: open, being opened and being
    /// closed.
    ///
    /// # Blocking
    ///
    /// Does not block.
    pub fn used(&self) -> u32 {
        self.usage().used
    }

    /// Returns how many more connections the pools need at the moment for callers that wait.
    ///
    /// # Blocking
    ///
    /// Does not block.
    pub fn wanted(&self) -> u32 {
        self.usage().wanted
    }

    /// Returns how many pools share the permits: those that exist, and those that were dropped
    /// and whose last connections are in use or being closed.
    ///
    /// # Blocking
    ///
    /// Does not block.
    pub fn pools(&self) -> usize {
        self.usage().pools
    }
}

impl fmt::Debug for SharedPermits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let GroupUsage { limit, pools, used, wanted } = self.usage();
        f.debug_struct("SharedPermits")
            .field("limit", &limit)
            .field("used", &used)
            .field("wanted", &wanted)
            .field("pools", &pools)
            .finish()
    }
}

/// Makes a pool one of those that share permits.
pub(crate) fn join(shared: &SharedPermits, min: u32, weight: u32) -> Result<Member, Error> {
    let limit = shared.limit();
    shared.group.join(Share { min, weight }).map_err(|needed| {
        Error::config(format!(
            "min_permits {min}: with this pool {needed} shared permits would be needed of {limit}: \
             the sum of min_permits, and one for the pools without; lower min_permits, or raise \
             the limit"
        ))
    })
}

/// Calls the pools to which permits were granted, and takes connections over for those that
/// wait. Without a lock held.
#[inline]
pub(crate) fn settle(permits: &Permits) {
    if let Some(member) = permits.member() {
        settle_group(member.group());
    }
}

fn settle_group(group: &Arc<PermitGroup>) {
    if group.settle() && group.begin_timing() {
        housekeeper::call_by(group, Instant::now() + LOOK_EVERY);
    }
}

impl Maintain for PermitGroup {
    fn maintain(self: Arc<Self>, now: Instant) -> Option<Instant> {
        self.refresh();
        self.goes_on_timing().then(|| now + LOOK_EVERY)
    }

    fn count_left_behind(&self) {}
}
