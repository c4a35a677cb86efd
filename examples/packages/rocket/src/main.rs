//! `ROCKET_DATABASES='{orders={url="postgres://…"},reports={url="postgres://…"}}' cargo run`,
//! and `curl localhost:8000/orders`.

#[rocket::main]
async fn main() -> Result<(), Box<rocket::Error>> {
    Ok(example_rocket::run(example_rocket::rocket(rocket::Config::figment())).await?)
}
