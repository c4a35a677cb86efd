//! Writes one event with its fields, to `log` or to `tracing`.

/// The target of all log lines and `tracing` events of this crate.
pub(super) const TARGET: &str = "poolwarden";

/// Returns `true` if events go to `tracing`: the program has set a subscriber.
pub(super) fn is_traced() -> bool {
    #[cfg(feature = "tracing")]
    return tracing::dispatcher::has_been_set();
    #[cfg(not(feature = "tracing"))]
    false
}

/// Writes one log line with its fields; with the feature `tracing`, and as soon as the program
/// has set a subscriber, a `tracing` event with the same fields instead.
macro_rules! emit {
    ($level:ident, { $($key:ident = $value:expr),* $(,)? }, $($text:tt)+) => {
        if $crate::observe::emit::is_traced() {
            #[cfg(feature = "tracing")]
            ::tracing::$level!(target: $crate::observe::emit::TARGET, $($key = $value,)* $($text)+);
        } else {
            ::log::$level!(target: $crate::observe::emit::TARGET, $($key = $value),*; $($text)+);
        }
    };
}

pub(super) use emit;
