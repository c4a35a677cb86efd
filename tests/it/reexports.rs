//! The crates of the drivers, by the names that this crate gives them.

#[cfg(feature = "sqlite")]
#[test]
fn a_guard_lends_the_connection_of_the_re_exported_rusqlite() -> Result<(), poolwarden::Error> {
    use poolwarden::{Pool, Sqlite, rusqlite};

    let pool = Pool::builder().max_size(1).build(Sqlite::memory())?;
    let mut guard = pool.get()?;
    let lent: &mut rusqlite::Connection = &mut guard;
    assert_eq!(lent.query_row("select ?1", rusqlite::params![7], |row| row.get(0)), Ok(7));
    Ok(())
}

#[test]
fn a_manager_fits_the_pool_of_the_re_exported_r2d2() {
    use poolwarden::{Manager, r2d2};

    fn fits<M: r2d2::ManageConnection>() {}
    fits::<Manager<crate::common::fake::Fake>>();
}

/// Without a server: that these coercions compile is the proof.
#[cfg(feature = "postgres")]
#[test]
fn a_guard_is_borrowed_as_the_client_of_the_re_exported_postgres() {
    use poolwarden::{PooledConnection, Postgres, postgres};

    let _: fn(&mut PooledConnection<Postgres>) -> &mut postgres::Client = |guard| guard;
}

#[cfg(feature = "mysql")]
#[test]
fn a_guard_is_borrowed_as_the_connection_of_the_re_exported_mysql() {
    use poolwarden::{MySql, PooledConnection, mysql};

    let _: fn(&mut PooledConnection<MySql>) -> &mut mysql::Conn = |guard| guard;
}
