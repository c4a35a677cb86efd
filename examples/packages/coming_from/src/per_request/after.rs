//! A pool for all requests.

use crate::Failure;
use poolwarden::{Pool, Postgres};

pub struct Program {
    pool: Pool<Postgres>,
}

impl Program {
    pub fn new(url: &str) -> Result<Program, Failure> {
        Ok(Program { pool: Pool::connect(url)? })
    }

    pub fn request(&self) -> Result<i32, Failure> {
        let mut client = self.pool.get()?;
        Ok(client.query_one("select 42", &[])?.get(0))
    }
}
