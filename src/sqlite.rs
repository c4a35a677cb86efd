//! SQLite through `rusqlite`: the embedded default, with no server and no socket.

use crate::config::Knobs;
use crate::driver::{Attempt, Canceller, Driver, Link};
use crate::error::{BoxError, ConnectError, Error, Phase, fault};
use crate::reset::{Cleaned, Handling, Leftovers, Reset};
use crate::settings::{FromSettings, Settings, System};
use parking_lot::Mutex;
use rusqlite::{Connection, OpenFlags};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

/// Prepares a new connection.
type Init = dyn Fn(&mut Connection) -> rusqlite::Result<()> + Send + Sync;

/// A driver for SQLite databases, in a file or in memory.
///
/// There is no socket and no server that could hang up: a check-out of an idle
/// connection makes no system call. Writers of one database exclude one another;
/// `rusqlite`'s default busy time-out of 5 s makes them wait.
///
/// ```
/// use poolwarden::{Pool, Sqlite};
///
/// let driver = Sqlite::memory().with_init(|c| c.execute_batch("pragma foreign_keys = on"));
/// let pool = Pool::builder().max_size(4).build(driver)?;
/// pool.execute_batch("create table t (n integer)")?;
/// # Ok::<(), poolwarden::Error>(())
/// ```
pub struct Sqlite {
    place: Place,
    flags: OpenFlags,
    init: Option<Box<Init>>,
    knobs: Knobs,
}

enum Place {
    File(PathBuf),
    Memory {
        uri: String,
        /// Keeps the database alive while the pool has no connection open.
        keeper: Mutex<Option<Connection>>,
    },
}

impl Sqlite {
    /// Makes a driver for the database in this file, created if it is not there.
    pub fn file(path: impl AsRef<Path>) -> Sqlite {
        Sqlite {
            place: Place::File(path.as_ref().to_path_buf()),
            flags: OpenFlags::default(),
            init: None,
            knobs: Knobs::default(),
        }
    }

    /// Makes a driver from a URL, `sqlite:path` or `sqlite::memory:`, or from a bare
    /// path.
    ///
    /// Knobs of the pool may be in the URL (`?pool_max_size=4`), and the `mode`:
    /// `ro`, `rw` or `rwc`, the default, which creates the file.
    ///
    /// # Errors
    ///
    /// [`Config`](crate::ErrorKind::Config): it cannot be read; the text names the
    /// key.
    pub fn new(url: &str) -> Result<Sqlite, Error> {
        let is_url = url.split_once(':').is_some_and(|(scheme, rest)| {
            scheme.eq_ignore_ascii_case("sqlite") || rest.starts_with("//")
        });
        if is_url { Sqlite::from_settings(&Settings::parse(url)?) } else { Ok(Sqlite::file(url)) }
    }

    /// Makes a driver for a new database in memory, shared by all its connections
    /// and gone with the driver.
    pub fn memory() -> Sqlite {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Relaxed);
        // SQLite documentation, "The memdb VFS": a name that begins with a slash
        // is one database for the whole process; it locks and waits like a file.
        let uri = format!("file:/poolwarden-{}-{number}?vfs=memdb", std::process::id());
        let place = Place::Memory { uri, keeper: Mutex::new(None) };
        Sqlite { place, flags: OpenFlags::default(), init: None, knobs: Knobs::default() }
    }

    /// Sets the flags with which connections are opened.
    ///
    /// Default: `rusqlite`'s: read and write, create, URI names, no mutex.
    #[must_use]
    pub fn with_flags(mut self, flags: OpenFlags) -> Sqlite {
        self.flags = flags;
        self
    }

    /// Prepares every new connection: pragmas, functions, collations.
    #[must_use]
    pub fn with_init<F>(mut self, init: F) -> Sqlite
    where
        F: Fn(&mut Connection) -> rusqlite::Result<()> + Send + Sync + 'static,
    {
        self.init = Some(Box::new(init));
        self
    }

    fn open(&self) -> rusqlite::Result<Connection> {
        let mut connection = match &self.place {
            Place::File(path) => Connection::open_with_flags(path, self.flags)?,
            Place::Memory { uri, keeper } => {
                let open =
                    || Connection::open_with_flags(uri, self.flags | OpenFlags::SQLITE_OPEN_URI);
                let connection = open()?;
                let missing = keeper.lock().is_none();
                if missing {
                    let own = open()?;
                    keeper.lock().get_or_insert(own);
                }
                connection
            }
        };
        if let Some(init) = &self.init {
            init(&mut connection)?;
        }
        Ok(connection)
    }
}

