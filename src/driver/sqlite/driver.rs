//! The SQLite driver and how it is configured.

use super::file_identity::FileIdentity;
use super::session::ConnectionState;
use crate::config::settings::{Settings, System};
use crate::config::{PoolOptions, Reset, SessionDefaults};
use crate::driver::attempt::Attempt;
use crate::driver::before_connect::BeforeConnect;
use crate::driver::cancel::Canceller;
use crate::driver::capabilities::{CancelStatement, DescribeSession, ResetSession, SetDefaults};
use crate::driver::driver::Driver;
use crate::driver::from_settings::FromSettings;
use crate::driver::session::{ResetOutcome, SessionState, Usage};
use crate::driver::socket_access::SocketAccess;
use crate::error::{BoxError, ConnectError, Error, FaultClass, Phase, fault};
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
/// There is no socket and no server that could close the connection: a check-out of an
/// idle connection makes no system call. The check-in makes one, to see whether the file
/// was deleted or replaced. Writers of one database exclude one another; `rusqlite`'s
/// default busy timeout of 5 s makes them wait.
///
/// What a borrower changes in its connection by a pragma, `ATTACH` or a temporary table is
/// there for the next borrower, unless the pool has [`Reset::Full`]: then the connection is
/// closed, because SQLite cannot undo it. Functions, collations, hooks and limits that a
/// borrower sets by `rusqlite`'s methods stay in any case.
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
    endpoint: Endpoint,
    flags: OpenFlags,
    before_connect: BeforeConnect<OpenFlags>,
    init: Option<Box<Init>>,
    options: PoolOptions,
}

enum Endpoint {
    File(PathBuf),
    Memory {
        uri: String,
        /// Keeps the database in existence while the pool has no connection open.
        keep_alive: Mutex<Option<Connection>>,
    },
}

impl Sqlite {
    /// Creates a driver for the database in this file, which is created if it does not
    /// exist.
    ///
    /// `:memory:` is [`Sqlite::memory`]. Other paths by which SQLite gives each connection
    /// a private database are refused when the pool is built.
    pub fn file(path: impl AsRef<Path>) -> Sqlite {
        if path.as_ref() == Path::new(":memory:") {
            return Sqlite::memory();
        }
        Sqlite {
            endpoint: Endpoint::File(path.as_ref().to_path_buf()),
            flags: OpenFlags::default(),
            before_connect: BeforeConnect::default(),
            init: None,
            options: PoolOptions::default(),
        }
    }

    /// Creates a driver from a URL, `sqlite:path` or `sqlite::memory:`, or from a bare
    /// path.
    ///
    /// The URL may contain options of the pool (`?pool_max_size=4`), and the `mode`:
    /// `ro`, `rw` or `rwc`, the default, which creates the file.
    ///
    /// # Errors
    ///
    /// [`Config`](crate::ErrorKind::Config): the URL is invalid; the text names the key.
    pub fn new(url: &str) -> Result<Sqlite, Error> {
        let is_url = url.split_once(':').is_some_and(|(scheme, rest)| {
            scheme.eq_ignore_ascii_case("sqlite") || rest.starts_with("//")
        });
        if is_url { Sqlite::from_settings(&Settings::parse(url)?) } else { Ok(Sqlite::file(url)) }
    }

