//! The MySQL and MariaDB driver.

use super::fleet_slot::{Asking, FleetSlot, Found};
use super::options::MySql;
use super::reset::SessionReset;
use super::session::{ConnectionState, Origin};
use super::transaction_state;
use super::{error_packet, kill_query, server_limits, session_defaults, socket_options, tls};
use crate::config::settings::Endpoint;
use crate::config::tls::Verification;
use crate::config::{PoolOptions, Reset, Role, ServerLimits, SessionDefaults};
use crate::driver::attempt::Attempt;
use crate::driver::cancel::Canceller;
use crate::driver::capabilities::{
    AskRole, CancelStatement, DescribeSession, HoldSlot, ReadLimits, ReadMessages, ResetSession,
    SetDefaults,
};
use crate::driver::connect::credentials::Credentials;
use crate::driver::connect::descriptors;
use crate::driver::connect::fleet::{self, LoginTurn};
use crate::driver::connect::transport_security::TransportSecurity;
use crate::driver::connect::{Candidate, TlsChoice, Wanted};
use crate::driver::driver::Driver;
use crate::driver::session::{ResetOutcome, SessionState, Usage};
use crate::driver::socket_access::{SocketAccess, Unsolicited};
use crate::driver::workarounds::marked_socket::Marker;
use crate::error::fault::mysql as fault;
use crate::error::{BoxError, ConnectError, FaultClass, Phase};
use crate::observe::{Protection, ServerMessage};
use crate::sys::secret::Secret;
use crate::sys::sockets::{self, Descriptor};
use mysql::prelude::Queryable;
use mysql::{Conn, Opts, OptsBuilder};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What a dial opens at a time: the socket, our duplicate of it, and a file for the
/// resolution of the name.
const DESCRIPTORS: usize = 3;

impl MySql {
    /// Returns a driver for a control connection to this address of the same server: no
    /// database, no `init` statements.
    pub(super) fn for_control(&self, endpoint: &Endpoint, address: Option<SocketAddr>) -> MySql {
        let bare = |opts: OptsBuilder| opts.init(Vec::<String>::new()).db_name(None::<String>);
        let opts = bare(OptsBuilder::from_opts(self.opts.clone()));
        MySql {
            opts: opts.into(),
            password: self.password.clone(),
            servers: self.servers.only(endpoint, address),
            tls: self.tls.clone(),
            denied_login: self.denied_login.clone(),
            before_connect: self.before_connect.clone().and_then(bare),
            options: PoolOptions::default(),
            session_reset: SessionReset::default(),
            seen_transactions: Arc::default(),
        }
    }

    fn dial_candidate(
        &self,
        candidate: &Candidate<'_, ()>,
        configured: &OptsBuilder,
        attempt: &Attempt,
    ) -> Result<(Conn, ConnectionState), ConnectError> {
        let endpoint = candidate.endpoint;
        let opts = log_in(configured.clone(), candidate.credentials.as_ref());
        let (host, port, address) = match (endpoint, candidate.address) {
            (Endpoint::Tcp { host, port, .. }, Some(address)) => (host, *port, address),
            (Endpoint::Tcp { host, .. }, None) => {
                return Err(ConnectError::new(FaultClass::UnknownHost, host));
            }
            (Endpoint::Unix { path, .. }, _) => {
                let path = path.display().to_string();
                let opts = opts.ssl_opts(None).socket(Some(path.clone()));
                let state = ConnectionState::new(endpoint, None);
                return Ok((self.dial(opts, &path, attempt)?, state));
            }
        };
        let encrypted = candidate.tls == TlsChoice::Tls;
        let ssl = if encrypted { tls::ssl_opts(&self.tls) } else { None };
        let opts = opts.tcp_port(port).ssl_opts(ssl);
        let opts = opts.ip_or_hostname(Some(self.given_host(host, address)));
        let connection = self.dial(opts, &address.to_string(), attempt)?;
        let security = TransportSecurity {
            endpoint: endpoint.label(),
            address: address.ip(),
            tls: &self.tls,
            encrypted,
            why: candidate.tls.why_plain(),
            trusts_system: true,
        };
        let protection = Some(security.protection());
        Ok((connection, ConnectionState::new(endpoint, protection)))
    }

    /// Returns what the driver gets as the host: an IPv6 address in brackets, as in a URL.
    fn given_host(&self, host: &str, address: SocketAddr) -> String {
        let bracketed = |host: &str| match host.parse::<IpAddr>() {
            Ok(IpAddr::V6(address)) => format!("[{address}]"),
            _ => host.to_owned(),
        };
        match address {
            _ if self.dials_by_name() => bracketed(host),
            SocketAddr::V6(address) if address.scope_id() != 0 => {
                format!("{}%{}", address.ip(), address.scope_id())
            }
            address => bracketed(&address.ip().to_string()),
        }
    }

    /// The driver compares the certificate with the host that it is given, and resolves
    /// that by itself.
    fn dials_by_name(&self) -> bool {
        self.tls.verification() == Verification::Host
    }