impl FromSettings for Sqlite {
    fn from_settings(settings: &Settings) -> Result<Sqlite, Error> {
        settings.must_suit(System::Sqlite)?;
        let driver = match settings.text("path") {
            Some(":memory:") => Sqlite::memory(),
            Some(path) => Sqlite::file(path),
            None => return Err(Error::config("no file is named: sqlite:path, or path=…")),
        };
        let create = OpenFlags::SQLITE_OPEN_CREATE;
        let read_only = (driver.flags - OpenFlags::SQLITE_OPEN_READ_WRITE - create)
            | OpenFlags::SQLITE_OPEN_READ_ONLY;
        let flags = match settings.text("mode") {
            Some("ro") => read_only,
            Some("rw") => driver.flags - create,
            _ => driver.flags,
        };
        Ok(Sqlite { flags, knobs: settings.all_knobs(1)?, ..driver })
    }
}

impl fmt::Debug for Sqlite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Sqlite").field(&self.label()).finish()
    }
}

impl Driver for Sqlite {
    type Connection = Connection;
    type Side = ();

    fn label(&self) -> String {
        match &self.place {
            Place::File(path) => format!("sqlite {}", path.display()),
            Place::Memory { .. } => "sqlite in memory".into(),
        }
    }

    fn knobs(&self) -> Option<&Knobs> {
        Some(&self.knobs)
    }

    fn connect(&self, attempt: &Attempt) -> Result<(Connection, ()), ConnectError> {
        attempt.enter(Phase::Connecting);
        let connection = self.open().map_err(|error| {
            let fault = fault::sqlite::connect_fault(&error);
            ConnectError::new(fault, self.label()).with_source(error)
        })?;
        Ok((connection, ()))
    }

    fn ping(&self, connection: &mut Connection, (): &mut (), _: Instant) -> Result<(), BoxError> {
        // A statement that touches the file, so that an unreadable one is noticed.
        connection.query_row("pragma schema_version", [], |_| Ok(()))?;
        Ok(())
    }

    fn link<'a>(&self, _: &'a Connection, (): &'a ()) -> Link<'a> {
        Link::InProcess
    }

    fn leftovers(
        &self,
        connection: &mut Connection,
        (): &mut (),
        _: Handling,
        reset: Reset,
    ) -> Leftovers {
        // Free: SQLite keeps it in memory. An open transaction holds a lock on the
        // database that every other connection would wait for.
        if reset == Reset::None || connection.is_autocommit() {
            Leftovers::None
        } else {
            Leftovers::Some
        }
    }

    fn reset(
        &self,
        connection: &mut Connection,
        (): &mut (),
        _: Handling,
        _: Reset,
    ) -> Result<Cleaned, BoxError> {
        connection.execute_batch("rollback")?;
        Ok(Cleaned { rolled_back: true })
    }

    fn ping_is_bounded(&self) -> bool {
        true
    }

    fn canceller(&self, connection: &Connection, (): &()) -> Option<Canceller> {
        // SQLite documentation, "sqlite3_interrupt": a statement that begins when none
        // runs is not affected.
        let handle = connection.get_interrupt_handle();
        Some(Canceller::Local(Arc::new(move || handle.interrupt())))
    }
}
