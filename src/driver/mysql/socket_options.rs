//! Socket options that the user's own options do not set.

use crate::config::TcpOptions;
use mysql::{Opts, OptsBuilder};

/// Sets the socket options that the user's options do not set.
pub(super) fn add(builder: OptsBuilder, user: &Opts, options: TcpOptions) -> OptsBuilder {
    let mut builder = builder;
    if let Some(keepalive) = options.keepalive {
        let idle = u32::try_from(keepalive.idle.as_millis()).ok();
        builder = builder.tcp_keepalive_time_ms(user.get_tcp_keepalive_time_ms().or(idle));
        #[cfg(any(target_os = "linux", target_os = "macos"))]
        {
            let interval = u32::try_from(keepalive.interval.as_secs()).ok();
            let interval = user.get_tcp_keepalive_probe_interval_secs().or(interval);
            let probes = user.get_tcp_keepalive_probe_count().or(Some(keepalive.probes));
            builder = builder.tcp_keepalive_probe_interval_secs(interval);
            builder = builder.tcp_keepalive_probe_count(probes);
        }
    }
    #[cfg(target_os = "linux")]
    if let Some(timeout) = options.user_timeout {
        let timeout = u32::try_from(timeout.as_millis()).ok();
        builder = builder.tcp_user_timeout_ms(user.get_tcp_user_timeout_ms().or(timeout));
    }
    builder
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use crate::config::Keepalive;
    use std::time::Duration;

    #[test]
    fn each_socket_option_of_the_user_takes_precedence_over_the_pools() {
        let keepalive = Some(Keepalive::default());
        let ours = TcpOptions { keepalive, user_timeout: Some(Duration::from_secs(30)) };
        let set = |url: &str| {
            let user = Opts::from_url(url).expect("a URL");
            let all = Opts::from(add(OptsBuilder::from_opts(user.clone()), &user, ours));
            (
                all.get_tcp_keepalive_time_ms(),
                all.get_tcp_keepalive_probe_interval_secs(),
                all.get_tcp_keepalive_probe_count(),
                all.get_tcp_user_timeout_ms(),
            )
        };
        assert_eq!(set("mysql://h/d"), (Some(30_000), Some(10), Some(3), Some(30_000)));
        let chosen = "mysql://h/d?tcp_keepalive_time_ms=5000&tcp_user_timeout_ms=7000";
        assert_eq!(set(chosen), (Some(5_000), Some(10), Some(3), Some(7_000)));
    }
}
