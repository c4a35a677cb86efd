//! The MySQL and MariaDB driver.

use super::{control, limits, security, socket_options, words};
use crate::driver::{Attempt, Canceller, Driver, Link, Unsolicited};
use crate::error::fault::mysql as fault;
use crate::error::{BoxError, ConnectError, ConnectFault, Error, Phase};
use crate::limits::ServerLimits;
use crate::liveness;
use crate::observe::{Protection, Words};
use crate::preference::{Preference, Way};
use crate::protection::Route;
use crate::reset::{Cleaned, Handling, Leftovers, Reset};
use crate::resolve::Resolver;
use crate::role::Role;
use crate::tls::{Tls, Verification};
use mysql::prelude::Queryable;
use mysql::{ChangeUserOpts, Conn, Opts, OptsBuilder};
use std::borrow::Cow;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// A driver for MySQL and MariaDB, over TCP and unix sockets.
///
/// A guard derefs to [`mysql::Conn`]. All addresses of the host are tried in
/// order, within one `connect_timeout`.
///
/// # Socket options
///
/// What the URL says of `tcp_keepalive_time_ms`, `tcp_keepalive_probe_interval_secs`,
/// `tcp_keepalive_probe_count` and `tcp_user_timeout_ms` holds; the pool's own knobs
/// fill in what it does not say.
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
    opts: Opts,
    resolver: Resolver,
    tls: Tls,
    preference: Arc<Preference>,
}

/// What the driver keeps beside each connection.
#[derive(Debug)]
pub struct Side {
    /// `None` over a unix socket, where there is nothing to protect.
    protection: Option<Protection>,
}

impl MySql {
    /// Makes a driver from a URL: `mysql://user:password@host:port/database`, or
    /// with the scheme `mariadb`; a unix socket as `?socket=/path`.
    ///
    /// # Errors
    ///
    /// [`Config`](crate::ErrorKind::Config): it cannot be read, or has an option
    /// that a pool must refuse (see [`from_opts`](MySql::from_opts)).
    pub fn new(url: &str) -> Result<MySql, Error> {
        let url = match url.strip_prefix("mariadb://") {
            Some(rest) => Cow::Owned(format!("mysql://{rest}")),
            None => Cow::Borrowed(url),
        };
        let opts = Opts::from_url(&url).map_err(|error| {
            Error::config("the MySQL connection URL cannot be read").with_source(error)
        })?;
        MySql::from_opts(opts)
    }

    /// Makes a driver from the `mysql` driver's own options.
    ///
    /// `prefer_socket` is always switched off: with it the driver would open a
    /// second connection behind the pool's back. `ssl_opts` are understood as by
    /// [`with_tls`](MySql::with_tls): with neither of their dangerous switches as
    /// `verify-full`, without them as `prefer`.
    ///
    /// # Errors
    ///
    /// [`Config`](crate::ErrorKind::Config): `read_timeout` or `write_timeout` is
    /// set, or `ssl_opts` that cannot work.
    pub fn from_opts(opts: Opts) -> Result<MySql, Error> {
        for (name, value) in
            [("read_timeout", opts.get_read_timeout()), ("write_timeout", opts.get_write_timeout())]
        {
            if let Some(value) = value {
                return Err(Error::config(format!(
                    "{name} {value:?}: after a {name} the mysql driver gives the next query the \
                     answer of the last one; leave it out: connect_timeout bounds the connect, \
                     ping_timeout the check"
                )));
            }
        }
        let tls = security::tls_of(&opts);
        let (resolver, preference) = (Resolver::system(), Arc::default());
        MySql { opts, resolver, preference, tls: Tls::default() }.with_tls(tls)
    }

    /// Says how connections are encrypted, and the server's identity checked.
    ///
    /// The default is `sslmode=prefer`: TLS if the server has it, unverified; where
    /// that is not safe, the pool warns once.
    ///
    /// - The `mysql` driver trusts the system's authorities besides
    ///   `root_certificate`. With `verify-ca` that lets everybody pass who has any
    ///   certificate of a public authority, which is warned of: use `verify-full`.
    /// - With `verify-full` and a host name the driver resolves the name by itself
    ///   and dials its first address only. A resolver of your own is then asked only
    ///   whether there is such a host.
    /// - A client's certificate must be [`Pkcs12`](crate::ClientIdentity::Pkcs12).
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
    /// [`Config`](crate::ErrorKind::Config): it needs the feature `native-tls`, is
    /// something that MySQL or its driver does not have, two of its knobs contradict
    /// one another, a file cannot be read, or a unix socket is to have TLS.
    pub fn with_tls(mut self, tls: Tls) -> Result<MySql, Error> {
        security::check(&tls, self.opts.get_socket())?;
        self.tls = tls;
        self.preference = Arc::default();
        Ok(self)
    }

