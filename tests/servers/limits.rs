//! The limits that the pool reads from real servers, as roles without other
//! privileges.

use crate::variant::{My, Pg, Variant, fill};
use mysql::prelude::Queryable;
use poolwarden::Pool;
use poolwarden::config::ServerLimits;
use std::time::Duration;
use support::mariadb::Product;
use support::pgbouncer::{Bouncer, Mode};
use support::wait::eventually;
use support::{mariadb, pgbouncer, postgres as pg};

const SOON: Duration = Duration::from_secs(5);

/// Returns a pool with this number of open connections, and the limits it read at build.
fn read<F: Variant>(variant: &F, size: u32) -> (Pool<F::Driver>, ServerLimits) {
    let pool = Pool::builder().max_size(size).build(variant.driver()).expect("the server accepts");
    fill(&pool);
    let limits = pool.server_limits().expect("limits are read at build");
    (pool, limits)
}

/// A session of another role, once it is the only one: those by which the test
/// prepared the server may end a little later.
pub fn only_session_of_postgres(server: &pg::Server) -> postgres::Client {
    const ALL: &str = "select count(*) from pg_stat_activity where datname is not null";
    let mut session = Pg::new(server.url("postgres", "postgres")).open().expect("a session");
    let mut count = || session.query_one(ALL, &[]).expect("a count").get::<_, i64>(0);
    assert!(eventually(SOON, || count() == 1), "there are other sessions");
    session
}

/// The same on MariaDB.
pub fn only_session_of_mariadb(server: &mariadb::Server) -> mysql::Conn {
    const ALL: &str = "show status like 'Threads_connected'";
    let mut session = My::new(server.url("mysql")).open().expect("a session");
    let mut count = || session.query_first::<(String, u32), _>(ALL).expect("a count");
    assert!(
        eventually(SOON, || count().is_some_and(|(_, all)| all == 1)),
        "there are other sessions"
    );
    session
}

fn limits_of<F: Variant>(variant: &F) -> ServerLimits {
    read(variant, 1).1
}

#[test]
fn an_unprivileged_role_can_read_all_limits_of_a_default_postgres() {
    if !pg::available() {
        return;
    }
    let server = pg::Server::start();
    let database = server.fresh_database();
    let held = only_session_of_postgres(&server);
    let limits = limits_of(&Pg::new(database.url()));
    assert!(limits.product.starts_with("PostgreSQL 1"), "{limits:?}");
    assert_eq!(limits.role.as_deref(), Some(database.user()));
    assert_eq!((limits.max_connections, limits.reserved_connections), (Some(100), Some(3)));
    assert_eq!((limits.role_limit, limits.database_limit), (None, None));
    assert_eq!((limits.connections, limits.role_connections), (Some(2), Some(1)));
    assert_eq!(limits.database_connections, Some(1));
    assert_eq!((limits.idle_timeout, limits.statement_timeout), (None, None));
    assert_eq!(limits.idle_in_transaction_timeout, None);
    assert_eq!((limits.read_only, limits.encrypted), (Some(false), Some(false)));
    assert_eq!(limits.behind_pooler, Some(false));
    drop(held);
}

#[test]
fn limits_and_timeouts_of_a_role_and_a_database_are_read() {
    if !pg::available() {
        return;
    }
    let server = pg::Server::with(|conf| {
        conf.set("idle_session_timeout", "3h").set("max_connections", "40");
    });
    server.sql(
        "postgres",
        "CREATE ROLE few LOGIN CONNECTION LIMIT 5;
         CREATE DATABASE small CONNECTION LIMIT 4;
         ALTER ROLE few SET statement_timeout = '90s';
         ALTER ROLE few SET idle_in_transaction_session_timeout = 2500;
         ALTER DATABASE small SET default_transaction_read_only = on",
    );
    let (pool, limits) = read(&Pg::new(server.url("few", "small")), 2);
    assert_eq!((limits.role_limit, limits.database_limit), (Some(5), Some(4)));
    assert_eq!(limits.max_connections, Some(40));
    assert_eq!(limits.idle_timeout, Some(Duration::from_secs(3 * 3600)));
    assert_eq!(limits.statement_timeout, Some(Duration::from_secs(90)));
    assert_eq!(limits.idle_in_transaction_timeout, Some(Duration::from_millis(2_500)));
    assert_eq!(limits.read_only, Some(true));
    drop(pool);
    // Neither applies to a superuser, who may use the reserved connections.
    let limits = limits_of(&Pg::new(server.url("postgres", "small")));
    assert_eq!((limits.role_limit, limits.database_limit), (None, None));
    assert_eq!(limits.reserved_connections, Some(0));
}

