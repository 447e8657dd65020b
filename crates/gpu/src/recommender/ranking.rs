//! Full ranking on the device, in tiles: only the counts of what stands above
//! each target come back, and the best items of those whose list is wanted.

use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor};

use super::ops::{Activation, indices, marks, matrix, read, read_places};
use super::parameters::Parameters;
use super::product::product;
use super::scorer::{Compress, Folded, activate, squares_and_sums};
use super::{Count, NamedTensor, Ranking, RecommenderError, Target};

/// Pairs of a tile that goes through dot compress, and through the inner product.
const COMPRESS_PAIRS: usize = 1 << 19;
const PRODUCT_PAIRS: usize = 1 << 25;

/// A finished model on the device, laid out for many scores.
#[derive(Debug)]
pub(super) struct Prepared<B: Backend> {
    users: Tensor<B, 2>,
    items: Tensor<B, 2>,
    activated: bool,
    parameters: Parameters<B>,
    compress: Option<Folding<B>>,
    device: B::Device,
}

/// Dot compress, its folded weights, and what users and items bring to its first layer.
#[derive(Debug)]
struct Folding<B: Backend> {
    compress: Compress,
    folded: Folded<B>,
    /// Of the first layer: `[users, hidden]` and `[items, hidden]`.
    shares: [Tensor<B, 2>; 2],
}

impl<B: Backend> Prepared<B> {
    /// A model's tensors: `user_vectors` and `item_vectors`, the marks
    /// `scorer.gelu` and `scorer.relu`, and the weights of dot compress if it has them.
    pub(super) fn new(tensors: &[NamedTensor], device: B::Device) -> Result<Self, RecommenderError> {
        let find = |name: &str| tensors.iter().find(|tensor| tensor.name == name);
        let vectors = |name: &str| {
            let tensor = find(name).filter(|tensor| tensor.shape.len() == 2);
            let tensor = tensor.ok_or_else(|| RecommenderError::Weights(name.to_owned()))?;
            Ok(matrix(tensor.values.clone(), [tensor.shape[0], tensor.shape[1]], &device))
        };
        let marked = |name: &str| find(name).is_some_and(|tensor| tensor.values.first().is_some_and(|v| *v > 0.0));
        let (users, items): (Tensor<B, 2>, Tensor<B, 2>) = (vectors("user_vectors")?, vectors("item_vectors")?);
        let scorer: Vec<NamedTensor> =
            tensors.iter().filter(|tensor| tensor.name.starts_with("scorer.")).cloned().collect();
        let parameters = Parameters::new(&scorer, 1, &device);
        let activation = if marked("scorer.relu") { Activation::Relu } else { Activation::Gelu };
        let folding = |_: &NamedTensor| -> Result<Folding<B>, RecommenderError> {
            let compress = Compress::new(&parameters, activation)?;
            let folded = compress.fold(&parameters);
            let share = |side, of| compress.share(&parameters, &folded, side, &squares_and_sums(of));
            let shares = [share(0, &users), share(1, &items)];
            Ok(Folding { compress, folded, shares })
        };
        let compress = find("scorer.compress.weight").map(folding).transpose()?;
        Ok(Self { users, items, activated: marked("scorer.gelu"), parameters, compress, device })
    }

    /// How many targets make a tile.
    fn tile(&self) -> usize {
        let pairs = if self.compress.is_some() { COMPRESS_PAIRS } else { PRODUCT_PAIRS };
        (pairs / self.items.dims()[0].max(1)).max(1)
    }

    /// Scores of all items, those that are not finite as minus infinity: `[users, items]`.
    fn scores(&self, users: &[u32]) -> Tensor<B, 2> {
        let picked = indices(users, &self.device);
        let (rows, columns) = (users.len(), self.items.dims()[0]);
        let mut out = product(self.users.clone().select(0, picked.clone()), self.items.clone().transpose());
        if let Some(Folding { compress, folded, shares: [of_users, of_items] }) = &self.compress {
            let layer = of_items.dims()[1];
            let products = out.reshape([rows * columns, 1]) * folded.row(2);
            let first = products.reshape([rows, columns, layer])
                + of_items.clone().unsqueeze_dim::<3>(0)
                + of_users.clone().select(0, picked).unsqueeze_dim::<3>(1);
            let first = first.reshape([rows * columns, layer]);
            out = compress.forward(&self.parameters, first).out.reshape([rows, columns]);
        }
        let scores = activate(out, self.activated);
        let finite = scores.clone().abs().lower_elem(f32::INFINITY);
        scores.mask_fill(finite.bool_not(), f32::NEG_INFINITY)
    }

