//! From the raw socket to a stream with the transport security that was requested.

#[cfg(feature = "native-tls")]
use crate::driver::postgres::transport::Encrypted;
use crate::driver::postgres::transport::Stream;
use crate::error::{BoxError, FaultClass};
use postgres::Socket;
use std::fmt;
#[cfg(feature = "native-tls")]
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};

/// The transport security that a dial requests for its socket.
#[derive(Clone)]
pub(super) enum TlsRequest {
    Plain,
    #[cfg(feature = "native-tls")]
    Tls {
        connector: tokio_native_tls::TlsConnector,
        /// Starts TLS immediately, without an SSLRequest.
        direct: bool,
        /// Continues without TLS if the server answers that it has none.
        or_plain: bool,
    },
}

/// PostgreSQL documentation, "Message Formats", SSLRequest: its length of 8, and
/// the number 80877103.
#[cfg(feature = "native-tls")]
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

/// PostgreSQL documentation, "SSL Session Encryption": with direct TLS the server must
/// agree on this protocol.
#[cfg(feature = "native-tls")]
pub(super) const ALPN: &str = "postgresql";

/// Holds about one TLS record.
#[cfg(feature = "native-tls")]
const BUFFER: usize = 8 * 1024;

/// Why there is no TLS. Errors of the handshake itself are not among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "native-tls"), expect(dead_code, reason = "only TLS is refused"))]
pub(super) enum Refusal {
    /// The server answered that it has no TLS.
    NotOffered,
    /// The server answered the request with an error. Its text is not shown: it arrived
    /// unauthenticated, and an attacker on the network could have written it.
    Failed,
    /// The peer speaks another protocol.
    Foreign,
    /// The server did not agree on PostgreSQL's protocol inside TLS (ALPN).
    NotAgreed,
}

impl Refusal {
    /// Only if the server works and has no TLS is it worth dialling without TLS.
    pub(super) fn fault(self) -> FaultClass {
        match self {
            Refusal::NotOffered | Refusal::NotAgreed => FaultClass::Tls,
            Refusal::Failed | Refusal::Foreign => FaultClass::Other,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refusal::NotOffered => "the server offers no TLS",
            Refusal::Failed => "the server answered the TLS request with an error",
            Refusal::Foreign => "the peer that answered the TLS request is not a PostgreSQL server",
            Refusal::NotAgreed => {
                "the server accepted TLS but not PostgreSQL's protocol inside it (ALPN)"
            }
        })
    }
}

impl std::error::Error for Refusal {}

/// Secures the socket as requested; the certificate must be valid for `host`.
pub(super) async fn negotiate(
    request: TlsRequest,
    host: String,
    socket: Socket,
) -> Result<Stream, BoxError> {
    match request {
        TlsRequest::Plain => {
            drop(host);
            Ok(Stream::Plain(socket))
        }
        #[cfg(feature = "native-tls")]
        TlsRequest::Tls { connector, direct, or_plain } => {
            let mut socket = socket;
            if !direct && !is_offered(&mut socket).await? {
                let plain = or_plain.then_some(Stream::Plain(socket));
                return plain.ok_or_else(|| Refusal::NotOffered.into());
            }
            let stream = connector.connect(&host, BufReader::with_capacity(BUFFER, socket)).await?;
            if direct {
                check_alpn(&stream)?;
            }
            Ok(Stream::Tls(Box::new(stream)))
        }
    }
}

/// Asks for TLS. Reads exactly one byte: unencrypted bytes behind it are left to the
/// handshake, which rejects them.
#[cfg(feature = "native-tls")]
async fn is_offered(socket: &mut Socket) -> Result<bool, BoxError> {
    socket.write_all(&SSL_REQUEST).await?;
    let mut answer = [0];
    socket.read_exact(&mut answer).await?;
    match answer[0] {
        b'S' => Ok(true),
        b'N' => Ok(false),
        b'E' => Err(Refusal::Failed.into()),
        _ => Err(Refusal::Foreign.into()),
    }
}

#[cfg(feature = "native-tls")]
fn check_alpn(stream: &Encrypted) -> Result<(), BoxError> {
    match stream.get_ref().negotiated_alpn()? {
        Some(agreed) if agreed == ALPN.as_bytes() => Ok(()),
        _ => Err(Refusal::NotAgreed.into()),
    }
}
