//! The PostgreSQL driver and how it is configured.

use super::client_config;
use super::notices::Listener;
use super::notices::Notices;
use super::passfile::Passfile;
use super::pooler::PoolerDetector;
use super::session_role::SessionRole;
use super::tls_connector::SharedConnector;
use crate::config::settings::{Endpoint, Settings};
use crate::config::tls::Tls;
use crate::config::{PoolOptions, Pooler};
use crate::driver::before_connect::BeforeConnect;
use crate::driver::connect::credentials::{CredentialSource, Credentials};
use crate::driver::connect::resolver::Resolver;
use crate::driver::connect::{HostOrder, Servers};
use crate::driver::{Driver, FromSettings};
use crate::error::{BoxError, Error};
use postgres::Config;
use postgres::config::LoadBalanceHosts;
use postgres::error::DbError;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// A driver for PostgreSQL, over TCP and unix sockets.
///
/// A guard derefs to [`postgres::Client`]. Several hosts are tried in order, and
/// all addresses of each, within one `connect_timeout`.
///
/// # Socket options
///
/// `keepalives`, `keepalives_idle`, `keepalives_interval`, `keepalives_retries` and
/// `tcp_user_timeout` of the connection string override the pool's own options. A
/// `keepalives_idle` of two hours, the `postgres` driver's default, counts as not set.
///
/// ```no_run
/// use poolwarden::{Pool, Postgres};
///
/// let driver = Postgres::new("postgres://app:secret@db.example.com/app")?;
/// let pool = Pool::builder().max_size(8).build(driver)?;
/// for row in pool.query("select id from orders", &[])? {
///     let id: i64 = row.get(0);
///     pool.execute("update orders set seen = true where id = $1", &[&id])?;
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Postgres {
    pub(super) config: Config,
    pub(super) servers: Servers,
    pub(super) security: Arc<SharedConnector>,
    pub(super) before_connect: BeforeConnect<Config>,
    pub(super) passfile: Passfile,
    pub(super) session_role: SessionRole,
    pub(super) notices: Notices,
    pub(super) options: PoolOptions,
    pub(super) pooler_detector: PoolerDetector,
}

impl Postgres {
    /// Creates a driver from a URL (`postgres://user:password@host:port/database`) or
    /// a list of keys (`host=… user=…`), with libpq's keys and their meaning.
    ///
    /// Options of the pool may be among them (`?pool_max_size=8`): they are the defaults
    /// of the pools of this driver. See [`Settings`] for other sources.
    ///
    /// # Errors
    ///
    /// [`Config`](crate::ErrorKind::Config): the text cannot be parsed, names no host, or
    /// asks for TLS that cannot work. The error names the key and shows no value.
    pub fn new(text: &str) -> Result<Postgres, Error> {
        Postgres::from_settings(&Settings::parse(text)?)
    }

    /// Creates a driver from the `postgres` driver's own configuration.
    ///
    /// A notice callback set on it cannot be copied: pass it to
    /// [`with_notice_callback`](Postgres::with_notice_callback). Its TLS settings have the
    /// meaning described at [`with_tls`](Postgres::with_tls).
    ///
    /// # Errors
    ///
    /// As [`new`](Postgres::new).
    pub fn from_config(config: Config) -> Result<Postgres, Error> {
        let endpoints = client_config::targets(&config)?;
        let random = config.get_load_balance_hosts() == LoadBalanceHosts::Random;
        let order = if random { HostOrder::Random } else { HostOrder::AsGiven };
        let tls = client_config::tls_of(&config);
        Postgres::leading_to(endpoints, order, config, tls)
    }

    pub(super) fn leading_to(
        endpoints: Vec<Endpoint>,
        order: HostOrder,
        config: Config,
        tls: Tls,
    ) -> Result<Postgres, Error> {
        Ok(Postgres {
            config,
            servers: Servers::new(endpoints, order),
            security: SharedConnector::of(tls)?,
            before_connect: BeforeConnect::default(),
            passfile: Passfile::default(),
            session_role: SessionRole::default(),
            notices: Notices::default(),
            options: PoolOptions::default(),
            pooler_detector: PoolerDetector::default(),
        })
    }

    /// Sets a hook that returns the credentials for each connect: for passwords that are
    /// rotated, and for tokens that expire within minutes.
    ///
    /// The hook is called on the thread that opens the connection, without a lock, within
    /// `connect_timeout`; what it returns later is not used. It is called once more if the
    /// server refuses the credentials. Its error fails the attempt with
    /// [`FaultClass::Credentials`](crate::FaultClass::Credentials); a panic costs that
    /// one attempt. Cache in the hook what is slow to get: it is called for each
    /// connection.
    ///
    /// ```no_run
    /// use poolwarden::{Credentials, Postgres};
    ///
    /// let driver = Postgres::new("postgres://app@db.example.com/app")?.with_credentials(|| {
    ///     let password = std::fs::read_to_string("/run/secrets/db")?;
    ///     Ok(Credentials::new(password.trim_end()))
    /// });
    /// # Ok::<(), poolwarden::Error>(())
    /// ```
    #[must_use]
    pub fn with_credentials<F>(mut self, hook: F) -> Postgres
    where
        F: Fn() -> Result<Credentials, BoxError> + Send + Sync + 'static,
    {
        self.servers.log_in_with(CredentialSource::from_hook(hook));
        self
    }

