//! The PostgreSQL driver.

use super::connection_state::ConnectionState;
use super::connector::Connector;
use super::fleet_slot::{Asking, FleetSlot};
use super::negotiation::Refusal;
use super::options::Postgres;
use super::session_role::SessionRole;
use super::{
    cancel, client_config, from_settings, reset, server_limits, session_defaults, session_role,
};
use crate::config::settings::{Endpoint, shown};
use crate::config::{PoolOptions, Reset, ServerLimits, SessionDefaults};
use crate::driver::attempt::Attempt;
use crate::driver::cancel::Canceller;
use crate::driver::capabilities::{
    AskRole, CancelStatement, DescribeSession, HoldSlot, ObserveStatements, ReadLimits,
    ReadMessages, ResetSession, SetDefaults,
};
use crate::driver::connect::descriptors;
use crate::driver::connect::fleet::{self, LoginTurn};
use crate::driver::connect::transport_security::TransportSecurity;
use crate::driver::connect::{Candidate, Wanted};
use crate::driver::driver::Driver;
use crate::driver::postgres::protocol::messages;
use crate::driver::progress::Progress;
use crate::driver::session::{ResetOutcome, SessionState, Usage};
use crate::driver::socket_access::{SocketAccess, Unsolicited};
use crate::driver::statement_observer::StatementObserver;
use crate::driver::workarounds::new_unix_socket::Watched;
use crate::driver::workarounds::{async_context, new_unix_socket};
use crate::error::fault::postgres as fault;
use crate::error::{BoxError, ConnectError, FaultClass, Phase};
use crate::observe::{Protection, ServerMessage};
use postgres::fallible_iterator::FallibleIterator;
use postgres::{Client, Config, NoTls, SimpleQueryMessage};
use std::error::Error as _;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What a dial opens at a time: the driver's runtime takes four and, in the first dial of
/// the process, two more; then the socket and our duplicate of it.
const DESCRIPTORS: usize = 8;

/// Returns the driver's connect timeout, which bounds the TCP connect only and must not be
/// zero.
fn time_for_tcp(config: &Config, attempt: &Attempt) -> Duration {
    let left = attempt.remaining().max(Duration::from_millis(1));
    config.get_connect_timeout().map_or(left, |own| left.min(*own))
}

impl Postgres {
    /// Dials a candidate and asks the new session whether it has the role.
    fn dial(
        &self,
        candidate: &Candidate<'_, SessionRole>,
        config: &Config,
        attempt: &Attempt,
    ) -> Result<(Client, ConnectionState), ConnectError> {
        let (mut client, mut state) = match (candidate.endpoint, candidate.address) {
            (Endpoint::Tcp { host, .. }, Some(address)) => {
                self.dial_address(candidate, config, (host, address), attempt)?
            }
            (Endpoint::Unix { path, port }, _) => {
                let port = port.unwrap_or(client_config::DEFAULT_PORT);
                self.dial_unix(candidate, config, (path, port), attempt)?
            }
            (Endpoint::Tcp { host, .. }, None) => {
                return Err(ConnectError::new(FaultClass::UnknownHost, host));
            }
        };
        let target = candidate.endpoint.label();
        let failure = |error| self.failure(&target, error, state.fatal());
        if let Some(fault) = candidate.pass.mismatch(&mut client).map_err(failure)? {
            return Err(ConnectError::new(fault, target));
        }
        state.fleet_slot = self.take_slot(&mut client, &state, &target, attempt)?;
        Ok((client, state))
    }

    /// Takes a slot of the fleet, if the pool has a cap for one.
    fn take_slot(
        &self,
        client: &mut Client,
        state: &ConnectionState,
        target: &str,
        attempt: &Attempt,
    ) -> Result<Option<FleetSlot>, ConnectError> {
        let Some(cap) = attempt.fleet_cap() else { return Ok(None) };
        if !self.pooler_detector.sessions_are_own() {
            let pooler = "a pooler in transaction mode answers, or one whose mode is not known \
                          (Pooler::Session if it assigns them for the life of a connection)";
            return Err(fleet::behind_pooler(pooler, target));
        }
        // The server must have ended a session without a slot before the next one logs in.
        let _ = state.socket.clone().map(|own| attempt.watch(own));
        let mut asking = Asking::new(cap);
        let number = fleet::ask_for_slot(attempt, || asking.ask(client))
            .map_err(|error| self.failure(target, error, state.fatal()))?;
        let number = number.ok_or_else(|| fleet::full(cap, target))?;
        Ok(Some(FleetSlot::new(cap, number)))
    }

