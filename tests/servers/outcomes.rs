//! Work that may have taken effect is never reported as failed, and what the driver refused
//! to send is never reported as lost.

mod autocommit;
mod mariadb;
mod nontransactional;
mod postgres;
