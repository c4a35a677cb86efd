//! What authors of drivers need: the trait [`Driver`], which is the contract between the
//! pool and a blocking database driver, and its types.
//!
//! An application that uses the crate's drivers needs nothing from here, except to be generic
//! over them: `fn run<D: Driver>(pool: &Pool<D>)`.

mod attempt;
#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
pub(crate) mod before_connect;
mod cancel;
mod capabilities;
#[cfg(any(feature = "mysql", feature = "postgres"))]
pub(crate) mod connect;
#[expect(clippy::module_inception, reason = "one noun per file; this file holds nothing")]
mod driver;
mod from_settings;
#[cfg(feature = "mysql")]
pub(crate) mod mysql;
#[cfg(feature = "postgres")]
pub(crate) mod postgres;
mod progress;
mod session;
mod socket_access;
#[cfg(feature = "sqlite")]
pub(crate) mod sqlite;
mod statement_observer;
pub(crate) mod workarounds;

pub use crate::error::Phase;
#[cfg(unix)]
pub use crate::sys::sockets::Descriptor;
pub(crate) use attempt::AttemptOptions;
pub(crate) use attempt::bound;
pub use attempt::{Attempt, Expired};
pub use cancel::{Cancelled, Canceller, Request};
pub use capabilities::{
    AskRole, CancelStatement, DescribeSession, HoldSlot, ObserveStatements, ReadLimits,
    ReadMessages, ResetSession, SetDefaults,
};
pub use driver::Driver;
pub use from_settings::FromSettings;
pub use progress::Progress;
pub use session::{ResetOutcome, Session, SessionState, SlotLost, Usage};
pub use socket_access::{SocketAccess, Unsolicited};
pub use statement_observer::StatementObserver;
