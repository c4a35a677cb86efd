//! To the server, an attempt is never more than one connection: the next host is dialled
//! when the server has ended the session of the last one.

use crate::variant::{shared_my, shared_pg};
use poolwarden::{MySql, Pool, Postgres, Role};
use std::time::Duration;

/// How often each is tried. Measured without the wait: the test of PostgreSQL failed in 4 of 10
/// runs, that of MariaDB in none.
const TIMES: u32 = 10;

#[test]
fn a_postgres_role_with_one_connection_looks_for_a_standby_in_a_list_of_hosts() {
    let Some((_, database)) = shared_pg() else { return };
    let (server, name) = (database.server(), database.name());
    server.sql("postgres", &format!("alter role {name} connection limit 1"));
    let folder = server.socket_dir().display().to_string();
    for host in ["127.0.0.1".to_owned(), folder] {
        let port = server.port();
        let text = format!(
            "host={host},{host},{host} port={port} user={name} dbname={name} \
             target_session_attrs=prefer-standby"
        );
        for _ in 0..TIMES {
            let driver = Postgres::new(&text).expect("a driver");
            let pool = Pool::builder().max_size(1).read_server_limits(false);
            let pool = pool.build(driver).expect("the last pass takes any server");
            let refused = pool.snapshot().connect_failures;
            assert_eq!(
                (pool.query("select 1", &[]).map(|rows| rows.len()).ok(), refused),
                (Some(1), 0)
            );
            let end = pool.close(Duration::from_secs(60));
            assert_eq!(end.levels.closing, 0, "{end}");
        }
    }
}

#[test]
fn a_mysql_account_with_one_connection_looks_for_a_standby_in_a_list_of_hosts() {
    let Some((_, database)) = shared_my() else { return };
    let server = database.server();
    let account = format!("lone_{}", database.name());
    for host in ["%", "localhost"] {
        let name = format!("{account}@'{host}'");
        server.sql(&format!("create user {name} identified by 'app' with max_user_connections 1"));
    }
    let port = server.port();
    let hosts = format!("127.0.0.1:{port},127.0.0.1:{port},127.0.0.1:{port}");
    for _ in 0..TIMES {
        let driver = MySql::new(&format!("mysql://{account}:app@{hosts}/")).expect("a driver");
        let pool = Pool::builder().max_size(1).role(Role::Standby).read_server_limits(false);
        let error = pool.build_lazy(driver).expect("options agree").get().map(drop);
        let text = error.expect_err("no host is a standby").to_string();
        assert_eq!(text.matches("server is not a standby").count(), 3, "{text}");
    }
}
