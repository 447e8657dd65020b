//! Everything on Burn: the sentence encoder, the two-tower recommender, the
//! choice of device, and the weights on this machine.

pub mod features;
pub mod interactions;
pub mod model_table;
pub mod ranking;
pub mod two_tower;

/// Weights on this machine and the device to compute on.
#[derive(Debug, Clone, Default)]
pub struct Models {}
