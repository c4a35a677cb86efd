//! Cancel requests, sent over the same transport as the connection they are for.

use super::connector::Connector;
use super::tls_connector::SharedConnector;
use crate::driver::attempt::Attempt;
use crate::driver::cancel::{Cancelled, Request};
use crate::driver::connect::TlsChoice;
use crate::error::BoxError;
use crate::sys::descriptors;
use postgres::{CancelToken, NoTls};
use std::sync::Arc;

/// How a connection was opened, and how its cancel requests are sent.
pub(super) enum Path {
    /// Over TCP, through our connector.
    Tcp { encrypted: bool, security: Arc<SharedConnector> },
    /// Over a unix socket, for which the driver calls no connector.
    Unix,
}

/// What a request opens at a time: the runtime takes four; the socket and our duplicate.
const DESCRIPTORS: usize = 6;

/// Returns a request that cancels the running statement of the token's connection.
pub(super) fn request(token: CancelToken, path: Path) -> Arc<Request> {
    Arc::new(move |attempt| {
        // The driver panics if it finds too few.
        let _claim = descriptors::claim_kept(DESCRIPTORS)?;
        match &path {
            Path::Tcp { encrypted, security } => {
                by_connector(&token, *encrypted, security, attempt)
            }
            Path::Unix => {
                token.cancel_query(NoTls)?;
                Ok(Cancelled::Sent)
            }
        }
    })
}

/// The server closes the request's connection once it has signalled the session, and
/// the session handles the signal before it reads the next statement.
fn by_connector(
    token: &CancelToken,
    encrypted: bool,
    security: &SharedConnector,
    attempt: &Attempt,
) -> Result<Cancelled, BoxError> {
    let choice = if encrypted { TlsChoice::Tls } else { TlsChoice::Plain(None) };
    let connector = Connector::new(attempt, security.tls_request(&choice)?);
    token.cancel_query(connector.clone())?;
    let Some(socket) = connector.socket() else { return Ok(Cancelled::Sent) };
    if socket.wait_ended_by_peer(attempt.remaining()) {
        Ok(Cancelled::Done)
    } else {
        Err("the server has not confirmed the cancel request".into())
    }
}
