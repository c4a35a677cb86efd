//! A connect per request.

use crate::Failure;
use postgres::{Client, NoTls};

pub struct Program {
    url: String,
}

impl Program {
    pub fn new(url: &str) -> Result<Program, Failure> {
        Ok(Program { url: url.to_owned() })
    }

    pub fn request(&self) -> Result<i32, Failure> {
        let mut client = Client::connect(&self.url, NoTls)?;
        Ok(client.query_one("select 42", &[])?.get(0))
    }
}
