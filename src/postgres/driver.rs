//! The PostgreSQL driver.

use super::connector::Connector;
use super::negotiation::Refusal;
use super::notices::Notices;
use super::passfile::Passfile;
use super::pooler::Scout;
use super::security::Security;
use super::side::Side;
use super::statements::Statements;
use super::{asynchrony, cancel, cleaning, configure, hosts, limits, unix, words};
use crate::config::Knobs;
use crate::credentials::{Credentials, Login};
use crate::driver::{Attempt, Canceller, Driver, Gauge, Link, Progress, Unsolicited};
use crate::error::fault::postgres as fault;
use crate::error::{BoxError, ConnectError, ConnectFault, Error, Phase};
use crate::limits::ServerLimits;
use crate::observe::{Protection, Words};
use crate::preference::{Preference, Way};
use crate::protection::Route;
use crate::reset::{Cleaned, Handling, Leftovers, Reset};
use crate::resolve::Resolver;
use crate::route::{self, Itinerary, Order, first_success};
use crate::settings::{FromSettings, Place, Settings};
use crate::tls::Tls;
use postgres::config::LoadBalanceHosts;
use postgres::fallible_iterator::FallibleIterator;
use postgres::{Client, Config, NoTls, SimpleQueryMessage};
use std::error::Error as _;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A driver for PostgreSQL, over TCP and unix sockets.
///
/// A guard derefs to [`postgres::Client`]. Several hosts are tried in order, and
/// all addresses of each, within one `connect_timeout`.
///
/// # Socket options
///
/// What the connection string says of `keepalives`, `keepalives_idle`,
/// `keepalives_interval`, `keepalives_retries` and `tcp_user_timeout` holds; the
/// pool's own knobs fill in what it does not say. `keepalives_idle` of two hours,
/// the `postgres` driver's default, cannot be told from none.
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
    config: Config,
    pub(super) itinerary: Itinerary,
    resolver: Resolver,
    security: Arc<Security>,
    preference: Preference,
    login: Login,
    pub(super) passfile: Passfile,
    pub(super) notices: Notices,
    pub(super) knobs: Knobs,
    pub(super) scout: Scout,
}

impl Postgres {
    /// Makes a driver from a URL (`postgres://user:password@host:port/database`) or
    /// a list of keys (`host=… user=…`), with libpq's keys and its meaning of them.
    ///
    /// Knobs of the pool may be among them (`?pool_max_size=8`): they are the
    /// defaults of the pools of this driver. See [`Settings`] for other sources.
    ///
    /// # Errors
    ///
    /// [`Config`](crate::ErrorKind::Config): it cannot be read, names no host, or
    /// asks for TLS that cannot work. The text names the key and shows no value.
    pub fn new(text: &str) -> Result<Postgres, Error> {
        Postgres::from_settings(&Settings::parse(text)?)
    }

    /// Makes a driver from the `postgres` driver's own configuration.
    ///
    /// A notice callback set on it cannot be taken over: give it to
    /// [`with_notice_callback`](Postgres::with_notice_callback). What it says about TLS is
    /// understood as by [`with_tls`](Postgres::with_tls).
    ///
    /// # Errors
    ///
    /// As [`new`](Postgres::new).
    pub fn from_config(config: Config) -> Result<Postgres, Error> {
        let places = hosts::targets(&config)?;
        let random = config.get_load_balance_hosts() == LoadBalanceHosts::Random;
        let order = if random { Order::Random } else { Order::AsGiven };
        let tls = hosts::tls_of(&config);
        Postgres::leading_to(places, order, config, tls)
    }

    pub(super) fn leading_to(
        places: Vec<Place>,
        order: Order,
        config: Config,
        tls: Tls,
    ) -> Result<Postgres, Error> {
        Ok(Postgres {
            config,
            itinerary: Itinerary::new(places, order),
            resolver: Resolver::system(),
            security: Security::of(tls)?,
            preference: Preference::default(),
            login: Login::default(),
            passfile: Passfile::default(),
            notices: Notices::default(),
            knobs: Knobs::default(),
            scout: Scout::default(),
        })
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
        self.login = Login::by(hook);
        self
    }

