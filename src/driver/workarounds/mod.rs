//! Workarounds for what the database drivers do not expose. Each file states what it
//! replaces, what upstream would have to offer, and when the file can be deleted.

pub(crate) mod async_context;
mod claimed_sockets;
#[cfg(feature = "postgres")]
pub(crate) mod debug_descriptor;
#[cfg(feature = "mysql")]
pub(crate) mod marked_socket;
pub(crate) mod new_tcp_socket;
pub(crate) mod new_unix_socket;
pub(crate) mod turn;
