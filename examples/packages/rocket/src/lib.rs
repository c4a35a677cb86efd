//! Two pools in Rocket, described by its configuration: one of this crate, with its guard
//! that blocks on the right threads, and one of r2d2 by `#[database]`.
//!
//! Of the two the first is the one to take for new code: it answers immediately while the
//! server is away, serves its callers in order and says why it is saturated.

use poolwarden::observe::status;
use poolwarden::rocket::{Database, Db, Failure};
use poolwarden::{ManagedConnection, Pool, Postgres};
use rocket::figment::Figment;
use rocket::http::{Header, Status};
use rocket::response::content::RawHtml;
use rocket::tokio::task::spawn_blocking;
use rocket::{Build, Responder, Rocket, State, catch, catchers, get, post, routes};
use rocket_sync_db_pools::database;
use std::time::Duration;

/// How long a readiness probe waits for the server.
const READY_WITHIN: Duration = Duration::from_millis(200);

/// How long the shutdown waits for connections in use: less than the orchestrator does.
const DRAIN: Duration = Duration::from_secs(10);

/// The pool of `databases.orders`.
pub struct Orders;

impl Database for Orders {
    type Driver = Postgres;
    const NAME: &'static str = "orders";
}

#[get("/orders")]
async fn orders(db: Db<Orders>) -> Result<String, Failure> {
    let sql = "select name from orders order by id";
    let rows = db.run(|pool| pool.query(sql, &[])).await?;
    // The rows hold no connection.
    Ok(rows.iter().map(|row| row.get::<_, String>(0)).collect::<Vec<_>>().join("\n"))
}

#[post("/orders", data = "<name>")]
async fn order(db: Db<Orders>, name: String) -> Result<Status, Failure> {
    let sql = "insert into orders (name) values ($1)";
    db.run(move |pool| pool.execute(sql, &[&name])).await?;
    Ok(Status::Created)
}

/// For the orchestrator: 200 if a caller would get a connection.
#[get("/ready")]
async fn ready(db: Db<Orders>) -> Status {
    let is_ready = db.run(|pool| pool.health(READY_WITHIN).is_ready()).await;
    if is_ready { Status::Ok } else { Status::ServiceUnavailable }
}

/// Of all pools of the process; where only operators can reach it.
#[get("/metrics")]
fn metrics() -> String {
    status::prometheus()
}

#[get("/status")]
fn status_page() -> RawHtml<String> {
    RawHtml(status::html())
}

/// The connection of one request, from the pool of `databases.reports`.
#[database("reports")]
pub struct Reports(ManagedConnection<Postgres>);

#[get("/report")]
async fn report(reports: Reports) -> Result<String, Status> {
    let sql = "select count(*) from orders";
    // The driver's own connection: what it returns is the driver's own error.
    let counted = reports.run(|connection| connection.query_one(sql, &[])).await;
    let row = counted.map_err(|_| Status::InternalServerError)?;
    Ok(row.get::<_, i64>(0).to_string())
}

/// What the guard of `#[database]` answers if it gets no connection, with the header that
/// it does not set.
#[derive(Responder)]
#[response(status = 503)]
struct Unavailable {
    body: &'static str,
    retry_after: Header<'static>,
}

#[catch(503)]
fn unavailable() -> Unavailable {
    Unavailable { body: "", retry_after: Header::new("Retry-After", "1") }
}

/// What not to write: the query would block a thread of the runtime. The pool refuses, and
/// the client gets 500.
#[get("/in-an-async-handler")]
async fn in_an_async_handler(db: Db<Orders>) -> Result<String, Failure> {
    Ok(db.pool().query("select 1", &[])?.len().to_string())
}

/// The same: a plain `fn` runs on a thread of the runtime too.
#[get("/in-a-plain-fn")]
fn in_a_plain_fn(pool: &State<Pool<Postgres>>) -> Result<String, Failure> {
    Ok(pool.query("select 1", &[])?.len().to_string())
}

/// Returns the program over a configuration, with its two tables under `databases`.
pub fn rocket(configuration: Figment) -> Rocket<Build> {
    let handlers = routes![orders, order, ready, metrics, status_page, report];
    rocket::custom(configuration)
        .attach(Orders::fairing())
        .attach(Reports::fairing())
        .mount("/", handlers)
        .register("/", catchers![unavailable])
}

/// Adds the handlers that show what not to write.
pub fn with_mistakes(rocket: Rocket<Build>, pool: Pool<Postgres>) -> Rocket<Build> {
    rocket.manage(pool).mount("/", routes![in_an_async_handler, in_a_plain_fn])
}

/// Serves until Rocket shuts down, which finishes the requests under way, and drains the
/// pool.
///
/// # Errors
///
/// Those of Rocket.
pub async fn run(rocket: Rocket<Build>) -> Result<(), rocket::Error> {
    let rocket = rocket.ignite().await?;
    let pool = Orders::pool(&rocket).cloned();
    let ended = rocket.launch().await;
    if let Some(pool) = pool {
        let left = spawn_blocking(move || pool.close(DRAIN)).await;
        if let Some(left) = left.ok().filter(|left| left.levels.open > 0) {
            eprintln!("closed with connections in use: {left}");
        }
    }
    ended.map(drop)
}
