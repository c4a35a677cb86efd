//! SQLite through `rusqlite`: the embedded default, with no server and no socket.

mod driver;
mod file_identity;
mod session;

pub use driver::Sqlite;
