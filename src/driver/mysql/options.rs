//! The MySQL and MariaDB driver and how it is configured.

use super::denied_login::DeniedLogin;
use super::reset::SessionReset;
use super::transaction_state::Seen;
use super::{from_settings, tls};
use crate::config::PoolOptions;
use crate::config::settings::{Settings, System};
use crate::config::tls::Tls;
use crate::driver::Driver;
use crate::driver::before_connect::BeforeConnect;
use crate::driver::connect::credentials::{CredentialSource, Credentials};
use crate::driver::connect::resolver::Resolver;
use crate::driver::connect::{HostOrder, Servers};
use crate::driver::from_settings::FromSettings;
use crate::error::{BoxError, Error};
use crate::sys::secret::Secret;
use mysql::{Opts, OptsBuilder};
use std::fmt;
use std::io;
use std::net::SocketAddr;

/// A driver for MySQL and MariaDB, over TCP and unix sockets.
///
/// A guard derefs to [`mysql::Conn`]. Several hosts are tried in order, and all
/// addresses of each, within one `connect_timeout`.
///
/// # Socket options
///
/// `tcp_keepalive_time_ms`, `tcp_keepalive_probe_interval_secs`,
/// `tcp_keepalive_probe_count` and `tcp_user_timeout_ms` in the URL take precedence; the
/// pool's own options apply to those that it does not set.
///
/// ```no_run
/// use poolwarden::{MySql, Pool};
///
/// let driver = MySql::new("mysql://app:secret@db.example.com/app")?;
/// let pool = Pool::builder().max_size(8).build(driver)?;
/// let ids: Vec<u64> = pool.query("select id from orders")?;
/// for id in ids {
///     pool.exec_drop("update orders set seen = true where id = ?", (id,))?;
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct MySql {
    /// Without password and TLS: the driver's Debug prints the secrets of both.
    pub(super) opts: Opts,
    pub(super) password: Option<Secret>,
    pub(super) servers: Servers,
    pub(super) tls: Tls,
    pub(super) denied_login: DeniedLogin,
    pub(super) before_connect: BeforeConnect<OptsBuilder>,
    pub(super) options: PoolOptions,
    pub(super) session_reset: SessionReset,
    pub(crate) seen_transactions: Seen,
}

impl MySql {
    /// Creates a driver from a URL: `mysql://user:password@host:port/database`, or with
    /// the scheme `mariadb`; a unix socket as `?socket=/path`. A list of keys
    /// (`host=… user=…`) is accepted as well.
    ///
    /// Options of the pool may be among them (`?pool_max_size=8`): they are the defaults
    /// of the pools of this driver. See [`Settings`] for other sources.
    ///
    /// # Errors
    ///
    /// [`Config`](crate::ErrorKind::Config): the URL is invalid, contains no host, or has
    /// an option that a pool must refuse (see [`from_opts`](MySql::from_opts)). The text
    /// names the key and shows no value.
    pub fn new(url: &str) -> Result<MySql, Error> {
        MySql::from_settings(&Settings::parse(url)?)
    }

    /// Creates a driver from the `mysql` driver's own options.
    ///
    /// `prefer_socket` is always disabled: with it the driver opens a second connection
    /// that the pool does not know of. `ssl_opts` are interpreted as by
    /// [`with_tls`](MySql::with_tls): with neither of their `danger` options as
    /// `verify-full`; if there are none, as `prefer`.
    ///
    /// # Errors
    ///
    /// [`Config`](crate::ErrorKind::Config): `read_timeout` or `write_timeout` is set, or
    /// the `ssl_opts` are invalid.
    pub fn from_opts(opts: Opts) -> Result<MySql, Error> {
        for (name, value) in
            [("read_timeout", opts.get_read_timeout()), ("write_timeout", opts.get_write_timeout())]
        {
            if let Some(value) = value {
                return Err(Error::config(format!(
                    "{name} {value:?}: after a {name} the mysql driver returns the answer of the \
                     previous query to the next one; remove this option: connect_timeout bounds \
                     the connect, ping_timeout the validation"
                )));
            }
        }
        let tls = tls::tls_of(&opts);
        let servers = Servers::new(vec![from_settings::endpoint_of(&opts)], HostOrder::AsGiven);
        let password = opts.get_pass().map(Secret::new);
        let opts = OptsBuilder::from_opts(opts).pass(None::<String>).ssl_opts(None).into();
        let driver = MySql {
            opts,
            password,
            servers,
            tls: Tls::default(),
            denied_login: DeniedLogin::new(),
            before_connect: BeforeConnect::default(),
            options: PoolOptions::default(),
            session_reset: SessionReset::default(),
            seen_transactions: Seen::default(),
        };
        driver.with_tls(tls)
    }