    /// Says how connections are encrypted, and the server's identity checked.
    ///
    /// The default is what the configuration says, and else `sslmode=prefer`: TLS
    /// if the server has it, unverified; where that is not safe, the pool warns
    /// once. Over a unix socket nothing of this is used, as with libpq. Files of
    /// certificates and keys that have changed are read again for the connections
    /// that are opened afterwards.
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
    /// [`Config`](crate::ErrorKind::Config): it needs the feature `native-tls`, two
    /// of its knobs contradict one another, or a file cannot be read.
    pub fn with_tls(mut self, tls: Tls) -> Result<Postgres, Error> {
        self.security = Security::of(tls)?;
        self.preference = Preference::default();
        Ok(self)
    }

    /// Replaces the system's resolver of host names.
    ///
    /// It is called on a thread of its own, which is left behind if it does not
    /// answer within `connect_timeout`.
    #[must_use]
    pub fn with_resolver<F>(mut self, resolver: F) -> Postgres
    where
        F: Fn(&str, u16) -> io::Result<Vec<SocketAddr>> + Send + Sync + 'static,
    {
        self.resolver = Resolver::with(resolver);
        self
    }

    fn dial(
        &self,
        place: &Place,
        credentials: Option<&Credentials>,
        attempt: &Attempt,
    ) -> Result<(Client, Side), ConnectError> {
        match place {
            Place::Unix { path, port } => {
                let port = port.unwrap_or(hosts::DEFAULT_PORT);
                self.dial_unix(path, port, credentials, attempt)
            }
            Place::Tcp { host, address: Some(address), port } => {
                let address = SocketAddr::new(*address, *port);
                self.dial_address(host, address, credentials, attempt)
            }
            Place::Tcp { host, address: None, port } => {
                let way = (&self.resolver, self.itinerary.order());
                let addresses = route::addresses(way, (host, *port), attempt)?;
                first_success(addresses, attempt, host, |address| {
                    self.dial_address(host, address, credentials, attempt)
                })
            }
        }
    }

    fn dial_address(
        &self,
        host: &str,
        address: SocketAddr,
        credentials: Option<&Credentials>,
        attempt: &Attempt,
    ) -> Result<(Client, Side), ConnectError> {
        let mode = self.security.tls.mode;
        self.preference.dial(mode, &place_of(host, address), attempt, |way| {
            self.dial_this_way(host, address, credentials, attempt, way)
        })
    }

    fn dial_this_way(
        &self,
        host: &str,
        address: SocketAddr,
        credentials: Option<&Credentials>,
        attempt: &Attempt,
        way: Way<'_>,
    ) -> Result<(Client, Side), ConnectError> {
        attempt.enter(Phase::Connecting);
        let mut config = hosts::for_address(&self.config, &self.security.tls, host, address);
        self.notices.attach(&mut config);
        hosts::want(&mut config, attempt.role());
        configure::log_in(&mut config, credentials);
        config.connect_timeout(self.time_for_tcp(attempt));
        hosts::add_tcp_options(&mut config, attempt.tcp());
        let demand = self.security.demand(way).map_err(|error| {
            ConnectError::new(ConnectFault::Tls, address.to_string()).with_source(error)
        })?;
        let connector = Connector::new(attempt, demand);
        let ledger = connector.ledger();
        let failure = |error| self.failure(&address.to_string(), error, ledger.fatal());
        let mut client = config.connect(connector.clone()).map_err(failure)?;
        self.scout.look(&mut client, &ledger).map_err(failure)?;
        let route = Route {
            place: place_of(host, address),
            address: address.ip(),
            tls: &self.security.tls,
            encrypted: connector.is_encrypted(),
            why: if let Way::Plain(why) = way { why } else { None },
            trusts_system: false,
        };
        let (ledger, protection) = (Some(ledger), Some(route.protection()));
        let statements = Statements::new();
        Ok((client, Side { socket: connector.socket(), ledger, protection, statements }))
    }

