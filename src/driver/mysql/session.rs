//! The driver's state of each connection.

use super::fleet_slot::FleetSlot;
use super::proven::ProvenStatements;
use crate::config::settings::Endpoint;
use crate::observe::Protection;
use mysql::Opts;

/// What a session was opened with, and what a reset restores.
#[derive(Debug, Default)]
pub(super) struct Origin {
    pub(super) database: Option<String>,
    /// The driver's own `init` statements.
    pub(super) init: Vec<String>,
    /// The default role of the user, once it is known; on MySQL the keyword that chooses it.
    pub(super) default_role: Option<SessionRole>,
    /// The slot of the pool's fleet, if it has one.
    pub(super) fleet_slot: Option<FleetSlot>,
}

/// The role of a session, if it has one.
pub(super) type SessionRole = Option<String>;

/// Returns `true` if the server is MariaDB. Before its version 11 it greets as `5.5.5-10…`, of
/// which the driver shows the first part.
pub(crate) fn is_mariadb(version: (u16, u16, u16)) -> bool {
    version == (5, 5, 5) || version >= (10, 0, 0)
}

impl Origin {
    pub(super) fn of(opts: &Opts, fleet_slot: Option<FleetSlot>) -> Origin {
        Origin {
            database: opts.get_db_name().map(str::to_owned),
            init: opts.get_init(),
            default_role: None,
            fleet_slot,
        }
    }
}

/// The driver's state of each connection.
#[derive(Debug)]
pub struct ConnectionState {
    /// Where it is connected to, for a control connection to the same server.
    pub(super) endpoint: Endpoint,
    pub(super) origin: Origin,
    /// `None` over a unix socket, whose data never leaves the machine.
    pub(super) protection: Option<Protection>,
    /// A statement of the pool's own was seen to commit by itself, outside of a transaction.
    pub(crate) autocommits: bool,
    /// The last of the pool's own statements is proven to have left the session as it was.
    pub(crate) left_clean: bool,
    /// What is known of the prepared statements of the pool's own.
    pub(crate) statements: ProvenStatements,
}

impl ConnectionState {
    pub(super) fn new(endpoint: &Endpoint, protection: Option<Protection>) -> ConnectionState {
        ConnectionState {
            endpoint: endpoint.clone(),
            origin: Origin::default(),
            protection,
            autocommits: false,
            left_clean: false,
            statements: ProvenStatements::default(),
        }
    }
}
