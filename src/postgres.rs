//! PostgreSQL through the blocking `postgres` driver.
//!
//! The driver shows no socket. On TCP it calls a TLS connector with the raw
//! socket right after connecting, if told that TLS is wanted without negotiation;
//! ours is that connector, so it sees the socket before the first byte and may do
//! what the user's `sslmode` asks for. Unix sockets do not pass that way: theirs
//! is found by looking which one is new.

mod asynchrony;
mod cancel;
mod cleaning;
mod configure;
mod connector;
mod driver;
mod edited;
mod frames;
mod hosts;
mod ledger;
mod limits;
mod negotiation;
mod notices;
mod passfile;
mod pooler;
mod security;
mod side;
mod statements;
mod stream;
mod tally;
mod unix;
mod unnamed;
mod wire;
mod words;

pub use driver::Postgres;
pub use pooler::Pooler;
pub(crate) use side::Side;
