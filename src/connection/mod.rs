//! One connection, from its opening to the server's FIN: checks, statement timeouts,
//! permits, closing. What is guaranteed here holds in a bare `r2d2::Pool` too.

mod age_limits;
mod atomic_instant;
mod checkouts;
pub(crate) mod closer;
mod effective_size;
mod exact_times;
mod hooks;
mod known_limits;
mod lifetime;
mod managed;
mod option_conflicts;
pub(crate) mod permit_counts;
pub(crate) mod permit_group;
pub(crate) mod permits;
mod pool_totals;
mod report;
mod shared;
mod shared_permits;
mod statement_timeout;

pub use hooks::CheckinAction;
pub(crate) use hooks::Hooks;
pub(crate) use managed::{
    CheckinVerdict, CheckoutVerdict, CloseCause, Managed, Parts, ping_elsewhere,
};
pub(crate) use pool_totals::PoolTotals;
pub(crate) use shared::Shared;
pub use shared_permits::SharedPermits;
pub(crate) use shared_permits::{join, settle};
pub(crate) use statement_timeout::StatementTimer;
pub use statement_timeout::Stopped;