    /// Replaces the system's resolver of host names.
    ///
    /// It is called on a thread of its own, which is left behind if it does not
    /// answer within `connect_timeout`.
    #[must_use]
    pub fn with_resolver<F>(mut self, resolver: F) -> MySql
    where
        F: Fn(&str, u16) -> io::Result<Vec<SocketAddr>> + Send + Sync + 'static,
    {
        self.resolver = Resolver::with(resolver);
        self
    }

    /// The same server, nothing of the session: for a control connection to this
    /// address of it.
    pub(super) fn for_control(&self, address: Option<SocketAddr>) -> MySql {
        let opts = OptsBuilder::from_opts(self.opts.clone());
        let opts = opts.init(Vec::<String>::new()).db_name(None::<String>);
        let resolver = match address {
            Some(address) => Resolver::with(move |_, _| Ok(vec![address])),
            None => self.resolver.clone(),
        };
        let (tls, preference) = (self.tls.clone(), Arc::clone(&self.preference));
        MySql { opts: opts.into(), resolver, tls, preference }
    }

    fn dial_tcp(&self, attempt: &Attempt) -> Result<(Conn, Side), ConnectError> {
        attempt.enter(Phase::Resolving);
        let host = self.opts.get_ip_or_hostname();
        let port = self.opts.get_tcp_port();
        let addresses =
            self.resolver.resolve(&host, port, attempt.deadline()).map_err(|error| {
                let timed_out = error.kind() == io::ErrorKind::TimedOut;
                let fault =
                    if timed_out { ConnectFault::TimedOut } else { ConnectFault::UnknownHost };
                ConnectError::new(fault, format!("{host}:{port}")).with_source(error)
            })?;
        if self.tls.verification() == Verification::Host {
            // The driver compares the certificate with what it is told to dial.
            return self.dial_host(&host, &host, addresses[0], attempt);
        }
        let mut last = None;
        for address in addresses {
            // The driver reads an IPv6 address as a URL does: in brackets.
            let ip = match address {
                SocketAddr::V4(address) => address.ip().to_string(),
                SocketAddr::V6(address) => format!("[{}]", address.ip()),
            };
            match self.dial_host(&host, &ip, address, attempt) {
                Ok(connected) => return Ok(connected),
                Err(error) if is_final(error.fault()) || attempt.is_expired() => return Err(error),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| ConnectError::new(ConnectFault::UnknownHost, &*host)))
    }

    /// Dials what the driver is told as the host, one address of it.
    fn dial_host(
        &self,
        host: &str,
        told: &str,
        address: SocketAddr,
        attempt: &Attempt,
    ) -> Result<(Conn, Side), ConnectError> {
        self.preference.dial(self.tls.mode, host, attempt, |way| {
            let ssl = if way == Way::Tls { security::ssl_opts(&self.tls) } else { None };
            let opts =
                OptsBuilder::from_opts(self.opts.clone()).ip_or_hostname(Some(told)).ssl_opts(ssl);
            let connection = self.dial(opts, &address.to_string(), attempt)?;
            let route = Route {
                place: format!("{host}:{}", address.port()),
                address: address.ip(),
                tls: &self.tls,
                encrypted: way == Way::Tls,
                why: if let Way::Plain(why) = way { why } else { None },
                trusts_system: true,
            };
            Ok((connection, Side { protection: Some(route.protection()) }))
        })
    }

    fn dial(
        &self,
        opts: OptsBuilder,
        target: &str,
        attempt: &Attempt,
    ) -> Result<Conn, ConnectError> {
        attempt.enter(Phase::Connecting);
        let left = attempt.remaining().max(Duration::from_millis(1));
        let own = self.opts.get_tcp_connect_timeout();
        let mark = next_mark();
        let opts = opts
            .prefer_socket(false)
            .tcp_connect_timeout(Some(own.map_or(left, |own| own.min(left))))
            .read_timeout(Some(mark));
        let opts = socket_options::add(opts, &self.opts, attempt.tcp());
        attempt.search_with(Box::new(move || {
            let mut found = liveness::find_marked(mark);
            if found.len() == 1 { found.pop() } else { None }
        }));
        let failure = |error: mysql::Error| {
            let failure = ConnectError::new(fault::connect_fault(&error), target);
            match fault::number(&error) {
                Some(number) => failure.with_code(number.to_string()),
                None => failure,
            }
            .with_source(error)
        };
        attempt.enter(Phase::Handshaking);
        let mut connection = Conn::new(opts).map_err(failure)?;
        liveness::clear_timeouts(liveness::borrow(&connection))
            .map_err(|error| failure(mysql::Error::IoError(error)))?;
        if attempt.role() == Role::Writable && !takes_writes(&mut connection).map_err(failure)? {
            return Err(ConnectError::new(ConnectFault::ReadOnly, target));
        }
        Ok(connection)
    }
}