    fn dial_address(
        &self,
        candidate: &Candidate<'_, SessionRole>,
        config: &Config,
        (host, address): (&str, SocketAddr),
        attempt: &Attempt,
    ) -> Result<(Client, ConnectionState), ConnectError> {
        attempt.enter(Phase::Connecting);
        attempt.set_reading_limits(false);
        if matches!(address, SocketAddr::V6(address) if address.scope_id() != 0) {
            let why = "the postgres driver cannot dial an IPv6 address with a zone";
            return Err(ConnectError::new(FaultClass::Configuration, host).with_source(why));
        }
        let config = client_config::for_address(config, &self.security.tls, host, address);
        let mut config = self.complete(config, candidate, attempt);
        client_config::add_tcp_options(&mut config, attempt.tcp());
        let request = self.security.tls_request(&candidate.tls).map_err(|error| {
            ConnectError::new(FaultClass::Tls, address.to_string()).with_source(error)
        })?;
        let connector = Connector::new(attempt, request);
        let protocol = connector.protocol();
        let failure = |error| self.failure(&address.to_string(), error, protocol.final_message());
        let mut client = config.connect(connector.clone()).map_err(failure)?;
        let examined = self.pooler_detector.examine(&mut client, &protocol, attempt);
        let limits = examined.map_err(|error| match attempt.is_reading_limits() {
            true => self.lost(protocol.final_message(), &error),
            false => failure(error),
        })?;
        let security = TransportSecurity {
            endpoint: candidate.endpoint.label(),
            address: address.ip(),
            tls: &self.security.tls,
            encrypted: connector.is_encrypted(),
            why: candidate.tls.why_plain(),
            trusts_system: false,
        };
        let protection = Some(security.protection());
        let mut state = ConnectionState::new(connector.socket(), Some(protocol), protection);
        state.limits = limits;
        Ok((client, state))
    }

    fn dial_unix(
        &self,
        candidate: &Candidate<'_, SessionRole>,
        config: &Config,
        (folder, port): (&Path, u16),
        attempt: &Attempt,
    ) -> Result<(Client, ConnectionState), ConnectError> {
        attempt.enter(Phase::Handshaking);
        let path = folder.join(format!(".s.PGSQL.{port}"));
        let config = client_config::for_socket(config, &self.security.tls, folder, port);
        let config = self.complete(config, candidate, attempt);
        let target = shown(&path);
        // A connection that does not answer is found out by its first use.
        let ping = |client: &mut Client| drop(client.is_valid(attempt.remaining() / 2));
        let (client, socket) =
            match new_unix_socket::watched(&path, attempt, || config.connect(NoTls), ping) {
                Watched::Connected(client, socket) => (client, socket),
                Watched::Failed(error) => return Err(self.failure(&target, error, None)),
                Watched::NoDescriptor(error) => {
                    let failure = ConnectError::new(FaultClass::LocalResource, target);
                    return Err(failure.with_source(error));
                }
                Watched::TimedOut => {
                    return Err(ConnectError::new(FaultClass::TimedOut, target));
                }
            };
        Ok((client, ConnectionState::new(socket, None, None)))
    }

    /// Adds what is the same for TCP and unix sockets.
    fn complete(
        &self,
        mut config: Config,
        candidate: &Candidate<'_, SessionRole>,
        attempt: &Attempt,
    ) -> Config {
        self.notices.attach(&mut config);
        client_config::require_role(&mut config, attempt.role());
        from_settings::log_in(&mut config, candidate.credentials.as_ref());
        config.connect_timeout(time_for_tcp(&config, attempt));
        config
    }

