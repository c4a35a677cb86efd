//! From the raw socket to a stream that is as safe as was asked for.

#[cfg(feature = "native-tls")]
use super::stream::Encrypted;
use super::stream::Stream;
use crate::error::{BoxError, ConnectFault};
use postgres::Socket;
use std::fmt;
#[cfg(feature = "native-tls")]
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};

/// What a dial wants of its socket.
#[derive(Clone)]
pub(super) enum Demand {
    Plain,
    #[cfg(feature = "native-tls")]
    Tls {
        connector: tokio_native_tls::TlsConnector,
        /// At once, without asking the server.
        direct: bool,
        /// If the server says that it has no TLS, go on without.
        or_plain: bool,
    },
}

/// PostgreSQL documentation, "Message Formats", SSLRequest: its length of 8, and
/// the number 80877103.
#[cfg(feature = "native-tls")]
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

/// PostgreSQL documentation, "SSL Session Encryption": a server that is spoken to
/// in TLS at once must agree on this protocol.
#[cfg(feature = "native-tls")]
pub(super) const ALPN: &str = "postgresql";

/// Room for a TLS record, nearly.
#[cfg(feature = "native-tls")]
const BUFFER: usize = 8 * 1024;

/// Why there is no TLS; what the handshake itself reports is not among it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "native-tls"), allow(dead_code))]
pub(super) enum Refusal {
    /// The server said that it has none.
    NotOffered,
    /// The server answered the request by an error. Its text is not shown: whoever
    /// is on the way may have written it.
    Failed,
    /// What answers speaks another protocol.
    Foreign,
    /// The server did not agree on the protocol inside the TLS.
    NotAgreed,
}

impl Refusal {
    /// Only of a server that is well and has no TLS can more be had without.
    pub(super) fn fault(self) -> ConnectFault {
        match self {
            Refusal::NotOffered | Refusal::NotAgreed => ConnectFault::Tls,
            Refusal::Failed | Refusal::Foreign => ConnectFault::Other,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refusal::NotOffered => "the server offers no TLS",
            Refusal::Failed => "the server answered the request for TLS by an error",
            Refusal::Foreign => "what answered the request for TLS is no PostgreSQL server",
            Refusal::NotAgreed => {
                "the server took up TLS, but not for PostgreSQL's protocol (ALPN)"
            }
        })
    }
}

impl std::error::Error for Refusal {}

/// Does what is wanted; `host` is the name that the certificate must be for.
#[cfg_attr(not(feature = "native-tls"), allow(clippy::unused_async))]
pub(super) async fn meet(demand: Demand, host: String, socket: Socket) -> Result<Stream, BoxError> {
    match demand {
        Demand::Plain => {
            drop(host);
            Ok(Stream::Plain(socket))
        }
        #[cfg(feature = "native-tls")]
        Demand::Tls { connector, direct, or_plain } => {
            let mut socket = socket;
            if !direct && !is_offered(&mut socket).await? {
                let plain = or_plain.then_some(Stream::Plain(socket));
                return plain.ok_or_else(|| Refusal::NotOffered.into());
            }
            let stream = connector.connect(&host, BufReader::with_capacity(BUFFER, socket)).await?;
            if direct {
                check_agreement(&stream)?;
            }
            Ok(Stream::Tls(Box::new(stream)))
        }
    }
}

/// Asks for TLS. Exactly one byte is read: what came behind it in the clear is left
/// to the handshake, which takes it for what it is.
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
fn check_agreement(stream: &Encrypted) -> Result<(), BoxError> {
    match stream.get_ref().negotiated_alpn()? {
        Some(agreed) if agreed == ALPN.as_bytes() => Ok(()),
        _ => Err(Refusal::NotAgreed.into()),
    }
}