    fn dial_unix(
        &self,
        folder: &Path,
        port: u16,
        credentials: Option<&Credentials>,
        attempt: &Attempt,
    ) -> Result<(Client, Side), ConnectError> {
        attempt.enter(Phase::Handshaking);
        let path = folder.join(format!(".s.PGSQL.{port}"));
        let mut config = hosts::for_socket(&self.config, &self.security.tls, folder, port);
        self.notices.attach(&mut config);
        hosts::want(&mut config, attempt.role());
        configure::log_in(&mut config, credentials);
        config.connect_timeout(self.time_for_tcp(attempt));
        let connected = unix::watched(&path, attempt, || config.connect(NoTls));
        let (client, socket) =
            connected.map_err(|error| self.failure(&path.display().to_string(), error, None))?;
        let statements = Statements::new();
        Ok((client, Side { socket, ledger: None, protection: None, statements }))
    }

    /// The driver bounds the TCP connect only, and takes no zero.
    fn time_for_tcp(&self, attempt: &Attempt) -> Duration {
        let left = attempt.remaining().max(Duration::from_millis(1));
        self.config.get_connect_timeout().map_or(left, |own| left.min(*own))
    }

    /// What our stream has heard counts where the driver has lost it.
    fn failure(&self, target: &str, error: postgres::Error, heard: Option<Words>) -> ConnectError {
        if error.code().is_none()
            && let Some(words) = heard
        {
            let fault = fault::connect_by_code(&words.code, &words.text);
            let source = words.to_string();
            return ConnectError::new(fault, target).with_code(words.code).with_source(source);
        }
        let refusal = error.source().and_then(|cause| cause.downcast_ref::<Refusal>());
        let fault = refusal.map_or_else(|| fault::connect_fault(&error), |cause| cause.fault());
        let failure = ConnectError::new(fault, target);
        let failure = match error.code() {
            Some(code) => failure.with_code(code.code()),
            None => failure,
        };
        failure.with_source(error)
    }

    /// The connection was lost over the question for the limits. A pooler lets
    /// clients in whose server it cannot reach, and says so only now; the driver
    /// loses those words in a part of the cases, our stream does not.
    fn lost(&self, side: &Side, error: postgres::Error) -> ConnectError {
        const WHEN: &str = "lost while the server's limits were read";
        match side.fatal().or_else(|| words::of(&error)) {
            Some(words) => {
                let fault = fault::connect_by_code(&words.code, &words.text);
                let source = format!("{WHEN}: {words}");
                ConnectError::new(fault, self.label()).with_code(words.code).with_source(source)
            }
            None => {
                let source = format!("{WHEN}: {error}");
                ConnectError::new(ConnectFault::Hangup, self.label()).with_source(source)
            }
        }
    }
}

/// Names a server for people.
fn place_of(host: &str, address: SocketAddr) -> String {
    format!("{host}:{}", address.port())
}

impl fmt::Debug for Postgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Postgres").field(&self.label()).finish()
    }
}

impl Driver for Postgres {
    type Connection = Client;
    type Side = Side;

    fn label(&self) -> String {
        let place = self.itinerary.label();
        let user = self.config.get_user().unwrap_or_default();
        let name = self.config.get_dbname().unwrap_or(user);
        format!("postgres {place}/{name}")
    }

    fn knobs(&self) -> Option<&Knobs> {
        Some(&self.knobs)
    }

    fn connect(&self, attempt: &Attempt) -> Result<(Client, Side), ConnectError> {
        self.login.dial(&self.itinerary.label(), attempt, |credentials| {
            self.itinerary.travel(attempt, |place| match credentials {
                Some(_) => self.dial(place, credentials, attempt),
                None => {
                    let filed = self.passfile.password(place, &self.config);
                    self.dial(place, filed.as_ref(), attempt)
                }
            })
        })
    }

    fn ping(&self, client: &mut Client, _: &mut Side, deadline: Instant) -> Result<(), BoxError> {
        let left = deadline.saturating_duration_since(Instant::now());
        Ok(client.is_valid(left)?)
    }

