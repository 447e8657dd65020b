//! Everything on Burn: the sentence encoder, the two-tower recommender, the
//! choice of device, and the weights on this machine.

/// Weights on this machine and the device to compute on.
#[derive(Debug, Clone, Default)]
pub struct Models {}
