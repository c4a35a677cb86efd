//! `ROCKET_DATABASES='{orders={url="postgres://…"},reports={url="postgres://…"}}' cargo run`,
//! and `curl localhost:8000/orders`.

#[rocket::main]
async fn main() -> Result<(), rocket::Error> {
    example_rocket::run(example_rocket::rocket(rocket::Config::figment())).await
}
