//! Whether and when to try again: pure arithmetic and policy.

mod backoff;
mod policy;

pub(crate) use backoff::Backoff;
#[cfg_attr(
    not(any(feature = "mysql", feature = "postgres", feature = "sqlite")),
    allow(unused)
)]
pub(crate) use policy::Next;
pub use policy::RetryPolicy;