    /// Sets a hook that supplies the credentials for every connect: for passwords that
    /// are rotated, and for tokens that are valid for minutes.
    ///
    /// It is called on the thread that opens the connection, without a lock, within
    /// `connect_timeout`; a result that comes later is not used. It is called once more
    /// if the server rejects the credentials. Its error fails the attempt with
    /// [`FaultClass::Credentials`](crate::FaultClass::Credentials); a panic fails that
    /// one attempt. It is called for each connection: cache what is slow to obtain.
    ///
    /// ```no_run
    /// use poolwarden::{Credentials, MySql};
    ///
    /// let driver = MySql::new("mysql://app@db.example.com/app")?.with_credentials(|| {
    ///     let password = std::fs::read_to_string("/run/secrets/db")?;
    ///     Ok(Credentials::new(password.trim_end()))
    /// });
    /// # Ok::<(), poolwarden::Error>(())
    /// ```
    #[must_use]
    pub fn with_credentials<F>(mut self, hook: F) -> MySql
    where
        F: Fn() -> Result<Credentials, BoxError> + Send + Sync + 'static,
    {
        self.servers.log_in_with(CredentialSource::from_hook(hook));
        self
    }

    /// Sets a hook that may change the options of each connection before it is opened: the
    /// user, the password, the database, `init` statements, connect attributes.
    ///
    /// Default: none. The hook gets a copy of the driver's own options, which is used for this
    /// connection only, also by its resets. It is called once for each attempt to connect, on
    /// the thread that opens the connection, without a lock, within `connect_timeout`; what it
    /// returns later is not used. Credentials of
    /// [`with_credentials`](MySql::with_credentials) override it. Its error, or a change of
    /// host, port, socket, TLS or timeouts, fails the attempt with
    /// [`FaultClass::BeforeConnect`](crate::FaultClass::BeforeConnect); a panic fails that
    /// one attempt. It is called for the connection of a `KILL QUERY` as well.
    ///
    /// ```no_run
    /// use poolwarden::MySql;
    ///
    /// let driver = MySql::new("mysql://app@db.example.com/app")?.before_connect(|options| {
    ///     let password = std::fs::read_to_string("/run/secrets/db")?;
    ///     Ok(options.pass(Some(password.trim_end())))
    /// });
    /// # Ok::<(), poolwarden::Error>(())
    /// ```
    #[must_use]
    pub fn before_connect<F>(mut self, hook: F) -> MySql
    where
        F: Fn(OptsBuilder) -> Result<OptsBuilder, BoxError> + Send + Sync + 'static,
    {
        self.before_connect = BeforeConnect::from_hook(hook);
        self
    }

    /// Sets how connections are encrypted and how the server's identity is verified.
    ///
    /// The default is `sslmode=prefer`: TLS if the server supports it, without
    /// verification; where that is not safe, the pool logs a warning once.
    ///
    /// - The `mysql` driver trusts the system's certificate authorities in addition to
    ///   `root_certificate`. With `verify-ca` it therefore accepts any certificate of a
    ///   public authority; the pool logs a warning: use `verify-full`.
    /// - With `verify-full` and a host name the driver resolves the name itself and dials
    ///   its first address only. A custom resolver is then called only to check that the
    ///   host exists.
    /// - The driver loads the system's authorities at each dial with TLS, about 45 ms on
    ///   one processor (measured, OpenSSL 3.0).
    /// - A client certificate must be [`Pkcs12`](crate::config::ClientIdentity::Pkcs12).
    ///
    /// ```no_run
    /// use poolwarden::{MySql, Pool, SslMode, Tls};
    ///
    /// let tls = Tls::new(SslMode::VerifyFull).root_certificate("/etc/ssl/our-authority.pem");
    /// let driver = MySql::new("mysql://app:secret@db.example.com/app")?.with_tls(tls)?;
    /// let pool = Pool::builder().build(driver)?;
    /// # Ok::<(), poolwarden::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Config`](crate::ErrorKind::Config): the feature `native-tls` is off, MySQL or its
    /// driver does not support an option, two options contradict each other, a file
    /// cannot be read, or an endpoint is a unix socket.
    pub fn with_tls(mut self, tls: Tls) -> Result<MySql, Error> {
        tls::check(&tls, self.servers.has_unix_socket())?;
        self.tls = tls;
        self.servers.forget();
        Ok(self)
    }

    /// Replaces the system's resolver of host names.
    ///
    /// It is called on a separate thread, which the pool abandons if it does not return
    /// within `connect_timeout`.
    #[must_use]
    pub fn with_resolver<F>(mut self, resolver: F) -> MySql
    where
        F: Fn(&str, u16) -> io::Result<Vec<SocketAddr>> + Send + Sync + 'static,
    {
        self.servers.resolve_with(Resolver::with(resolver));
        self
    }
}

impl FromSettings for MySql {
    fn from_settings(settings: &Settings) -> Result<MySql, Error> {
        settings.must_suit(System::MySql)?;
        let mut driver = MySql::from_opts(from_settings::opts(settings)?)?;
        let endpoints = from_settings::endpoints(settings)?;
        driver.password = settings.secret("password").cloned();
        driver.options = settings.all_options(endpoints.len())?;
        let order = HostOrder::named(settings.text("load_balance_hosts"));
        driver.servers = Servers::new(endpoints, order);
        driver.with_tls(settings.tls()?)
    }
}

impl fmt::Debug for MySql {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Never the driver's Debug of its options: it prints the password.
        f.debug_tuple("MySql").field(&self.label()).finish()
    }
}