    /// Returns the error of a failed dial. The message that our transport has read counts
    /// where the driver has lost it.
    fn failure(
        &self,
        target: &str,
        error: postgres::Error,
        received: Option<ServerMessage>,
    ) -> ConnectError {
        if error.code().is_none()
            && let Some(message) = received
        {
            let fault = fault::connect_by_code(&message.code, &message.text);
            let source = message.to_string();
            return ConnectError::new(fault, target).with_code(message.code).with_source(source);
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

    /// Returns the error of a connection that was lost while the limits were read. A
    /// pooler accepts clients although it cannot reach its server, and reports that only
    /// now; the driver sometimes loses the message, our transport does not.
    fn lost(&self, received: Option<ServerMessage>, error: &postgres::Error) -> ConnectError {
        const WHEN: &str = "lost while the server's limits were read";
        match received.or_else(|| messages::of(error)) {
            Some(message) => {
                let fault = fault::connect_by_code(&message.code, &message.text);
                let source = format!("{WHEN}: {message}");
                ConnectError::new(fault, self.label()).with_code(message.code).with_source(source)
            }
            None => {
                let source = format!("{WHEN}: {error}");
                ConnectError::new(FaultClass::Hangup, self.label()).with_source(source)
            }
        }
    }
}

/// The driver's client, and what we keep beside it.
type Session = (Client, ConnectionState);

impl Driver for Postgres {
    type Connection = Client;
    type Session = Session;

    const PING_IS_BOUNDED: bool = true;

    fn label(&self) -> String {
        let endpoint = self.servers.label();
        let user = self.config.get_user().unwrap_or_default();
        let name = self.config.get_dbname().unwrap_or(user);
        format!("postgres {endpoint}/{name}")
    }

    fn connect(&self, attempt: &Attempt) -> Result<Session, ConnectError> {
        let label = self.servers.label();
        let (own, fixed) = (self.config.clone(), client_config::endpoints_and_tls);
        let config = self.before_connect.configure(own, fixed, &label, attempt)?;
        let _turn = LoginTurn::take(attempt, &label)?;
        // The driver panics if it finds too few.
        let _claim = descriptors::claim(DESCRIPTORS, &label, attempt.deadline())?;
        let wanted = Wanted {
            passes: self.session_role.passes(attempt.role()),
            mode: self.security.tls.mode,
            by_name: false,
            stored: &|endpoint| self.passfile.password(endpoint, &config),
        };
        self.servers.open(&wanted, attempt, |candidate| self.dial(candidate, &config, attempt))
    }

    fn ping(&self, (client, _): &mut Session, deadline: Instant) -> Result<(), BoxError> {
        let left = deadline.saturating_duration_since(Instant::now());
        Ok(client.is_valid(left)?)
    }

    #[inline]
    fn socket_access<'a>(&self, (_, state): &'a Session) -> SocketAccess<'a> {
        state
            .socket
            .as_ref()
            .map_or(SocketAccess::Unavailable, |socket| SocketAccess::Socket(socket.as_fd()))
    }

    fn session_state(
        &self,
        (client, state): &mut Session,
        usage: Usage,
        reset: Reset,
    ) -> SessionState {
        if usage == Usage::Unused {
            // The driver reads and writes only while it is borrowed mutably.
            return SessionState::Clean;
        }
        // The driver notices the end a moment after the message that announces it.
        let has_ended = state.protocol.as_ref().is_some_and(|protocol| protocol.has_ended());
        if has_ended || client.is_closed() {
            return SessionState::Broken;
        }
        if reset != Reset::None {
            reset::drop_notifications(client);
        }
        let is_known_idle = std::mem::take(&mut state.is_known_idle);
        if is_known_idle && usage == Usage::PoolQueries && reset != Reset::Full {
            return SessionState::Clean;
        }
        reset::session_state(state.protocol.as_deref(), usage, reset)
    }

