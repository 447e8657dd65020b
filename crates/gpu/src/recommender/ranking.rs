//! Full ranking on the device, in tiles: only the counts of what stands above
//! each target come back.

use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor};

use super::network::{Network, marks};
use super::ops::{indices, read};
use super::scorer::{activate, squares_and_sums};
use super::{Count, RecommenderError, Target};

/// Pairs of a tile that goes through dot compress, and through the inner product.
const COMPRESS_PAIRS: usize = 1 << 19;
const PRODUCT_PAIRS: usize = 1 << 25;

/// Vectors on the device, laid out for many scores.
pub(super) struct Prepared<'a, B: Backend> {
    network: &'a Network<B>,
    users: Tensor<B, 2>,
    items: Tensor<B, 2>,
    /// Squares and sums of users and items, and the folded weights.
    compress: Option<([Tensor<B, 2>; 2], super::scorer::Folded<B>)>,
}

impl<'a, B: Backend> Prepared<'a, B> {
    pub(super) fn new(network: &'a Network<B>, users: Tensor<B, 2>, items: Tensor<B, 2>) -> Self {
        let compress = network.compress.as_ref().map(|compress| {
            ([squares_and_sums(&users), squares_and_sums(&items)], compress.fold(&network.parameters))
        });
        Self { network, users, items, compress }
    }

    /// How many targets make a tile.
    fn tile(&self) -> usize {
        let pairs = if self.compress.is_some() { COMPRESS_PAIRS } else { PRODUCT_PAIRS };
        (pairs / self.items.dims()[0].max(1)).max(1)
    }

    /// Scores of all items, those that are not finite as minus infinity: `[users, items]`.
    fn scores(&self, users: &[u32]) -> Tensor<B, 2> {
        let picked = indices(users, &self.network.device);
        let (rows, columns) = (users.len(), self.items.dims()[0]);
        let mut out = self.users.clone().select(0, picked.clone()).matmul(self.items.clone().transpose());
        if let (Some((numbers, folded)), Some(compress)) = (&self.compress, &self.network.compress) {
            let pairs = rows * columns;
            let spread = |of: Tensor<B, 3>| of.expand([rows, columns, 2]).reshape([pairs, 2]);
            let of_users = spread(numbers[0].clone().select(0, picked).unsqueeze_dim(1));
            let of_items = spread(numbers[1].clone().unsqueeze_dim(0));
            let all = Tensor::cat(vec![of_users, out.reshape([pairs, 1]), of_items], 1);
            out = compress.forward(&self.network.parameters, folded, all).out.reshape([rows, columns]);
        }
        let scores = activate(out, self.network.settings.activated);
        let finite = scores.clone().abs().lower_elem(f32::INFINITY);
        scores.mask_fill(finite.bool_not(), f32::NEG_INFINITY)
    }

    /// For each target what stands above it, in the order of the targets.
    /// `goes_on` hears of each tile and may stop it.
    pub(super) fn counts(
        &self,
        targets: &[Target<'_>],
        goes_on: &dyn Fn(u64) -> bool,
    ) -> Result<Option<Vec<Count>>, RecommenderError> {
        let mut all = Vec::with_capacity(targets.len());
        for tile in targets.chunks(self.tile()) {
            all.extend(self.count(tile)?);
            if !goes_on(tile.len() as u64) {
                return Ok(None);
            }
        }
        Ok(Some(all))
    }

    fn count(&self, targets: &[Target<'_>]) -> Result<Vec<Count>, RecommenderError> {
        let (rows, columns, device) = (targets.len(), self.items.dims()[0], &self.network.device);
        let users: Vec<u32> = targets.iter().map(|target| target.user).collect();
        let items: Vec<u32> = targets.iter().map(|target| target.item).collect();
        let scores = self.scores(&users);
        let finite = scores.clone().equal_elem(f32::NEG_INFINITY).bool_not().float().sum_dim(1);
        let items: Tensor<B, 2, Int> = indices(&items, device).reshape([rows, 1]);
        let own = scores.clone().gather(1, items.clone()).expand([rows, columns]);
        let before = Tensor::<B, 1, Int>::arange(0..columns as i64, device).unsqueeze::<2>();
        let before = before.expand([rows, columns]).lower(items.expand([rows, columns]));
        let above = scores.clone().greater(own.clone()).float() + scores.equal(own).float() * before.float();
        let gone: Vec<u32> = (0..)
            .zip(targets)
            .flat_map(|(row, target)| target.excluded.iter().map(move |item| row * columns as u32 + item))
            .collect();
        let kept = marks([rows, columns], &gone, device).neg() + 1.0;
        let counts = read(Tensor::cat(vec![(above * kept).sum_dim(1), finite], 1))?;
        let count = |pair: &[f32]| Count { above: pair[0] as u32, not_finite: columns as u32 - pair[1] as u32 };
        Ok(counts.chunks_exact(2).map(count).collect())
    }
}
