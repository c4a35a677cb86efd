//! Posts in a database, as the guide of Diesel writes them, on connections of poolwarden.
//!
//! What differs from `diesel::r2d2::Pool`:
//!
//! - The driver is `Foreign::new(ConnectionManager::new(url))`, and `with_tcp_port`,
//!   `with_unix_socket` or `in_process` tells the pool where the connection's socket is: then
//!   it is peeked at when it is checked out. Without it, it is pinged, as Diesel's pool does
//!   by default.
//! - A guard is passed on as `&mut *conn`. Diesel's `Connection` trait is sealed, so only
//!   the guards of Diesel's own pool implement it.
//! - `connection_timeout` is `checkout_timeout`, `test_on_check_out` is `validation`,
//!   `connection_customizer` is `init`.
//! - Diesel knows of a transaction that it began itself, and its manager closes such a
//!   connection when it comes back. Of a raw `begin` it knows nothing: `with_reset` with
//!   [`roll_back`] ends that too, for one round trip at each check-in. Without it, the next
//!   borrower finds the transaction open.

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::r2d2::{ConnectionManager, R2D2Connection};
use poolwarden::driver::ResetOutcome;
use poolwarden::{BoxError, Builder, Error, Foreign, Pool};

diesel::table! {
    posts (id) {
        id -> Integer,
        title -> Text,
        published -> Bool,
    }
}

/// A post that is read.
#[derive(Debug, Queryable, Selectable)]
#[diesel(table_name = posts)]
pub struct Post {
    /// The number that the database gave it.
    pub id: i32,
    /// Its title.
    pub title: String,
}

/// A post that is written.
#[derive(Debug, Insertable)]
#[diesel(table_name = posts)]
pub struct NewPost<'a> {
    /// Its title.
    pub title: &'a str,
    /// Whether it is shown.
    pub published: bool,
}

/// Our pool over Diesel's manager.
pub type DieselPool<C> = Pool<Foreign<ConnectionManager<C>>>;

type DieselBuilder<C> = Builder<Foreign<ConnectionManager<C>>>;

/// Returns a pool of PostgreSQL connections over TCP; the port is the one in the URL.
///
/// # Errors
///
/// That of the first connection.
pub fn postgres(url: &str, port: u16) -> Result<DieselPool<PgConnection>, Error> {
    let driver = Foreign::new(ConnectionManager::new(url)).with_tcp_port(port);
    options().build(driver.with_label(format!("diesel {port}")).with_reset(roll_back))
}

/// Returns a pool of MySQL or MariaDB connections over TCP; the port is the one in the URL.
///
/// # Errors
///
/// That of the first connection.
pub fn mysql(url: &str, port: u16) -> Result<DieselPool<MysqlConnection>, Error> {
    let driver = Foreign::new(ConnectionManager::new(url)).with_tcp_port(port);
    options().build(driver.with_label(format!("diesel {port}")).with_reset(roll_back))
}

/// Returns a pool of SQLite connections: nothing to peek at, nothing to ping.
///
/// # Errors
///
/// That of the first connection.
pub fn sqlite(path: &str) -> Result<DieselPool<SqliteConnection>, Error> {
    let driver = Foreign::new(ConnectionManager::<SqliteConnection>::new(path)).in_process();
    let options = options::<SqliteConnection>()
        .init(|conn| Ok(conn.batch_execute("pragma busy_timeout = 5000")?));
    options.build(driver.with_label("diesel sqlite"))
}

fn options<C: R2D2Connection + 'static>() -> DieselBuilder<C> {
    Pool::builder().max_size(4)
}

/// Rolls back what a raw `begin` has left open; one round trip.
///
/// # Errors
///
/// That of the statement: the pool then closes the connection.
pub fn roll_back<C: SimpleConnection>(conn: &mut C) -> Result<ResetOutcome, BoxError> {
    conn.batch_execute("rollback")?;
    Ok(ResetOutcome::default())
}

/// Creates a published post, in a transaction with its number.
///
/// # Errors
///
/// Diesel's.
pub fn create_post(conn: &mut PgConnection, title: &str) -> QueryResult<Post> {
    let post = NewPost { title, published: true };
    diesel::insert_into(posts::table).values(&post).returning(Post::as_returning()).get_result(conn)
}

/// Returns the posts that are shown, the oldest first.
///
/// # Errors
///
/// Diesel's.
pub fn published(conn: &mut PgConnection) -> QueryResult<Vec<Post>> {
    posts::table
        .filter(posts::published.eq(true))
        .order(posts::id)
        .select(Post::as_select())
        .load(conn)
}