    /// Creates a driver for a new database in memory, which all its connections share
    /// and which ends with the driver.
    pub fn memory() -> Sqlite {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Relaxed);
        // SQLite documentation, "The memdb VFS": a name that begins with a slash denotes
        // one database for the whole process; it locks and waits like a file.
        let uri = format!("file:/poolwarden-{}-{number}?vfs=memdb", std::process::id());
        let endpoint = Endpoint::Memory { uri, keep_alive: Mutex::new(None) };
        Sqlite {
            endpoint,
            flags: OpenFlags::default(),
            before_connect: BeforeConnect::default(),
            init: None,
            options: PoolOptions::default(),
        }
    }

    /// Sets the flags with which connections are opened.
    ///
    /// Default: `rusqlite`'s: read and write, create, URI names, no mutex.
    #[must_use]
    pub fn with_flags(mut self, flags: OpenFlags) -> Sqlite {
        self.flags = flags;
        self
    }

    /// Sets a hook that runs before each connection is opened, and may change its flags: for a
    /// file that must be fetched or decrypted first, or one that is read-only for now.
    ///
    /// Default: none. The hook gets the driver's own flags, which it may change for this
    /// connection only. It runs on the thread that opens the connection, without a lock,
    /// within `connect_timeout`; after that time nothing is opened. Its error fails the attempt
    /// with [`FaultClass::BeforeConnect`]; a panic costs
    /// that one attempt.
    ///
    /// ```
    /// use poolwarden::{Pool, Sqlite};
    /// use rusqlite::OpenFlags;
    ///
    /// let driver = Sqlite::memory().before_connect(|flags| {
    ///     if std::env::var_os("MAINTENANCE").is_some() {
    ///         *flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    ///     }
    ///     Ok(())
    /// });
    /// let pool = Pool::builder().build(driver)?;
    /// # Ok::<(), poolwarden::Error>(())
    /// ```
    #[must_use]
    pub fn before_connect<F>(mut self, hook: F) -> Sqlite
    where
        F: Fn(&mut OpenFlags) -> Result<(), BoxError> + Send + Sync + 'static,
    {
        self.before_connect = BeforeConnect::from_hook(move |mut flags| {
            hook(&mut flags)?;
            Ok(flags)
        });
        self
    }

    /// Sets a hook that prepares every new connection: pragmas, functions, collations.
    #[must_use]
    pub fn with_init<F>(mut self, init: F) -> Sqlite
    where
        F: Fn(&mut Connection) -> rusqlite::Result<()> + Send + Sync + 'static,
    {
        self.init = Some(Box::new(init));
        self
    }

    fn open(&self, flags: OpenFlags) -> rusqlite::Result<Connection> {
        let mut connection = match &self.endpoint {
            Endpoint::File(path) => Connection::open_with_flags(path, flags)?,
            Endpoint::Memory { uri, keep_alive } => {
                let open = || Connection::open_with_flags(uri, flags | OpenFlags::SQLITE_OPEN_URI);
                let connection = open()?;
                let missing = keep_alive.lock().is_none();
                if missing {
                    let own = open()?;
                    keep_alive.lock().get_or_insert(own);
                }
                connection
            }
        };
        if let Some(init) = &self.init {
            init(&mut connection)?;
        }
        Ok(connection)
    }

    /// Opens a connection, and the file behind it, which SQLite itself does later.
    fn connect_to_file(
        &self,
        flags: OpenFlags,
    ) -> Result<(Connection, ConnectionState), ConnectError> {
        let failed = |error: rusqlite::Error| {
            let fault = fault::sqlite::connect_fault(&error);
            ConnectError::new(fault, self.label()).with_source(error)
        };
        let connection = self.open(flags).map_err(failed)?;
        let Endpoint::File(path) = &self.endpoint else {
            return Ok((connection, ConnectionState::default()));
        };
        // Behind `init`, which may set the key of an encrypted file. A lock that another
        // process holds says nothing about the file.
        match read_schema_version(&connection) {
            Err(error) if !fault::sqlite::is_locked(&error) => return Err(failed(error)),
            _ => {}
        }
        if connection.path().is_none_or(str::is_empty) && !is_shared(path, flags) {
            let text = "each connection would have a private database; use Sqlite::memory(), or \
                        cache=shared";
            let refused = ConnectError::new(FaultClass::Configuration, self.label());
            return Err(refused.with_source(text));
        }
        let identity = FileIdentity::of(&connection);
        Ok((connection, ConnectionState::new(identity)))
    }
}

/// Returns `true` if connections to a database in memory share it.
fn is_shared(path: &Path, flags: OpenFlags) -> bool {
    let path = path.to_string_lossy();
    let shared = OpenFlags::SQLITE_OPEN_SHARED_CACHE;
    flags.contains(shared) || path.contains("cache=shared") || path.contains("vfs=memdb")
}

/// Reads the file's first page, so that a file that is no database is detected.
fn read_schema_version(connection: &Connection) -> rusqlite::Result<()> {
    connection.query_row("pragma schema_version", [], |_| Ok(()))
}

impl FromSettings for Sqlite {
    fn from_settings(settings: &Settings) -> Result<Sqlite, Error> {
        settings.must_suit(System::Sqlite)?;
        let driver = match settings.text("path") {
            Some(":memory:") => Sqlite::memory(),
            Some(path) => Sqlite::file(path),
            None => return Err(Error::config("no file given: write sqlite:path, or path=…")),
        };
        let create = OpenFlags::SQLITE_OPEN_CREATE;
        let read_only = (driver.flags - OpenFlags::SQLITE_OPEN_READ_WRITE - create)
            | OpenFlags::SQLITE_OPEN_READ_ONLY;
        let flags = match settings.text("mode") {
            Some("ro") => read_only,
            Some("rw") => driver.flags - create,
            _ => driver.flags,
        };
        Ok(Sqlite { flags, options: settings.all_options(1)?, ..driver })
    }
}

