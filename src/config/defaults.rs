//! The defaults of the options.

use std::time::Duration;

/// Default of `max_size`; the same as r2d2's.
pub const DEFAULT_MAX_SIZE: u32 = 10;

/// Default of `checkout_timeout`.
pub const DEFAULT_CHECKOUT_TIMEOUT: Duration = Duration::from_secs(30);

/// Default of `connect_timeout`, authentication included.
pub const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Default of `max_lifetime`.
pub const DEFAULT_MAX_LIFETIME: Duration = Duration::from_secs(30 * 60);

/// Default of `lifetime_jitter`: the largest share by which a lifetime is shortened.
pub const DEFAULT_LIFETIME_JITTER: f64 = 0.1;

/// Default of `idle_timeout`, after which a connection beyond `min_idle` is closed.
pub const DEFAULT_IDLE_TIMEOUT: Duration = Duration::from_secs(10 * 60);

/// Default of `ping_after`: how long a connection may idle before a check-out pings it.
pub const DEFAULT_PING_AFTER: Duration = Duration::from_secs(30);

/// Default of `ping_timeout`.
pub const DEFAULT_PING_TIMEOUT: Duration = Duration::from_secs(1);

/// Default of `tcp_user_timeout`: how long sent data may stay unacknowledged.
pub const DEFAULT_TCP_USER_TIMEOUT: Duration = Duration::from_secs(30);

/// Default of `cancel_timeout`, for a request to cancel a statement.
pub const DEFAULT_CANCEL_TIMEOUT: Duration = Duration::from_secs(1);

/// Default of `row_limit`, for a materialized query.
pub const DEFAULT_ROW_LIMIT: usize = 100_000;

/// Default of `byte_limit`: how many bytes one of the pool's own queries returns at most,
/// 64 MiB.
pub const DEFAULT_BYTE_LIMIT: usize = 64 * 1024 * 1024;

/// Default of `statement_cache`: how many prepared statements a PostgreSQL connection
/// keeps for the pool's own queries.
pub const DEFAULT_STATEMENT_CACHE: usize = 100;

/// Default of `close_grace`: how long a permit waits for the server to confirm a close.
pub const DEFAULT_CLOSE_GRACE: Duration = Duration::from_secs(2);
