//! The pool's own queries and transactions on SQLite.

mod outcome;
mod queries;
