//! The pool's own queries and transactions on PostgreSQL.

mod early_end;
mod ending;
mod queries;
