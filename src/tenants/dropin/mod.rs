//! Connections for programs that connect on each request: the constructors they call, with
//! pools behind them.
//!
//! A program that calls `postgres::Client::connect`, `mysql::Conn::new` or
//! `rusqlite::Connection::open` for each request changes an import, and at most the types in
//! its signatures and errors. The connections come from one pool for each distinct
//! configuration, in a registry of the process, and go back when they are closed or dropped.
//!
//! ```no_run
//! # #[cfg(feature = "postgres")] {
//! use poolwarden::dropin::postgres::Client; // was: use postgres::Client;
//! use postgres::NoTls;
//! # use poolwarden::postgres;
//!
//! fn request(url: &str) -> Result<i64, Box<dyn std::error::Error>> {
//!     let mut client = Client::connect(url, NoTls)?;
//!     let count = client.query_one("select count(*) from orders", &[])?.get(0);
//!     client.close()?;
//!     Ok(count)
//! }
//! # }
//! ```
//!
//! # What it does not allow
//!
//! A connection stays on the thread that opened it. A request that handed its connection to a
//! background thread and closed it while that thread was using it worked by luck; here it does
//! not compile:
//!
//! ```compile_fail,E0277
//! # #[cfg(feature = "sqlite")] {
//! use poolwarden::dropin::sqlite::Connection;
//!
//! let connection = Connection::open("orders.db").unwrap();
//! std::thread::spawn(move || connection.execute_batch("vacuum")); // not `Send`
//! # }
//! # #[cfg(not(feature = "sqlite"))]
//! # std::thread::spawn(|| std::marker::PhantomData::<*const ()>); // not `Send` either
//! ```
//!
//! The background thread opens its own connection, which costs no connect:
//!
//! ```
//! # #[cfg(feature = "sqlite")] {
//! use poolwarden::dropin::sqlite::Connection;
//!
//! # let folder = std::env::temp_dir().join(format!("dropin-{}", std::process::id()));
//! # std::fs::create_dir_all(&folder)?;
//! # let path = folder.join("orders.db");
//! let worker = std::thread::spawn(move || {
//!     let connection = Connection::open(path).expect("it opens");
//!     connection.execute_batch("vacuum").expect("it runs");
//! });
//! worker.join().expect("no panic");
//! # drop(poolwarden::dropin::registry().close(std::time::Duration::from_secs(5)));
//! # std::fs::remove_dir_all(&folder)?;
//! # }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! What a session keeps of a request that used it before is reset as the pool's option
//! [`reset`](crate::Builder::reset) says: see the guide's page [`sessions`](crate::guide::sessions).

mod lent;
#[cfg(feature = "mysql")]
pub mod mysql;
mod pools;
#[cfg(feature = "postgres")]
pub mod postgres;
mod registry;
#[cfg(feature = "sqlite")]
pub mod sqlite;

pub use registry::{Registry, Report, registry};
