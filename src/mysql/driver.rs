//! The MySQL and MariaDB driver.

use super::cleaning::Cleaning;
use super::{configure, control, limits, security, socket_options, words};
use crate::config::Knobs;
use crate::credentials::{Credentials, Login};
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
use crate::route::{self, Itinerary, Order, first_success};
use crate::secret::Secret;
use crate::settings::{FromSettings, Place, Settings, System};
use crate::tls::{Tls, Verification};
use mysql::prelude::Queryable;
use mysql::{Conn, Opts, OptsBuilder};
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// A driver for MySQL and MariaDB, over TCP and unix sockets.
///
/// A guard derefs to [`mysql::Conn`]. Several hosts are tried in order, and all
/// addresses of each, within one `connect_timeout`.
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
    /// Without password and TLS: the driver's Debug would print the secrets of both.
    opts: Opts,
    password: Option<Secret>,
    itinerary: Itinerary,
    resolver: Resolver,
    tls: Tls,
    preference: Arc<Preference>,
    login: Login,
    knobs: Knobs,
    cleaning: Cleaning,
}

/// What the driver keeps beside each connection.
#[derive(Debug)]
pub struct Side {
    /// Where it leads to, for a control connection to the same server.
    place: Place,
    /// `None` over a unix socket, where there is nothing to protect.
    protection: Option<Protection>,
}

impl MySql {
    /// Makes a driver from a URL: `mysql://user:password@host:port/database`, or
    /// with the scheme `mariadb`; a unix socket as `?socket=/path`. A list of keys
    /// (`host=… user=…`) will do as well.
    ///
    /// Knobs of the pool may be among them (`?pool_max_size=8`): they are the
    /// defaults of the pools of this driver. See [`Settings`] for other sources.
    ///
    /// # Errors
    ///
    /// [`Config`](crate::ErrorKind::Config): it cannot be read, names no host, or
    /// has an option that a pool must refuse (see [`from_opts`](MySql::from_opts)).
    /// The text names the key and shows no value.
    pub fn new(url: &str) -> Result<MySql, Error> {
        MySql::from_settings(&Settings::parse(url)?)
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
        let itinerary = Itinerary::new(vec![configure::place_of(&opts)], Order::AsGiven);
        let password = opts.get_pass().map(Secret::new);
        let opts = OptsBuilder::from_opts(opts).pass(None::<String>).ssl_opts(None).into();
        let driver = MySql {
            opts,
            password,
            itinerary,
            resolver: Resolver::system(),
            tls: Tls::default(),
            preference: Arc::default(),
            login: Login::default(),
            knobs: Knobs::default(),
            cleaning: Cleaning::default(),
        };
        driver.with_tls(tls)
    }

    /// Asks for the credentials at every connect: for passwords that are rotated,
    /// and for tokens that live for minutes.
    ///
    /// It is called on the thread that opens the connection, without a lock, within
    /// `connect_timeout`; what it returns later than that is not used. It is asked
    /// once more if the server refuses what it returned. Its error fails the attempt
    /// with [`ConnectFault::Credentials`]; a panic
    /// costs that one attempt. Keep what is slow to get: the hook is asked for each
    /// connection.
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
        self.login = Login::by(hook);
        self
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
    /// - It reads the system's authorities anew at each dial with TLS, some 45 ms on
    ///   one processor (measured, OpenSSL 3.0).
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
        let by_socket = |place: &Place| matches!(place, Place::Unix { .. });
        security::check(&tls, self.itinerary.places().iter().any(by_socket))?;
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
    pub(super) fn for_control(&self, place: &Place, address: Option<SocketAddr>) -> MySql {
        let opts = OptsBuilder::from_opts(self.opts.clone());
        let opts = opts.init(Vec::<String>::new()).db_name(None::<String>);
        let resolver = match address {
            Some(address) => Resolver::with(move |_, _| Ok(vec![address])),
            None => self.resolver.clone(),
        };
        MySql {
            opts: opts.into(),
            password: self.password.clone(),
            itinerary: Itinerary::new(vec![place.clone()], Order::AsGiven),
            resolver,
            tls: self.tls.clone(),
            preference: Arc::clone(&self.preference),
            login: self.login.clone(),
            knobs: Knobs::default(),
            cleaning: Cleaning::default(),
        }
    }