#[test]
fn over_a_unix_socket_all_limits_are_read_except_for_the_pooler() {
    if !pg::available() {
        return;
    }
    let database = pg::shared().fresh_database();
    let limits = limits_of(&Pg::new(database.unix_url()));
    assert_eq!(limits.max_connections, Some(300));
    assert_eq!((limits.behind_pooler, limits.encrypted), (None, Some(false)));
}

#[test]
fn behind_a_pooler_the_servers_limits_are_not_applied_to_the_pool() {
    if !pgbouncer::available() {
        return;
    }
    let database = pg::shared().fresh_database();
    let name = database.name();
    pg::shared().sql("postgres", &format!("ALTER ROLE {name} SET idle_session_timeout = '9min'"));
    for mode in [Mode::Session, Mode::Transaction] {
        let bouncer = Bouncer::start(pg::shared(), mode);
        let (pool, limits) = read(&Pg::new(bouncer.url(database.user(), name)), 8);
        let expected = (Some(true), None, None, None, None);
        let found = (
            limits.behind_pooler,
            limits.max_connections,
            limits.role_limit,
            limits.connections,
            limits.encrypted,
        );
        assert_eq!(found, expected, "{mode:?}");
        assert!(limits.product.starts_with("PostgreSQL 1"), "{mode:?} {limits:?}");
        assert_eq!(limits.role.as_deref(), Some(database.user()), "{mode:?}");
        assert_eq!(limits.idle_timeout, Some(Duration::from_secs(540)), "{mode:?}");
        assert_eq!(pool.snapshot().levels.max_size, 8, "{mode:?}");
    }
}

/// A proxy that forwards bytes shares no sessions.
#[test]
fn a_plain_proxy_is_not_taken_for_a_pooler() {
    if !pg::available() {
        return;
    }
    let database = pg::shared().fresh_database();
    let proxy = support::proxy::Proxy::to_port(pg::shared().port());
    let limits = limits_of(&Pg::new(database.url_via(proxy.port())));
    assert_eq!((limits.behind_pooler, limits.max_connections), (Some(false), Some(300)));
}

#[test]
fn limits_that_a_role_may_not_read_are_omitted_and_the_others_are_kept() {
    if !pg::available() {
        return;
    }
    let server = pg::Server::start();
    let database = server.fresh_database();
    database.sql("REVOKE SELECT ON pg_catalog.pg_stat_activity FROM PUBLIC");
    let limits = limits_of(&Pg::new(database.url()));
    assert_eq!((limits.connections, limits.role_limit), (None, None));
    assert_eq!((limits.max_connections, limits.reserved_connections), (Some(100), Some(3)));
    database.sql("REVOKE EXECUTE ON FUNCTION pg_catalog.pg_is_in_recovery FROM PUBLIC");
    let limits = limits_of(&Pg::new(database.url()));
    assert!(limits.product.starts_with("PostgreSQL 1"), "{limits:?}");
    assert_eq!((limits.max_connections, limits.behind_pooler), (None, None));
    database.sql("REVOKE EXECUTE ON FUNCTION pg_catalog.version FROM PUBLIC");
    assert_eq!(limits_of(&Pg::new(database.url())), ServerLimits::default());
}

#[test]
fn an_unprivileged_account_can_read_all_limits_of_a_default_mariadb() {
    if !mariadb::available() {
        return;
    }
    let server = mariadb::Server::start();
    let database = server.fresh_database();
    let held = only_session_of_mariadb(&server);
    // A second attempt goes out if the first one takes long: one connection is all there is.
    let limits = limits_of(&My::new(database.url()));
    assert!(limits.product.starts_with(&format!("{} ", mariadb::product())), "{limits:?}");
    assert_eq!(limits.role, Some(format!("{}@%", database.user())));
    assert_eq!((limits.max_connections, limits.reserved_connections), (Some(151), Some(0)));
    assert_eq!((limits.role_limit, limits.database_limit), (None, None));
    assert_eq!((limits.connections, limits.role_connections), (Some(2), Some(1)));
    assert_eq!(limits.idle_timeout, Some(Duration::from_secs(28_800)));
    assert_eq!((limits.idle_in_transaction_timeout, limits.statement_timeout), (None, None));
    assert_eq!((limits.read_only, limits.encrypted), (Some(false), Some(false)));
    assert_eq!(limits.behind_pooler, Some(false));
    let (pool, _) = read(&My::new(database.url()), 3);
    assert_eq!(pool.snapshot().levels.max_size, 3);
    drop(held);
}