    /// Sets a hook that may change the configuration of each connection before it is opened:
    /// the user, the password, the database, `application_name`, `options`.
    ///
    /// Default: none. The hook gets a copy of the driver's own configuration, which is used
    /// for this connection only. It is called once for each attempt to connect, on the thread
    /// that opens the connection, without a lock, within `connect_timeout`; what it returns
    /// later is not used. Credentials of [`with_credentials`](Postgres::with_credentials)
    /// override it. Its error, or a change of hosts, ports or TLS, fails the attempt with
    /// [`FaultClass::BeforeConnect`](crate::FaultClass::BeforeConnect); a panic costs that
    /// one attempt.
    ///
    /// ```no_run
    /// use poolwarden::Postgres;
    ///
    /// let driver = Postgres::new("postgres://app@db.example.com/app")?.before_connect(|config| {
    ///     config.password(std::fs::read("/run/secrets/db")?.trim_ascii_end());
    ///     config.application_name(&format!("app {}", std::process::id()));
    ///     Ok(())
    /// });
    /// # Ok::<(), poolwarden::Error>(())
    /// ```
    #[must_use]
    pub fn before_connect<F>(mut self, hook: F) -> Postgres
    where
        F: Fn(&mut Config) -> Result<(), BoxError> + Send + Sync + 'static,
    {
        self.before_connect = BeforeConnect::from_hook(move |mut config| {
            hook(&mut config)?;
            Ok(config)
        });
        self
    }

    /// Sets how connections are encrypted and how the server's identity is verified.
    ///
    /// Default: the configuration's `sslmode`, or `prefer`: TLS if the server has it,
    /// unverified; where that is not safe, the pool warns once. Unix sockets ignore these
    /// settings, as in libpq. Certificate and key files that have changed are reloaded for
    /// the connections that are opened afterwards.
    ///
    /// ```no_run
    /// use poolwarden::{Pool, Postgres, SslMode, Tls};
    ///
    /// let tls = Tls::new(SslMode::VerifyFull).root_certificate("/etc/ssl/our-authority.pem");
    /// let driver = Postgres::new("postgres://app:secret@db.example.com/app")?.with_tls(tls)?;
    /// let pool = Pool::builder().build(driver)?;
    /// # Ok::<(), poolwarden::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Config`](crate::ErrorKind::Config): the feature `native-tls` is missing, two
    /// options contradict each other, or a file cannot be read.
    pub fn with_tls(mut self, tls: Tls) -> Result<Postgres, Error> {
        self.security = SharedConnector::of(tls)?;
        self.servers.forget();
        Ok(self)
    }

    /// Replaces the system's resolver of host names.
    ///
    /// The resolver is called on a thread of its own, which is abandoned if it does not
    /// return within `connect_timeout`.
    #[must_use]
    pub fn with_resolver<F>(mut self, resolver: F) -> Postgres
    where
        F: Fn(&str, u16) -> io::Result<Vec<SocketAddr>> + Send + Sync + 'static,
    {
        self.servers.resolve_with(Resolver::with(resolver));
        self
    }
}

impl fmt::Debug for Postgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Postgres").field(&self.label()).finish()
    }
}

impl Postgres {
    /// Sets whether there is a pooler such as pgbouncer in front of the server.
    ///
    /// Default [`Pooler::Detect`].
    ///
    /// # Errors
    ///
    /// [`Config`](crate::ErrorKind::Config): [`Pooler::Transaction`] over a unix
    /// socket.
    pub fn with_pooler(mut self, pooler: Pooler) -> Result<Postgres, Error> {
        if pooler == Pooler::Transaction && self.servers.has_unix_socket() {
            return Err(Error::config(
                "Pooler::Transaction over a unix socket: names of prepared statements can only be \
                 rewritten over TCP; connect to 127.0.0.1 instead",
            ));
        }
        self.pooler_detector = PoolerDetector::new(pooler);
        Ok(self)
    }
}

impl Postgres {
    /// Sets a callback for every notice of the server (`RAISE NOTICE`, warnings), which
    /// replaces the log, on all connections opened from now on.
    ///
    /// The callback runs on the thread that uses the connection, during a caller's
    /// statement, a ping or a reset. It must be short, and must neither use a pool nor wait
    /// for a thread that does. If it panics, only that notice is lost. The server's text
    /// may contain data; it is not filtered.
    ///
    /// ```no_run
    /// use poolwarden::Postgres;
    ///
    /// let url = "postgres://app:secret@db.example.com/app";
    /// let driver = Postgres::new(url)?.with_notice_callback(|notice| {
    ///     eprintln!("{} {}: {}", notice.severity(), notice.code().code(), notice.message());
    /// });
    /// # Ok::<(), poolwarden::Error>(())
    /// ```
    #[must_use]
    pub fn with_notice_callback<F>(mut self, callback: F) -> Postgres
    where
        F: Fn(&DbError) + Send + Sync + 'static,
    {
        let listener =
            Listener { callback: Box::new(callback), panic_logged: AtomicBool::new(false) };
        self.notices = Notices(Some(Arc::new(listener)));
        self
    }
}
