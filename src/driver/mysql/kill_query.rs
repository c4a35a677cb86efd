//! Cancels a statement by `KILL QUERY`, which needs a second connection.

use super::options::MySql;
use crate::config::settings::Endpoint;
use crate::driver::Driver;
use crate::driver::attempt::Attempt;
use crate::driver::cancel::{Cancelled, Request};
use crate::error::BoxError;
use crate::sys::sockets;
use crate::sys::sockets::Descriptor;
use mysql::Conn;
use mysql::prelude::Queryable;
use std::net::SocketAddr;
use std::sync::Arc;

/// Returns a request that cancels the running statement of this connection.
pub(super) fn killer(driver: &MySql, connection: &Conn, endpoint: &Endpoint) -> Arc<Request> {
    let id = connection.connection_id();
    let fd = sockets::borrow(connection);
    let socket = socket2::SockRef::from(&fd);
    let local = socket.local_addr().ok().and_then(|address| address.as_socket());
    let peer = socket.peer_addr().ok().and_then(|address| address.as_socket());
    let driver = driver.for_control(endpoint, peer);
    Arc::new(move |attempt| kill(&driver, id, local, attempt))
}

/// Sends `KILL QUERY` and waits for the server's answer; closes the control connection.
fn kill(
    driver: &MySql,
    id: u32,
    local: Option<SocketAddr>,
    attempt: &Attempt,
) -> Result<Cancelled, BoxError> {
    let mut control = driver.connect(attempt)?.0;
    attempt.watch(Descriptor::duplicate(sockets::borrow(&control))?)?;
    if !is_ours(&mut control, id, local)? {
        return Err(format!(
            "the server does not list connection {id} as coming from this client: a proxy is in \
             between, and KILL QUERY could cancel another client's statement"
        )
        .into());
    }
    control.query_drop(format!("kill query {id}"))?;
    Ok(Cancelled::Done)
}

/// Returns `true` if the server lists this connection under our own local port.
///
/// Connection ids are unique within one server only. Behind a proxy that distributes over
/// several servers, the same id may belong to another client. A unix socket leads to one
/// server only.
fn is_ours(control: &mut Conn, id: u32, local: Option<SocketAddr>) -> Result<bool, BoxError> {
    let Some(local) = local else { return Ok(true) };
    let query = format!("select host from information_schema.processlist where id = {id}");
    let listed: Option<String> = control.query_first(query)?;
    let port = listed.as_deref().and_then(|host| host.rsplit_once(':')?.1.parse().ok());
    Ok(port == Some(local.port()))
}