    /// Returns the options of one attempt, as the hook returns them.
    fn configure(&self, attempt: &Attempt) -> Result<OptsBuilder, ConnectError> {
        let own = OptsBuilder::from_opts(self.opts.clone());
        let own = own.pass(self.password.as_ref().map(Secret::expose));
        self.before_connect.configure(own, endpoint_and_tls, &self.servers.label(), attempt)
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
        let marker = Marker::next();
        let opts = opts
            .prefer_socket(false)
            .tcp_connect_timeout(Some(own.map_or(left, |own| own.min(left))))
            .read_timeout(Some(marker.read_timeout()));
        let opts = socket_options::add(opts, &self.opts, attempt.tcp());
        let opts = transaction_state::with_room(opts);
        marker.search_for(attempt);
        let failure = |error| failure(error, target);
        attempt.enter(Phase::Handshaking);
        let log_in = || Conn::new(opts.clone());
        let mut connection = self.denied_login.repeat_if_denied(log_in).map_err(failure)?;
        Marker::clear(&connection).map_err(|error| failure(mysql::Error::IoError(error)))?;
        let role = attempt.role();
        if role == Role::Any && attempt.fleet_cap().is_none() {
            return Ok(connection);
        }
        // The server must let go of a session that is not wanted before the next dial.
        let _ = Descriptor::duplicate(sockets::borrow(&connection)).map(|own| attempt.watch(own));
        if role == Role::Any {
            return Ok(connection);
        }
        let mismatch = mismatch(role, takes_writes(&mut connection).map_err(failure)?);
        mismatch.map_or(Ok(connection), |fault| Err(ConnectError::new(fault, target)))
    }
}

/// Takes a slot of the fleet, if the pool has a cap for one.
fn take_slot(
    connection: &mut Conn,
    target: &str,
    attempt: &Attempt,
) -> Result<Option<FleetSlot>, ConnectError> {
    let Some(cap) = attempt.fleet_cap() else { return Ok(None) };
    let (mut asking, mut found) = (Asking::new(cap), Found::NoneIsFree);
    let ask = || {
        found = asking.ask(connection)?;
        Ok(match found {
            Found::Slot(number) => Some(number),
            Found::NoneIsFree => None,
            // To ask once more would be of no use.
            Found::OtherSession => Some(0),
        })
    };
    fleet::ask_for_slot(attempt, ask).map_err(|error| failure(error, target))?;
    match found {
        Found::Slot(number) => Ok(Some(FleetSlot::new(cap, number))),
        Found::NoneIsFree => Err(fleet::full(cap, target)),
        Found::OtherSession => {
            let proxy =
                "a proxy that shares sessions answers (it is the session of another log-in)";
            Err(fleet::behind_pooler(proxy, target))
        }
    }
}

/// Returns the error of a failed dial.
fn failure(error: mysql::Error, target: &str) -> ConnectError {
    let failure = ConnectError::new(fault::connect_fault(&error), target);
    match fault::number(&error) {
        Some(number) => failure.with_code(number.to_string()),
        None => failure,
    }
    .with_source(error)
}

/// Returns what this driver takes from the options only once, when it is built.
fn endpoint_and_tls(opts: &OptsBuilder) -> impl PartialEq + use<> {
    let opts = Opts::from(opts.clone());
    let timeouts = (opts.get_read_timeout().copied(), opts.get_write_timeout().copied());
    let socket = opts.get_socket().map(str::to_owned);
    let host = (opts.get_ip_or_hostname().into_owned(), opts.get_tcp_port(), socket);
    (host, timeouts, opts.get_ssl_opts().cloned())
}

/// Returns the options with the credentials of a hook.
fn log_in(opts: OptsBuilder, credentials: Option<&Credentials>) -> OptsBuilder {
    let Some(credentials) = credentials else { return opts };
    let opts = opts.pass(Some(credentials.password.expose()));
    match credentials.user.as_deref() {
        Some(user) => opts.user(Some(user)),
        None => opts,
    }
}

/// Returns what is wrong with a server, if it does not have the role.
fn mismatch(role: Role, takes_writes: bool) -> Option<FaultClass> {
    match (role, takes_writes) {
        (Role::Writable, false) => Some(FaultClass::ReadOnly),
        (Role::Standby, true) => Some(FaultClass::NotStandby),
        _ => None,
    }
}

/// Asks the server whether it accepts writes; Aurora's readers have `innodb_read_only`.
fn takes_writes(connection: &mut Conn) -> mysql::Result<bool> {
    let answer: Option<u8> =
        connection.query_first("select @@global.read_only or @@global.innodb_read_only")?;
    Ok(answer == Some(0))
}

/// The driver's connection, and what we keep beside it.
type Session = (Conn, ConnectionState);

impl Driver for MySql {
    type Connection = Conn;
    type Session = Session;

    fn label(&self) -> String {
        let endpoint = self.servers.label();
        format!("mysql {endpoint}/{}", self.opts.get_db_name().unwrap_or_default())
    }