    fn dial_place(
        &self,
        place: &Place,
        opts: &OptsBuilder,
        attempt: &Attempt,
    ) -> Result<(Conn, Side), ConnectError> {
        let (host, port) = match place {
            Place::Unix { path, .. } => {
                let path = path.display().to_string();
                let opts = opts.clone().ssl_opts(None).socket(Some(path.clone()));
                let side = Side { place: place.clone(), protection: None };
                return Ok((self.dial(opts, &path, attempt)?, side));
            }
            Place::Tcp { host, port, .. } => (host, *port),
        };
        // The driver reads an IPv6 address as a URL does: in brackets.
        let bracketed = |host: &str| match host.parse::<IpAddr>() {
            Ok(IpAddr::V6(address)) => format!("[{address}]"),
            _ => host.to_owned(),
        };
        let opts = opts.clone().tcp_port(port);
        if self.tls.verification() == Verification::Host {
            // The driver compares the certificate with what it is told to dial, and
            // resolves that by itself.
            let way = (&self.resolver, Order::AsGiven);
            let address = route::addresses(way, (host, port), attempt)?[0];
            return self.dial_host(place, &bracketed(host), address, &opts, attempt);
        }
        let way = (&self.resolver, self.itinerary.order());
        first_success(route::addresses(way, (host, port), attempt)?, attempt, host, |address| {
            let told = bracketed(&address.ip().to_string());
            self.dial_host(place, &told, address, &opts, attempt)
        })
    }

    fn opts_for(&self, credentials: Option<&Credentials>) -> OptsBuilder {
        let opts = OptsBuilder::from_opts(self.opts.clone());
        let password = credentials.map(|one| &one.password).or(self.password.as_ref());
        let opts = opts.pass(password.map(Secret::expose));
        match credentials.and_then(|one| one.user.as_deref()) {
            Some(user) => opts.user(Some(user)),
            None => opts,
        }
    }

    /// Dials what the driver is told as the host, one address of it.
    fn dial_host(
        &self,
        place: &Place,
        told: &str,
        address: SocketAddr,
        opts: &OptsBuilder,
        attempt: &Attempt,
    ) -> Result<(Conn, Side), ConnectError> {
        self.preference.dial(self.tls.mode, &place.label(), attempt, |way| {
            let ssl = if way == Way::Tls { security::ssl_opts(&self.tls) } else { None };
            let opts = opts.clone().ip_or_hostname(Some(told)).ssl_opts(ssl);
            let connection = self.dial(opts, &address.to_string(), attempt)?;
            let route = Route {
                place: place.label(),
                address: address.ip(),
                tls: &self.tls,
                encrypted: way == Way::Tls,
                why: if let Way::Plain(why) = way { why } else { None },
                trusts_system: true,
            };
            let protection = Some(route.protection());
            Ok((connection, Side { place: place.clone(), protection }))
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

impl FromSettings for MySql {
    fn from_settings(settings: &Settings) -> Result<MySql, Error> {
        settings.must_suit(System::MySql)?;
        let mut driver = MySql::from_opts(configure::opts(settings)?)?;
        let places = configure::places(settings)?;
        driver.password = settings.secret("password").cloned();
        driver.knobs = settings.all_knobs(places.len())?;
        let order = Order::named(settings.text("load_balance_hosts"));
        driver.itinerary = Itinerary::new(places, order);
        driver.with_tls(settings.tls()?)
    }
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
        let place = self.itinerary.label();
        format!("mysql {place}/{}", self.opts.get_db_name().unwrap_or_default())
    }

    fn knobs(&self) -> Option<&Knobs> {
        Some(&self.knobs)
    }

    fn connect(&self, attempt: &Attempt) -> Result<(Conn, Side), ConnectError> {
        self.login.dial(&self.itinerary.label(), attempt, |credentials| {
            let opts = self.opts_for(credentials);
            self.itinerary.travel(attempt, |place| self.dial_place(place, &opts, attempt))
        })
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

    fn reset(
        &self,
        connection: &mut Conn,
        _: &mut Side,
        handling: Handling,
        _: Reset,
    ) -> Result<Cleaned, BoxError> {
        self.cleaning.reset(connection, self.opts.get_db_name(), handling)
    }

    fn read_words(&self, bytes: &[u8]) -> Option<Words> {
        words::read(bytes)
    }

    /// The protocol has no unasked-for data that is harmless: the next query would
    /// take it for its own answer.
    fn unsolicited(&self, _: &Side, _: &[u8]) -> Unsolicited {
        Unsolicited::Discard
    }

    fn server_process(&self, connection: &Conn, _: &Side) -> Option<u64> {
        Some(connection.connection_id().into())
    }

    fn canceller(&self, connection: &Conn, side: &Side) -> Option<Canceller> {
        Some(Canceller::Remote(control::killer(self, connection, &side.place)))
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