impl fmt::Debug for Sqlite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Sqlite").field(&self.label()).finish()
    }
}

/// The driver's connection, and what we keep beside it.
type Session = (Connection, ConnectionState);

impl Driver for Sqlite {
    type Connection = Connection;
    type Session = Session;

    const PING_IS_BOUNDED: bool = true;

    fn label(&self) -> String {
        match &self.endpoint {
            Endpoint::File(path) => format!("sqlite {}", path.display()),
            Endpoint::Memory { .. } => "sqlite in memory".into(),
        }
    }

    fn connect(&self, attempt: &Attempt) -> Result<Session, ConnectError> {
        let nothing = |_: &OpenFlags| ();
        let flags = self.before_connect.configure(self.flags, nothing, &self.label(), attempt)?;
        attempt.enter(Phase::Connecting);
        self.connect_to_file(flags)
    }

    fn ping(&self, (connection, state): &mut Session, _: Instant) -> Result<(), BoxError> {
        if state.file.has_moved() {
            return Err("the database file was deleted or replaced".into());
        }
        Ok(read_schema_version(connection)?)
    }

    #[inline]
    fn socket_access<'a>(&self, _: &'a Session) -> SocketAccess<'a> {
        SocketAccess::InProcess
    }

    fn session_state(
        &self,
        (connection, state): &mut Session,
        _: Usage,
        reset: Reset,
    ) -> SessionState {
        if state.file.has_moved() {
            return SessionState::Broken;
        }
        // No I/O: SQLite keeps both in memory. A statement that was not read to its end
        // holds a snapshot, which cannot be ended without the statement; an open
        // transaction holds a lock on the database that every other connection would wait
        // for.
        if connection.is_busy() {
            SessionState::OutOfSync
        } else if reset == Reset::None {
            SessionState::Clean
        } else if !connection.is_autocommit() {
            SessionState::Dirty
        } else if reset == Reset::Full && !state.is_clean(connection) {
            // What it takes to undo a change is not known in general.
            SessionState::OutOfSync
        } else {
            SessionState::Clean
        }
    }

    fn options(&self) -> Option<&PoolOptions> {
        Some(&self.options)
    }

    fn reset(&self) -> Option<&dyn ResetSession<Session>> {
        Some(self)
    }

    fn cancel(&self) -> Option<&dyn CancelStatement<Session>> {
        Some(self)
    }

    fn defaults(&self) -> Option<&dyn SetDefaults<Session>> {
        Some(self)
    }

    fn facts(&self) -> Option<&dyn DescribeSession<Session>> {
        Some(self)
    }
}

impl ResetSession<Session> for Sqlite {
    fn reset_session(
        &self,
        (connection, state): &mut Session,
        _: Usage,
        reset: Reset,
    ) -> Result<ResetOutcome, BoxError> {
        connection.execute_batch("rollback")?;
        if reset == Reset::Full && !state.is_clean(connection) {
            return Err("the borrower has changed its connection".into());
        }
        Ok(ResetOutcome::default().with_rolled_back(true))
    }

    fn mark_clean(&self, (connection, state): &mut Session) {
        state.mark_clean(connection);
    }
}

impl CancelStatement<Session> for Sqlite {
    fn canceller(&self, (connection, _): &Session) -> Option<Canceller> {
        // SQLite documentation, "sqlite3_interrupt": it does not affect a statement that
        // begins when no other is running.
        let handle = connection.get_interrupt_handle();
        Some(Canceller::Local(Arc::new(move || handle.interrupt())))
    }
}

impl SetDefaults<Session> for Sqlite {
    fn missing_default(&self, defaults: &SessionDefaults) -> Option<&'static str> {
        defaults.names().find(|name| *name != "read_only")
    }

    fn set_defaults(
        &self,
        (connection, _): &mut Session,
        defaults: &SessionDefaults,
    ) -> Result<(), BoxError> {
        if let Some(read_only) = defaults.read_only {
            connection.pragma_update(None, "query_only", read_only)?;
        }
        Ok(())
    }
}

impl DescribeSession<Session> for Sqlite {
    fn is_in_transaction(&self, (connection, _): &Session) -> Option<bool> {
        Some(!connection.is_autocommit())
    }
}