    /// For each target what stands above it, and the `k` best items where they are
    /// wanted. `goes_on` hears of each tile and may stop it.
    pub(super) fn rank(
        &self,
        targets: &[Target<'_>],
        k: usize,
        goes_on: &dyn Fn(u64) -> bool,
    ) -> Result<Option<Ranking>, RecommenderError> {
        let mut all = Ranking::default();
        for tile in targets.chunks(self.tile()) {
            self.rank_tile(tile, k, &mut all)?;
            if !goes_on(tile.len() as u64) {
                return Ok(None);
            }
        }
        Ok(Some(all))
    }

    fn rank_tile(&self, targets: &[Target<'_>], k: usize, all: &mut Ranking) -> Result<(), RecommenderError> {
        let (rows, columns, device) = (targets.len(), self.items.dims()[0], &self.device);
        let users: Vec<u32> = targets.iter().map(|target| target.user).collect();
        let items: Vec<u32> = targets.iter().map(|target| target.item).collect();
        let scores = self.scores(&users);
        let finite = scores.clone().equal_elem(f32::NEG_INFINITY).bool_not().float().sum_dim(1);
        let items: Tensor<B, 2, Int> = indices(&items, device).reshape([rows, 1]);
        let own = scores.clone().gather(1, items.clone()).expand([rows, columns]);
        let places = Tensor::<B, 1, Int>::arange(0..columns as i64, device).unsqueeze::<2>().expand([rows, columns]);
        let before = places.clone().lower(items.expand([rows, columns]));
        let above = scores.clone().greater(own.clone()).float() + scores.clone().equal(own).float() * before.float();
        let gone: Vec<u32> = (0..)
            .zip(targets)
            .flat_map(|(row, target)| target.excluded.iter().map(move |item| row * columns as u32 + item))
            .collect();
        let gone = marks([rows, columns], &gone, device);
        let kept = gone.clone().neg() + 1.0;
        let counts = read(Tensor::cat(vec![(above * kept).sum_dim(1), finite], 1))?;
        let count = |pair: &[f32]| Count { above: pair[0] as u32, not_finite: columns as u32 - pair[1] as u32 };
        all.counts.extend(counts.chunks_exact(2).map(count));
        if k > 0 && targets.iter().any(|target| target.listed) {
            let lists = best(scores.mask_fill(gone.greater_elem(0.5), f32::NEG_INFINITY), &places, k)?;
            all.lists.extend(targets.iter().zip(lists).filter(|(target, _)| target.listed).map(|(_, list)| list));
        }
        Ok(())
    }
}

/// The places and values of each row's `k` highest, highest first, ties to the
/// lower place, those of minus infinity left out. The highest is taken `k` times:
/// Burn's own order of a row is made on the host.
///
/// # Shapes
/// `scores` and `places` `[rows, columns]`.
fn best<B: Backend>(
    mut scores: Tensor<B, 2>,
    places: &Tensor<B, 2, Int>,
    k: usize,
) -> Result<Vec<Vec<(u32, f32)>>, RecommenderError> {
    let shape = scores.dims();
    let k = k.min(shape[1]);
    let (mut values, mut at) = (Vec::with_capacity(k), Vec::with_capacity(k));
    for _ in 0..k {
        let highest = scores.clone().max_dim(1);
        let others = scores.clone().not_equal(highest.clone().expand(shape));
        let place = places.clone().mask_fill(others, shape[1] as i64).min_dim(1);
        scores = scores.mask_fill(places.clone().equal(place.clone().expand(shape)), f32::NEG_INFINITY);
        values.push(highest);
        at.push(place);
    }
    let (values, at) = (read(Tensor::cat(values, 1))?, read_places(Tensor::cat(at, 1))?);
    let row = |(values, at): (&[f32], &[u32])| {
        at.iter().copied().zip(values.iter().copied()).take_while(|(_, value)| value.is_finite()).collect()
    };
    Ok(values.chunks_exact(k).zip(at.chunks_exact(k)).map(row).collect())
}
