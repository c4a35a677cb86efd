//! PostgreSQL's wire protocol, as far as a pool must know it: one parser of frames, the
//! messages that say something about the session, the session's state and what its
//! transactions have committed, and the rewriting of statement names.

pub(super) mod byte_limit;
pub(super) mod command_tag;
pub(super) mod commits;
pub(super) mod frames;
pub(super) mod messages;
mod parameters;
#[expect(clippy::module_inception, reason = "one noun per file; this file holds nothing")]
pub(super) mod protocol;
pub(super) mod rewrite;
mod session_changes;
mod session_text;
pub(super) mod shared_state;
pub(super) mod state;
pub(super) mod statement_text;
mod text_field;
pub(super) mod transaction_scope;

#[cfg(test)]
mod rewrite_tests;