/// A refusal by the server itself: another address of it would say the same.
fn is_final(fault: ConnectFault) -> bool {
    matches!(
        fault,
        ConnectFault::Authentication | ConnectFault::UnknownDatabase | ConnectFault::Config
    )
}

/// Asks for the server's word; `innodb_read_only` is what Aurora's readers have on.
fn takes_writes(connection: &mut Conn) -> mysql::Result<bool> {
    let answer: Option<u8> =
        connection.query_first("select @@global.read_only or @@global.innodb_read_only")?;
    Ok(answer == Some(0))
}

/// A receive time-out of more than a day by which a socket is known while it is
/// dialled: harmless, unique among the dials under way, and in whole seconds,
/// because the kernel rounds parts of them.
fn next_mark() -> Duration {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    Duration::from_secs(100_000 + NEXT.fetch_add(1, Relaxed) % 1_000_000)
}

impl fmt::Debug for MySql {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Never the driver's Debug of its options: it prints the password.
        f.debug_tuple("MySql").field(&self.label()).finish()
    }
}

impl Driver for MySql {
    type Connection = Conn;
    type Side = Side;

    fn label(&self) -> String {
        let place = match self.opts.get_socket() {
            Some(path) => path.to_owned(),
            None => format!("{}:{}", self.opts.get_ip_or_hostname(), self.opts.get_tcp_port()),
        };
        format!("mysql {place}/{}", self.opts.get_db_name().unwrap_or_default())
    }

    fn connect(&self, attempt: &Attempt) -> Result<(Conn, Side), ConnectError> {
        let Some(path) = self.opts.get_socket() else { return self.dial_tcp(attempt) };
        let opts = OptsBuilder::from_opts(self.opts.clone()).ssl_opts(None);
        Ok((self.dial(opts, path, attempt)?, Side { protection: None }))
    }

    fn ping(&self, connection: &mut Conn, _: &mut Side, _: Instant) -> Result<(), BoxError> {
        Ok(connection.ping()?)
    }

    fn is_writable(
        &self,
        connection: &mut Conn,
        _: &mut Side,
        _: Instant,
    ) -> Result<bool, BoxError> {
        Ok(takes_writes(connection)?)
    }

    fn link<'a>(&self, connection: &'a Conn, _: &'a Side) -> Link<'a> {
        Link::Socket(liveness::borrow(connection))
    }

    fn protection(&self, _: &Conn, side: &Side) -> Option<Protection> {
        side.protection.clone()
    }

    fn leftovers(&self, _: &mut Conn, _: &mut Side, handling: Handling, reset: Reset) -> Leftovers {
        // The driver does not tell what a statement has changed; a guard that was
        // never borrowed mutably has run none.
        if reset == Reset::None || handling == Handling::Untouched {
            Leftovers::None
        } else {
            Leftovers::Some
        }
    }

    /// `COM_RESET_CONNECTION` rolls back and clears the session. It keeps what `USE`
    /// chose, so after a raw borrow the default database is chosen again; where
    /// there is none, only a new log-in on the same connection forgets it.
    fn reset(
        &self,
        connection: &mut Conn,
        _: &mut Side,
        handling: Handling,
        _: Reset,
    ) -> Result<Cleaned, BoxError> {
        match self.opts.get_db_name() {
            _ if handling < Handling::Raw => connection.reset()?,
            Some(name) => {
                connection.reset()?;
                connection.select_db(name)?;
            }
            None => connection.change_user(ChangeUserOpts::new())?,
        }
        Ok(Cleaned::default())
    }

    fn read_words(&self, bytes: &[u8]) -> Option<Words> {
        words::read(bytes)
    }

    /// The protocol has no unasked-for data that is harmless: the next query would
    /// take it for its own answer.
    fn unsolicited(&self, _: &Side, _: &[u8]) -> Unsolicited {
        Unsolicited::Discard
    }

    fn canceller(&self, connection: &Conn, _: &Side) -> Option<Canceller> {
        Some(Canceller::Remote(control::killer(self, connection)))
    }

    fn cancelling_takes_a_session(&self) -> bool {
        true
    }

    fn server_limits(
        &self,
        connection: &mut Conn,
        _: &mut Side,
        _: Instant,
    ) -> Result<Option<ServerLimits>, BoxError> {
        limits::read(connection).map(Some)
    }
}
