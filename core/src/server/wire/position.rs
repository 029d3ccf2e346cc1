//! Positions, roles and the names in them.

use serde::{Deserialize, Serialize};

use crate::types::{Chain, Epoch, Position, Result, Role, Txid};

use super::invalid;

/// `{"txid":7,"chain":"<32 hexadecimal digits>","epoch":2}`
#[derive(Serialize, Deserialize)]
pub(super) struct WirePosition {
    txid: u64,
    chain: String,
    epoch: u64,
}

impl From<&Position> for WirePosition {
    fn from(position: &Position) -> WirePosition {
        WirePosition {
            txid: position.txid.get(),
            chain: position.chain.to_hex(),
            epoch: position.epoch.get(),
        }
    }
}

impl WirePosition {
    pub(super) fn into_position(self) -> Result<Position> {
        Ok(Position {
            txid: Txid::new(self.txid),
            chain: Chain::from_hex(&self.chain)
                .ok_or_else(|| invalid(format!("{:?} is not a chain value", self.chain)))?,
            epoch: epoch(self.epoch)?,
        })
    }
}

pub(super) fn epoch(number: u64) -> Result<Epoch> {
    Epoch::new(number).ok_or_else(|| invalid(format!("{number} is above the highest epoch")))
}

pub(super) fn role_name(role: Role) -> &'static str {
    match role {
        Role::Leader => "leader",
        Role::Follower => "follower",
        Role::Client => "client",
        Role::LatentWriter => "latent_writer",
    }
}

pub(super) fn role_from_name(name: &str) -> Result<Role> {
    [Role::Leader, Role::Follower, Role::Client, Role::LatentWriter]
        .into_iter()
        .find(|role| role_name(*role) == name)
        .ok_or_else(|| invalid(format!("{name:?} is not a role")))
}