    fn connect(&self, attempt: &Attempt) -> Result<Session, ConnectError> {
        let label = self.servers.label();
        let configured = self.configure(attempt)?;
        let _turn = LoginTurn::take(attempt, &label)?;
        let _claim = descriptors::claim(DESCRIPTORS, &label, attempt.deadline())?;
        let wanted = Wanted {
            passes: &[()],
            mode: self.tls.mode,
            by_name: self.dials_by_name(),
            stored: &|_| None,
        };
        let (connection, mut state) = self.servers.open(&wanted, attempt, |candidate| {
            let (mut connection, mut state) =
                self.dial_candidate(candidate, &configured, attempt)?;
            let target = candidate.endpoint.label();
            state.origin.fleet_slot = take_slot(&mut connection, &target, attempt)?;
            Ok((connection, state))
        })?;
        state.origin = Origin::of(&Opts::from(configured), state.origin.fleet_slot);
        Ok((connection, state))
    }

    fn ping(&self, (connection, _): &mut Session, _: Instant) -> Result<(), BoxError> {
        Ok(connection.ping()?)
    }

    #[inline]
    fn socket_access<'a>(&self, (connection, _): &'a Session) -> SocketAccess<'a> {
        SocketAccess::Socket(sockets::borrow(connection))
    }

    fn session_state(
        &self,
        (connection, state): &mut Session,
        usage: Usage,
        reset: Reset,
    ) -> SessionState {
        if usage == Usage::Raw && reset != Reset::None {
            // Neither a reset nor a new log-in clears it.
            connection.set_local_infile_handler(None);
        }
        // The driver does not report what a statement has changed.
        match (reset, usage) {
            (Reset::None, _) | (_, Usage::Unused) => SessionState::Clean,
            (Reset::Auto, Usage::PoolQueries) if state.left_clean => SessionState::Clean,
            _ => SessionState::Dirty,
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

    fn messages(&self) -> Option<&dyn ReadMessages<Session>> {
        Some(self)
    }

    fn limits(&self) -> Option<&dyn ReadLimits<Session>> {
        Some(self)
    }

    fn roles(&self) -> Option<&dyn AskRole<Session>> {
        Some(self)
    }

    fn defaults(&self) -> Option<&dyn SetDefaults<Session>> {
        Some(self)
    }

    fn slots(&self) -> Option<&dyn HoldSlot<Session>> {
        Some(self)
    }

    fn facts(&self) -> Option<&dyn DescribeSession<Session>> {
        Some(self)
    }
}

impl ResetSession<Session> for MySql {
    fn reset_session(
        &self,
        (connection, state): &mut Session,
        usage: Usage,
        _: Reset,
    ) -> Result<ResetOutcome, BoxError> {
        state.statements.forget();
        self.session_reset.reset(connection, &mut state.origin, usage)
    }
}

impl HoldSlot<Session> for MySql {
    fn slot_is_wanted(&self, (connection, state): &mut Session) -> Result<bool, BoxError> {
        match &state.origin.fleet_slot {
            Some(slot) => Ok(slot.is_wanted(connection)?),
            None => Ok(false),
        }
    }
}

impl CancelStatement<Session> for MySql {
    fn canceller(&self, (connection, state): &Session) -> Option<Canceller> {
        Some(Canceller::Remote(kill_query::killer(self, connection, &state.endpoint)))
    }

    fn takes_a_session(&self) -> bool {
        true
    }
}

impl ReadMessages<Session> for MySql {
    fn read_message(&self, bytes: &[u8]) -> Option<ServerMessage> {
        error_packet::read(bytes)
    }

    /// The protocol has no harmless unsolicited data: the next query would take it for
    /// its own answer.
    fn unsolicited(&self, _: &Session, _: &[u8]) -> Unsolicited {
        Unsolicited::Close
    }
}

impl ReadLimits<Session> for MySql {
    fn read_limits(
        &self,
        (connection, _): &mut Session,
        _: Instant,
    ) -> Result<ServerLimits, BoxError> {
        server_limits::read(connection, &self.session_reset.one_by_one)
    }
}

impl AskRole<Session> for MySql {
    fn is_writable(&self, (connection, _): &mut Session, _: Instant) -> Result<bool, BoxError> {
        Ok(takes_writes(connection)?)
    }

    fn is_standby(&self, (connection, _): &mut Session, _: Instant) -> Result<bool, BoxError> {
        Ok(!takes_writes(connection)?)
    }
}

impl SetDefaults<Session> for MySql {
    fn set_defaults(
        &self,
        (connection, _): &mut Session,
        defaults: &SessionDefaults,
    ) -> Result<(), BoxError> {
        for statement in session_defaults::statements(defaults) {
            connection.query_drop(statement)?;
        }
        Ok(())
    }
}

impl DescribeSession<Session> for MySql {
    fn server_process(&self, (connection, _): &Session) -> Option<u64> {
        Some(connection.connection_id().into())
    }

    fn protection(&self, (_, state): &Session) -> Option<Protection> {
        state.protection.clone()
    }
}