    /// The driver panics at the first use inside a runtime, and on a thread that is ending.
    fn is_usable_here(&self) -> bool {
        async_context::thread_can_drive_a_runtime()
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

    fn statements(&self) -> Option<&dyn ObserveStatements<Session>> {
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

impl ResetSession<Session> for Postgres {
    fn reset_session(
        &self,
        (client, state): &mut Session,
        usage: Usage,
        reset: Reset,
    ) -> Result<ResetOutcome, BoxError> {
        let protocol = state.protocol.as_deref();
        let unproven = state.socket.is_none() || protocol.is_none() && usage == Usage::Raw;
        reset::reset(client, protocol, state.fleet_slot, (unproven, reset))
    }

    fn mark_clean(&self, (_, state): &mut Session) {
        if let Some(protocol) = &state.protocol {
            protocol.mark_clean();
        }
    }
}

impl HoldSlot<Session> for Postgres {
    fn slot_is_wanted(&self, (client, state): &mut Session) -> Result<bool, BoxError> {
        match state.fleet_slot {
            Some(slot) => Ok(slot.is_wanted(client)?),
            None => Ok(false),
        }
    }
}

impl CancelStatement<Session> for Postgres {
    fn canceller(&self, (client, state): &Session) -> Option<Canceller> {
        let path = match &state.protocol {
            None => cancel::Path::Unix,
            Some(_) => cancel::Path::Tcp {
                encrypted: state.is_encrypted(),
                security: Arc::clone(&self.security),
            },
        };
        Some(Canceller::Remote(cancel::request(client.cancel_token(), path)))
    }

    /// The driver's drop waits for all replies, and for ever if rows were forgotten.
    fn give_up(&self, (_, state): &mut Session) -> bool {
        state.protocol.as_ref().is_some_and(|protocol| protocol.give_up())
    }
}

impl ObserveStatements<Session> for Postgres {
    fn observe(&self, (_, state): &Session, observer: Arc<dyn StatementObserver>) -> bool {
        state.protocol.as_ref().is_some_and(|protocol| protocol.observe(observer))
    }
}

impl ReadMessages<Session> for Postgres {
    fn read_message(&self, bytes: &[u8]) -> Option<ServerMessage> {
        messages::read(bytes)
    }

    fn final_message(&self, (_, state): &Session) -> Option<ServerMessage> {
        state.fatal()
    }

    /// Polls the driver's connection once, which reads what has arrived and sends
    /// nothing.
    fn read_final_message(&self, (client, state): &mut Session) -> Option<ServerMessage> {
        if state.is_encrypted() && async_context::thread_can_drive_a_runtime() {
            let mut notifications = client.notifications();
            let _ = notifications.timeout_iter(Duration::ZERO).next();
        }
        state.fatal()
    }

    fn message_of(&self, error: &BoxError) -> Option<ServerMessage> {
        messages::of(error.downcast_ref::<postgres::Error>()?)
    }

    fn unsolicited(&self, (_, state): &Session, bytes: &[u8]) -> Unsolicited {
        if state.is_encrypted() { Unsolicited::Ping } else { messages::unsolicited(bytes) }
    }
}

impl ReadLimits<Session> for Postgres {
    fn read_limits(
        &self,
        (client, state): &mut Session,
        _: Instant,
    ) -> Result<ServerLimits, BoxError> {
        if let Some(limits) = state.limits.take() {
            return Ok(limits);
        }
        let process_id = state.protocol.as_ref().and_then(|protocol| protocol.process_id());
        let read = server_limits::read(client, process_id);
        read.map_err(|error| self.lost(state.fatal(), &error).into())
    }
}

impl AskRole<Session> for Postgres {
    fn is_writable(&self, (client, _): &mut Session, _: Instant) -> Result<bool, BoxError> {
        let messages = client.simple_query("show transaction_read_only")?;
        let is_off = |message: &SimpleQueryMessage| match message {
            SimpleQueryMessage::Row(row) => row.get(0) == Some("off"),
            _ => false,
        };
        Ok(messages.iter().any(is_off))
    }

    fn is_standby(&self, (client, _): &mut Session, _: Instant) -> Result<bool, BoxError> {
        Ok(session_role::is_standby(client)?)
    }
}

impl SetDefaults<Session> for Postgres {
    fn set_defaults(
        &self,
        (client, _): &mut Session,
        defaults: &SessionDefaults,
    ) -> Result<(), BoxError> {
        Ok(client.batch_execute(&session_defaults::statements(defaults))?)
    }
}

impl DescribeSession<Session> for Postgres {
    fn server_process(&self, (_, state): &Session) -> Option<u64> {
        state.server_process()
    }

    fn progress(&self, (_, state): &Session) -> Option<Progress> {
        state.progress()
    }

    fn is_in_transaction(&self, (_, state): &Session) -> Option<bool> {
        state.is_in_transaction()
    }

    fn protection(&self, (_, state): &Session) -> Option<Protection> {
        state.protection.clone()
    }
}
