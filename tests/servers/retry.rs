//! Work is done again only if it provably was not done, or on the caller's word; and
//! nobody is told "failed" about something that may have been done.

mod mariadb;
mod postgres;