#[test]
fn limits_and_timeouts_of_an_account_are_read() {
    if !mariadb::available() {
        return;
    }
    let server = mariadb::Server::with(|conf| {
        conf.set("max-user-connections", "7").set("wait-timeout", "60");
        conf.set("read-only", "1");
        match mariadb::product() {
            Product::MariaDb => {
                conf.set("idle-write-transaction-timeout", "20").set("max-statement-time", "1.5")
            }
            Product::MySql => conf.set("max-execution-time", "1500"),
        };
    });
    // MySQL has no such limit.
    let in_transaction = match mariadb::product() {
        Product::MariaDb => Some(Duration::from_secs(20)),
        Product::MySql => None,
    };
    let database = server.fresh_database();
    let user = database.user();
    // Without a limit of its own, the global one is the account's.
    assert_eq!(limits_of(&My::new(database.url())).role_limit, Some(7));
    server.sql(&format!("ALTER USER {user}@'%' WITH MAX_USER_CONNECTIONS 4"));
    for url in [database.url(), database.unix_url()] {
        let limits = limits_of(&My::new(url));
        assert_eq!(limits.idle_timeout, Some(Duration::from_secs(60)));
        assert_eq!(limits.idle_in_transaction_timeout, in_transaction);
        assert_eq!(limits.statement_timeout, Some(Duration::from_millis(1_500)));
        assert_eq!(limits.read_only, Some(true));
        let of_localhost = limits.role.as_deref() == Some(&*format!("{user}@localhost"));
        assert_eq!(limits.role_limit, Some(if of_localhost { 7 } else { 4 }), "{limits:?}");
    }
}

#[test]
fn a_lazy_pool_reads_the_limits_with_its_first_connection() {
    if !pg::available() {
        return;
    }
    let database = pg::shared().fresh_database();
    let variant = Pg::new(database.url());
    let pool = Pool::builder().max_size(2).build_lazy(variant.driver()).expect("options agree");
    assert_eq!(pool.server_limits(), None);
    drop(pool.get().expect("a connection"));
    assert!(eventually(SOON, || pool.server_limits().is_some()), "{}", pool.snapshot());
}

/// The server ends the session in answer to the query for its limits.
#[test]
fn connections_lost_while_reading_the_limits_are_logged_and_the_third_does_not_read_them() {
    if !pg::available() {
        return;
    }
    let database = pg::shared().fresh_database();
    let name = database.name();
    database.sql(&format!(
        "CREATE SCHEMA deadly;
         GRANT USAGE ON SCHEMA deadly TO PUBLIC;
         CREATE FUNCTION deadly.version() RETURNS text LANGUAGE sql
           AS 'SELECT pg_terminate_backend(pg_backend_pid())::text';
         ALTER ROLE {name} SET search_path = deadly, pg_catalog"
    ));
    let variant = Pg::new(database.url());
    let name = crate::variant::fresh_name("deadly question");
    let log = support::logs::mark();
    let pool = Pool::builder().max_size(2).name(&name).build_lazy(variant.driver());
    let pool = pool.expect("options agree");
    // The server says that it ends sessions, which is waited for: attempts are spaced.
    Pg::ask(&mut pool.get().expect("a connection")).expect("an answer");
    assert_eq!(pool.snapshot().connect_failures, 2, "{}", pool.snapshot());
    let reported = log.records_of("pool", &name);
    let reported = reported.iter().filter(|one| one.message.contains("server's limits were read"));
    let reported: Vec<_> = reported.map(|one| &one.message).collect();
    // A second failure for the same reason may be left out of the log.
    assert!(!reported.is_empty(), "{}", pool.snapshot());
    assert!(reported.iter().all(|one| one.contains("57P01")), "{reported:?}");
    assert_eq!(pool.server_limits(), None);
}
