//! An error of the pool, as an HTTP client is told of it.

use crate::error::{Error, ErrorKind};
use ::rocket::http::{Header, Status};
use ::rocket::request::Request;
use ::rocket::response::{self, Responder, Response};

/// After how many seconds a client is asked to come back.
const RETRY_AFTER: &str = "1";

/// An error of a pool as a response: 503 with `Retry-After: 1` if the pool or the server is
/// at a limit, away or closing, else 500.
///
/// The response has no body. The error's text names servers and call sites, so that it is
/// logged, at the level `error`, and not sent.
#[derive(Debug)]
pub struct Failure(Error);

impl Failure {
    /// Returns the error.
    pub fn error(&self) -> &Error {
        &self.0
    }

    /// Returns the status of the response.
    pub fn status(&self) -> Status {
        match self.0.kind() {
            ErrorKind::CheckoutTimeout
            | ErrorKind::QueueFull
            | ErrorKind::Connect
            | ErrorKind::Closed => Status::ServiceUnavailable,
            _ => Status::InternalServerError,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure(error)
    }
}

impl<'r> Responder<'r, 'static> for Failure {
    fn respond_to(self, _: &'r Request<'_>) -> response::Result<'static> {
        log::error!(target: "poolwarden", "{}", self.0);
        let status = self.status();
        let mut response = Response::build();
        response.status(status);
        if status == Status::ServiceUnavailable {
            response.header(Header::new("Retry-After", RETRY_AFTER));
        }
        response.ok()
    }
}
