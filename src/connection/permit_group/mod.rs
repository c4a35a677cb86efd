//! Permits that several pools share: one limit for all, divided by shares.

mod group;
mod holder;
mod shares;

pub(crate) use group::{GroupUsage, Member, PermitGroup};
pub(crate) use holder::PermitHolder;
pub(crate) use shares::{Released, Share};