    fn is_writable(&self, client: &mut Client, _: &mut Side, _: Instant) -> Result<bool, BoxError> {
        let messages = client.simple_query("show transaction_read_only")?;
        let is_off = |message: &SimpleQueryMessage| match message {
            SimpleQueryMessage::Row(row) => row.get(0) == Some("off"),
            _ => false,
        };
        Ok(messages.iter().any(is_off))
    }

    fn ping_is_bounded(&self) -> bool {
        true
    }

    fn link<'a>(&self, _: &'a Client, side: &'a Side) -> Link<'a> {
        side.socket.as_ref().map_or(Link::Hidden, |socket| Link::Socket(socket.as_fd()))
    }

    fn is_broken(&self, client: &mut Client, side: &mut Side) -> bool {
        // The driver learns of the end a moment after the words that announce it.
        client.is_closed() || side.ledger.as_ref().is_some_and(|ledger| ledger.has_ended())
    }

    /// The driver's drop waits for all answers, and for ever if rows were forgotten.
    fn give_up(&self, _: &mut Client, side: &mut Side) -> bool {
        side.ledger.as_ref().is_some_and(|ledger| ledger.give_up())
    }

    fn leftovers(
        &self,
        _: &mut Client,
        side: &mut Side,
        handling: Handling,
        reset: Reset,
    ) -> Leftovers {
        cleaning::leftovers(side.ledger.as_deref(), handling, reset)
    }

    fn reset(
        &self,
        client: &mut Client,
        side: &mut Side,
        handling: Handling,
        reset: Reset,
    ) -> Result<Cleaned, BoxError> {
        let ledger = side.ledger.as_deref();
        let unproven = side.socket.is_none() || ledger.is_none() && handling == Handling::Raw;
        cleaning::reset(client, ledger, unproven, reset)
    }

    fn read_words(&self, bytes: &[u8]) -> Option<Words> {
        words::read(bytes)
    }

    fn parting_words(&self, side: &Side) -> Option<Words> {
        side.fatal()
    }

    fn server_process(&self, _: &Client, side: &Side) -> Option<u64> {
        side.server_process()
    }

    fn progress(&self, side: &Side) -> Option<Progress> {
        side.progress()
    }

    fn words_of(&self, error: &BoxError) -> Option<Words> {
        words::of(error.downcast_ref::<postgres::Error>()?)
    }

    /// Turns the driver's connection once, which reads what lies there and sends
    /// nothing.
    fn last_words(&self, client: &mut Client, side: &mut Side) -> Option<Words> {
        if side.is_encrypted() && asynchrony::thread_may_block() {
            let mut notifications = client.notifications();
            let _ = notifications.timeout_iter(Duration::ZERO).next();
        }
        side.fatal()
    }

    fn protection(&self, _: &Client, side: &Side) -> Option<Protection> {
        side.protection.clone()
    }

    fn unsolicited(&self, side: &Side, bytes: &[u8]) -> Unsolicited {
        if side.is_encrypted() { Unsolicited::Ping } else { words::unsolicited(bytes) }
    }

    fn may_block_here(&self) -> bool {
        asynchrony::thread_may_block()
    }

    fn server_limits(
        &self,
        client: &mut Client,
        side: &mut Side,
        _: Instant,
    ) -> Result<Option<ServerLimits>, BoxError> {
        let process_id = side.ledger.as_ref().and_then(|ledger| ledger.process_id());
        limits::read(client, process_id).map(Some).map_err(|error| self.lost(side, error).into())
    }

    fn gauge(&self, _: &Client, side: &Side, gauge: Arc<dyn Gauge>) -> bool {
        side.ledger.as_ref().is_some_and(|ledger| ledger.tell(gauge))
    }

    fn canceller(&self, client: &Client, side: &Side) -> Option<Canceller> {
        let path = match &side.ledger {
            None => cancel::Path::Unix,
            Some(_) => cancel::Path::Tcp {
                encrypted: side.is_encrypted(),
                security: Arc::clone(&self.security),
            },
        };
        Some(Canceller::Remote(cancel::request(client.cancel_token(), path)))
    }
}
