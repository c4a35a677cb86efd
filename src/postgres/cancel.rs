//! Stops a statement by a cancel request, the way its connection went.

use super::connector::Connector;
use super::security::Security;
use crate::driver::{Attempt, Cancelled, Request};
use crate::error::BoxError;
use crate::preference::Way;
use postgres::{CancelToken, NoTls};
use std::sync::Arc;

/// How a connection was made, and how its cancel requests go.
pub(super) enum Path {
    /// Over TCP, through our connector.
    Tcp { encrypted: bool, security: Arc<Security> },
    /// Over a unix socket, which our connector is not called for.
    Unix,
}

/// Makes what stops the statement of the connection that the token is for.
pub(super) fn request(token: CancelToken, path: Path) -> Arc<Request> {
    Arc::new(move |attempt| match &path {
        Path::Tcp { encrypted, security } => by_connector(&token, *encrypted, security, attempt),
        Path::Unix => {
            token.cancel_query(NoTls)?;
            Ok(Cancelled::Sent)
        }
    })
}

/// The server ends the request's connection when it has signalled the session, and
/// the session takes note of the signal before it reads another statement.
fn by_connector(
    token: &CancelToken,
    encrypted: bool,
    security: &Security,
    attempt: &Attempt,
) -> Result<Cancelled, BoxError> {
    let way = if encrypted { Way::Tls } else { Way::Plain(None) };
    let connector = Connector::new(attempt, security.demand(way)?);
    token.cancel_query(connector.clone())?;
    let Some(socket) = connector.socket() else { return Ok(Cancelled::Sent) };
    if socket.wait_ended_by_peer(attempt.remaining()) {
        Ok(Cancelled::Done)
    } else {
        Err("the server has not confirmed it".into())
    }
}
