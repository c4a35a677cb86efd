//! Stops a statement by `KILL QUERY`, which takes a connection of its own.

use super::MySql;
use crate::driver::{Attempt, Cancelled, Driver, Request};
use crate::error::BoxError;
use crate::liveness::{self, Descriptor};
use crate::settings::Place;
use mysql::Conn;
use mysql::prelude::Queryable;
use std::net::SocketAddr;
use std::sync::Arc;

/// Makes what stops the statement of this connection.
pub(super) fn killer(driver: &MySql, connection: &Conn, place: &Place) -> Arc<Request> {
    let id = connection.connection_id();
    let fd = liveness::borrow(connection);
    let socket = socket2::SockRef::from(&fd);
    let local = socket.local_addr().ok().and_then(|address| address.as_socket());
    let peer = socket.peer_addr().ok().and_then(|address| address.as_socket());
    let driver = driver.for_control(place, peer);
    Arc::new(move |attempt| kill(&driver, id, local, attempt))
}

/// Ends when the server has answered, and its connection with it.
fn kill(
    driver: &MySql,
    id: u32,
    local: Option<SocketAddr>,
    attempt: &Attempt,
) -> Result<Cancelled, BoxError> {
    let mut control = driver.connect(attempt)?.0;
    attempt.watch(Descriptor::duplicate(liveness::borrow(&control))?)?;
    if !is_ours(&mut control, id, local)? {
        return Err(format!(
            "the server at the other end does not list connection {id} as coming from here: a \
             proxy stands in between, and KILL could stop somebody else's statement"
        )
        .into());
    }
    control.query_drop(format!("kill query {id}"))?;
    Ok(Cancelled::Done)
}

/// Numbers of connections are a server's own. Behind a proxy that spreads over several
/// servers, the same number may be somebody else's there: only what comes from our own
/// port is ours. A unix socket leads to one server only.
fn is_ours(control: &mut Conn, id: u32, local: Option<SocketAddr>) -> Result<bool, BoxError> {
    let Some(local) = local else { return Ok(true) };
    let asked = format!("select host from information_schema.processlist where id = {id}");
    let listed: Option<String> = control.query_first(asked)?;
    let port = listed.as_deref().and_then(|host| host.rsplit_once(':')?.1.parse().ok());
    Ok(port == Some(local.port()))
}
