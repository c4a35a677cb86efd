//! Work is retried only if it provably took no effect, or if the caller declared it
//! idempotent; and work that may have taken effect is never reported as failed.

mod mariadb;
mod postgres;
