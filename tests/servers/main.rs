//! The promises on real servers: each test starts, kills, freezes or fills a
//! private PostgreSQL or MariaDB.

mod asynchrony;
mod black_hole;
mod bounds;
mod cancel;
mod cap;
mod cause;
mod cleaning;
mod credentials;
mod dead;
mod deadlines;
mod doctor;
mod fail_fast;
mod failover;
mod faults;
mod flavour;
#[cfg(feature = "sqlite")]
mod foreign;
mod lifetime;
mod limits;
mod nonce;
mod notices;
mod passfile;
mod places;
mod pooled;
mod proxies;
mod retry;
mod rows;
mod saturation;
mod secrets;
mod sight;
mod sleeper;
mod statement_timeout;
mod statements;
mod step;
mod suspicion;
#[cfg(feature = "native-tls")]
mod tls;
mod transactions;
