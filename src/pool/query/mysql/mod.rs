//! The pool's own queries and transactions on MySQL and MariaDB.

mod autocommit;
mod beginning;
mod ending;
mod harmless;
mod known;
mod long_data;
mod nontransactional;
mod outcome;
mod own_text;
mod proof;
mod queries;
mod queryable;
mod transaction;
mod write_result;

pub use transaction::MySqlTransaction;
pub use write_result::MySqlWriteResult;
